"""How the rules of the network are broken."""

from typing import Final

from tests.k8s.breaches.change import Breaches, put, without
from tests.k8s.rules import network as rules

BREACHES: Final[Breaches] = {
    rules.nothing_is_open_by_itself: [
        ("gke", without("NetworkPolicy/sluice-default-deny"), "denies"),
        (
            "gke",
            put("NetworkPolicy/sluice-default-deny", "spec policyTypes", ["Ingress"]),
            "denies",
        ),
    ],
    rules.policies_name_what_is_there: [
        (
            "gke",
            put(
                "NetworkPolicy/sluice-worker-from-gateway",
                "spec ingress 0 from 0 podSelector matchLabels",
                {"app": "gateway"},
            ),
            "not there",
        ),
        (
            "gke",
            put("NetworkPolicy/sluice-gke-node", "spec podSelector matchLabels", {"app": "sluice"}),
            "selects no pods",
        ),
        (
            "gke",
            put("NetworkPolicy/sluice-worker-from-gateway", "spec ingress 0 ports 0 port", 8080),
            "no port 8080",
        ),
        (
            "gke",
            put(
                "NetworkPolicy/sluice-gateway-from-prometheus",
                "spec ingress 0 from 0 namespaceSelector matchLabels",
                {rules.NAMESPACE_LABEL: "prom"},
            ),
            "namespace prom",
        ),
    ],
    rules.what_is_needed_is_open: [
        (
            "gke",
            without("NetworkPolicy/sluice-gateway-to-worker"),
            "gateway does not reach worker-warehouse",
        ),
        ("dev", without("NetworkPolicy/clickhouse-from-sluice"), "does not reach clickhouse"),
        ("dev", without("NetworkPolicy/sluice-dns"), "resolve names"),
        ("dev", without("NetworkPolicy/sluice-worker-to-internet"), "does not reach the internet"),
        ("gke", without("NetworkPolicy/sluice-gke-node"), "169.254.169.252"),
        ("gke", without("NetworkPolicy/sluice-gateway-from-load-balancer"), "load balancer"),
        ("gke", without("NetworkPolicy/sluice-worker-from-prometheus"), "Prometheus"),
        (
            "gateway-api",
            without("NetworkPolicy/sluice-to-collector"),
            "gateway does not reach the collector",
        ),
    ],
    rules.what_is_not_needed_is_closed: [
        (
            "dev",
            put(
                "NetworkPolicy/sluice-worker-to-internet",
                "spec egress 0 to 0 ipBlock",
                {"cidr": "0.0.0.0/0"},
            ),
            "private addresses",
        ),
        (
            "dev",
            put("NetworkPolicy/clickhouse-from-sluice", "spec ingress", [{}]),
            "internet reaches clickhouse",
        ),
        (
            "dev",
            put("NetworkPolicy/sluice-worker-to-internet", "spec podSelector", {}),
            "clickhouse reaches the internet",
        ),
    ],
}
