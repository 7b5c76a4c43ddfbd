"""What Sluice costs its owner a month and for a million events: formulas over plain data.

Every number is a measured figure (``sluice.cost.figures``), a list price (``sluice.cost.prices``),
what the person said (``Load``), or an assumption that is named here. Machines are counted in parts,
as they are in the mean of a month, but never below the least that survives the loss of one. So more
events never make a million of them dearer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum, isfinite
from typing import Final, Literal

from sluice.cost.figures import MEASURED, Figures
from sluice.cost.prices import PRICES, Price

Compute = Literal["gke", "cloud-run"]
ClickHouse = Literal["cloud", "own"]
Part = Literal["Pub/Sub", "compute", "ClickHouse", "network"]
PARTS: Final[tuple[Part, ...]] = ("Pub/Sub", "compute", "ClickHouse", "network")

DAYS_PER_MONTH: Final = 365 / 12
HOURS_PER_MONTH: Final = DAYS_PER_MONTH * 24
MONTH_S: Final = HOURS_PER_MONTH * 3_600
DAY_S: Final = 86_400
MILLION: Final = 1e6
KIB, GIB, TIB, TB = 1024.0, 1024.0**3, 1024.0**4, 1e12

DESTINATIONS: Final = 2
"""Subscriptions that ``sluice setup`` makes for events; Pub/Sub bills each delivery."""
LEAST_BILLED_BYTES: Final = 1_000.0
"""Of each publish request (docs/pubsub.md); a delivery is taken to cost what its publish did."""
ATTRIBUTE_BYTES: Final = 120.0
"""Of a message, whatever its events are: attributes, time and id."""
GATHER_S: Final = 0.01
LARGE_BYTES: Final = 512 * KIB
MESSAGE_BYTES: Final = 1e6
"""When the next group leaves though the last is still on its way, and how large a message may be
before compression (gateway/publisher.py, sluice/core/envelope.py)."""
HEAD_BYTES: Final = 300.0
"""Assumed head of a request."""

LEAST_VCPU: Final[Mapping[Compute, tuple[float, float]]] = {
    "gke": (1.0, 1.0),
    "cloud-run": (2.0, 2.0),
}
"""Of all gateways and of all workers. GKE: what k8s/base requests, two gateways of half a vCPU and
four workers of a quarter. Cloud Run: two instances each, of one vCPU, the least that takes more
than one request at a time."""
GIB_PER_VCPU: Final[Mapping[Compute, float]] = {"gke": 1.0, "cloud-run": 0.5}
"""Autopilot's least for a vCPU, and Cloud Run's default; a gateway uses an eighth of a GiB."""
LEAST_GATEWAYS: Final = 2.0
SPOOL_GIB: Final = 10.0
"""Disk of each gateway on GKE (k8s/base/gateway.yaml)."""
LEAST_UNITS: Final = 2.0
UNIT_VCPU: Final = 2.0
"""Of ClickHouse Cloud: two replicas of the smallest size."""
COPIES: Final = 2.0
"""Of what is stored: with one backup in the Cloud, on two replicas elsewhere."""
LEAST_OWN_VCPU: Final = 2.0
OWN_GIB_PER_VCPU: Final = 4.0
DISK_FILLED: Final = 0.7
"""Of a ClickHouse of one's own: least of each replica, its memory, and how full a disk may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What somebody sends, and where it is run."""

    events_per_day: float
    payload_bytes: float
    """JSON of one event's payload."""
    batch_size: float = 1.0
    """Events of one request."""
    compute: Compute = "gke"
    clickhouse: ClickHouse = "cloud"
    retention_days: float = 365.0
    """How long ClickHouse keeps an event; the bill is that of a month when it is full."""
    keep_days: float = 0.0
    """``SLUICE_PUBSUB_KEEP_DAYS``."""
    utilisation: float = 0.5
    """Share of the processors that a mean day uses; the rest is for its peak."""

    def __post_init__(self) -> None:
        bounds = {
            "events_per_day": (self.events_per_day, 1, 1e13),
            "payload_bytes": (self.payload_bytes, 0, 262_144),
            "batch_size": (self.batch_size, 1, 500),
            "retention_days": (self.retention_days, 1, 3_650),
            "keep_days": (self.keep_days, 0, 31),
            "utilisation": (self.utilisation, 0.05, 1),
        }
        for name, (value, least, most) in bounds.items():
            if not (isfinite(value) and least <= value <= most):
                message = f"{name} is {value:g}; it may be from {least:,g} to {most:,g}"
                raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the bill."""

    part: Part
    name: str
    quantity: float
    """Of the price's unit, a month."""
    price: str
    """Its name in ``PRICES``."""
    usd: float


@dataclass(frozen=True, slots=True)
class Needs:
    """What a load needs, before any price."""

    events_per_s: float
    event_bytes: float
    gateway_vcpu: float
    gateways: float
    worker_vcpu: float
    warehouse_vcpu: float
    events_per_message: float
    message_bytes: float
    """Of one event: its part of the message that it travels in, compressed."""
    billed_bytes: float
    """Of one event: what Pub/Sub counts each time it is published or delivered."""
    disk_bytes: float


@dataclass(frozen=True, slots=True)
class Bill:
    """A month."""

    load: Load
    needs: Needs
    items: tuple[Item, ...]

    @property
    def usd_per_month(self) -> float:
        """All of it."""
        return fsum(item.usd for item in self.items)

    @property
    def events_per_month(self) -> float:
        """Of a month of 365/12 days."""
        return self.load.events_per_day * DAYS_PER_MONTH

    @property
    def usd_per_million(self) -> float:
        """What a million events cost."""
        return self.usd_per_month / self.events_per_month * MILLION

    def usd_of(self, part: Part) -> float:
        """What one part costs a month."""
        return fsum(item.usd for item in self.items if item.part == part)


