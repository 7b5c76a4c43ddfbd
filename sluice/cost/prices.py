"""List prices in US dollars, each with its page and the day on which it was seen. One table.

Prices change, and differ by region: these are of North America (Google Cloud's us-central1,
ClickHouse Cloud's us-east-1 on AWS), without discounts, free tiers and taxes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PUBSUB_PAGE: Final = "https://cloud.google.com/pubsub/pricing"
RUN_PAGE: Final = "https://cloud.google.com/run/pricing"
GKE_PAGE: Final = "https://cloud.google.com/kubernetes-engine/pricing"
BALANCER_PAGE: Final = "https://cloud.google.com/load-balancing/pricing"
VPC_PAGE: Final = "https://cloud.google.com/vpc/pricing"
DISK_PAGE: Final = "https://cloud.google.com/compute/disks-image-pricing"
CLICKHOUSE_PAGE: Final = "https://clickhouse.com/docs/cloud/manage/billing/overview"
COPY: Final = "undated copy, 2026-11-22"
"""Seen on that day in a stored copy of the page that does not say how old it is."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one unit costs."""

    usd: float
    unit: str
    page: str
    """Where the vendor lists it."""
    seen: str
    """When, or in what, the figure was read."""
    is_confirmed: bool = True
    """False where the figure is quoted by others only, and was not seen on the vendor's page."""


PRICES: Final[Mapping[str, Price]] = {
    "pubsub_tib": Price(40.0, "TiB published or delivered", PUBSUB_PAGE, "2026-09-20"),
    "pubsub_kept_gib": Price(0.27, "GiB kept for a month", PUBSUB_PAGE, "2026-09-20"),
    "run_vcpu_s": Price(0.000018, "vCPU-second, instance-based", RUN_PAGE, COPY),
    "run_gib_s": Price(0.000002, "GiB-second, instance-based", RUN_PAGE, COPY, is_confirmed=False),
    "gke_cluster_h": Price(0.10, "cluster-hour", GKE_PAGE, COPY),
    "gke_vcpu_h": Price(0.0445, "vCPU-hour, Autopilot", GKE_PAGE, COPY, is_confirmed=False),
    "gke_gib_h": Price(0.0049225, "GiB-hour, Autopilot", GKE_PAGE, COPY, is_confirmed=False),
    "ssd_gib": Price(0.17, "GiB of SSD persistent disk for a month", DISK_PAGE, COPY),
    "clickhouse_unit_h": Price(
        0.2993, "hour of 2 vCPU with 8 GiB, Scale tier", CLICKHOUSE_PAGE, COPY
    ),
    "clickhouse_tb": Price(25.30, "TB compressed for a month", CLICKHOUSE_PAGE, COPY),
    "balancer_h": Price(0.025, "hour of forwarding rules", BALANCER_PAGE, COPY),
    "balancer_gib": Price(0.008, "GiB through the load balancer", BALANCER_PAGE, COPY),
    "ingress_gib": Price(0.0, "GiB from the internet", VPC_PAGE, COPY),
    "egress_gib": Price(0.12, "GiB to the internet", VPC_PAGE, COPY, is_confirmed=False),
    "zone_gib": Price(0.01, "GiB between zones", VPC_PAGE, COPY, is_confirmed=False),
}
"""Each price by the name under which the formulas know it."""