def needs_of(load: Load, figures: Figures = MEASURED) -> Needs:
    """Return what a load needs of each thing."""
    rate = load.events_per_day / DAY_S
    size = load.payload_bytes + figures.field_bytes
    more_kib = (size - figures.event_bytes) / KIB
    scale = size / figures.event_bytes

    def vcpu(event_us: float, kib_us: float) -> float:
        return rate * max(0.0, event_us + kib_us * more_kib) / MILLION / load.utilisation

    request_vcpu = rate / load.batch_size * figures.gateway_request_us / MILLION
    busy = vcpu(figures.gateway_event_us, figures.gateway_kib_us) + request_vcpu / load.utilisation
    least_gateway, least_worker = LEAST_VCPU[load.compute]
    gateways = max(LEAST_GATEWAYS, busy)
    requests_each = rate / load.batch_size / gateways
    together = max(1.0, min(load.batch_size, MESSAGE_BYTES / size), LARGE_BYTES / size)
    in_message = min(load.batch_size * (1 + requests_each * GATHER_S), together)
    first = ATTRIBUTE_BYTES + (figures.first_event_bytes - ATTRIBUTE_BYTES) * scale
    message = first + (in_message - 1) * figures.next_event_bytes * scale
    return Needs(
        events_per_s=rate,
        event_bytes=size,
        gateway_vcpu=max(least_gateway, busy),
        gateways=gateways,
        worker_vcpu=max(least_worker, vcpu(figures.worker_event_us, figures.worker_kib_us)),
        warehouse_vcpu=vcpu(figures.warehouse_event_us, figures.warehouse_kib_us),
        events_per_message=in_message,
        message_bytes=message / in_message,
        billed_bytes=max(LEAST_BILLED_BYTES, message) / in_message,
        disk_bytes=figures.disk_bytes * scale,
    )


def bill_of(
    load: Load, *, figures: Figures = MEASURED, prices: Mapping[str, Price] = PRICES
) -> Bill:
    """Return the bill of a month.

    Args:
        load: What is sent, and where it is run.
        figures: What an event costs in time and bytes.
        prices: What things cost.
    """
    needs = needs_of(load, figures)

    def item(part: Part, name: str, quantity: float, price: str) -> Item:
        return Item(part, name, quantity, price, quantity * prices[price].usd)

    events = load.events_per_day * DAYS_PER_MONTH
    through = events * needs.billed_bytes
    kept = load.events_per_day * load.keep_days * needs.message_bytes
    stored = load.events_per_day * load.retention_days * needs.disk_bytes * COPIES
    vcpu = needs.gateway_vcpu + needs.worker_vcpu
    gib = vcpu * GIB_PER_VCPU[load.compute]
    received = events * (needs.event_bytes + HEAD_BYTES / load.batch_size)
    answered = events * figures.answer_bytes / load.batch_size
    items = [
        item("Pub/Sub", "published once", through / TIB, "pubsub_tib"),
        item(
            "Pub/Sub", "delivered to each destination", through * DESTINATIONS / TIB, "pubsub_tib"
        ),
        item("Pub/Sub", "kept for a rewind", kept / GIB, "pubsub_kept_gib"),
    ]
    if load.compute == "cloud-run":
        items += [
            item("compute", "vCPU of gateways and workers", vcpu * MONTH_S, "run_vcpu_s"),
            item("compute", "memory of them", gib * MONTH_S, "run_gib_s"),
        ]
    else:
        items += [
            item("compute", "cluster", HOURS_PER_MONTH, "gke_cluster_h"),
            item("compute", "vCPU of gateways and workers", vcpu * HOURS_PER_MONTH, "gke_vcpu_h"),
            item("compute", "memory of them", gib * HOURS_PER_MONTH, "gke_gib_h"),
            item("compute", "disks of the spools", needs.gateways * SPOOL_GIB, "ssd_gib"),
        ]
    if load.clickhouse == "cloud":
        units = max(LEAST_UNITS, needs.warehouse_vcpu / UNIT_VCPU)
        items += [
            item("ClickHouse", "compute units", units * HOURS_PER_MONTH, "clickhouse_unit_h"),
            item("ClickHouse", "storage with one backup", stored / TB, "clickhouse_tb"),
        ]
    else:
        own = COPIES * max(LEAST_OWN_VCPU, needs.warehouse_vcpu) * HOURS_PER_MONTH
        items += [
            item("ClickHouse", "vCPU of two replicas", own, "gke_vcpu_h"),
            item("ClickHouse", "memory of them", own * OWN_GIB_PER_VCPU, "gke_gib_h"),
            item("ClickHouse", "disks of them", stored / DISK_FILLED / GIB, "ssd_gib"),
        ]
    items += [
        item("network", "events from the internet", received / GIB, "ingress_gib"),
        item("network", "load balancer", HOURS_PER_MONTH, "balancer_h"),
        item("network", "through it", (received + answered) / GIB, "balancer_gib"),
        item("network", "answers to the internet", answered / GIB, "egress_gib"),
        item("network", "worker to ClickHouse", events * needs.message_bytes / GIB, "zone_gib"),
    ]
    return Bill(load, needs, tuple(items))
