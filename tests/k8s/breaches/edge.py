"""How the rules of the way in are broken."""

from typing import Final

from tests.k8s.breaches.change import GONE, Breaches, put, setting
from tests.k8s.rules import edge as rules

BREACHES: Final[Breaches] = {
    rules.clients_reach_the_api_and_nothing_else: [
        ("gke", put("HTTPRoute/sluice", "spec rules 0 matches 0", GONE), "does not route /api"),
        (
            "gke",
            put("HTTPRoute/sluice", "spec rules 0 matches 0 path value", "/"),
            "routes /metrics",
        ),
        (
            "gke",
            put("HTTPRoute/sluice", "spec rules 0 matches 6 path value", "/other"),
            "does not route /console/",
        ),
        (
            "gke",
            put("HTTPRoute/sluice", "spec rules 0 matches 0 path value", "/readyz"),
            "routes /readyz",
        ),
        (
            "ingress",
            put("Ingress/sluice", "spec rules 0 http paths 2", GONE),
            "does not route /2/httpapi",
        ),
    ],
    rules.routes_lead_to_the_gateway: [
        ("gke", put("HTTPRoute/sluice", "spec rules 0 backendRefs 0 port", 8080), "8080"),
        ("ingress", put("Service/sluice-gateway", "spec ports 0 name", "web"), "leads to"),
    ],
    rules.routes_hang_on_a_listener: [
        ("gke", put("Gateway/sluice", "spec listeners 0 protocol", "HTTP"), "no such listener"),
        (
            "gke",
            put("HTTPRoute/sluice", "spec hostnames", ["other.example.com"]),
            "different hosts",
        ),
    ],
    rules.time_outs_are_longer_than_ours: [
        (
            "gateway-api",
            put("HTTPRoute/sluice", "spec rules 0 timeouts request", "10s"),
            "gives up after 10 s",
        ),
        (
            "gke",
            put("GCPBackendPolicy/sluice-gateway", "spec default timeoutSec", 15),
            "gives up after 15 s",
        ),
        (
            "ingress",
            put(
                "Ingress/sluice",
                "metadata annotations NGINX/proxy-read-timeout",
                "10",
            ),
            "gives up after 10 s",
        ),
    ],
    rules.bodies_may_be_as_large_as_ours: [
        (
            "ingress",
            put(
                "Ingress/sluice",
                "metadata annotations NGINX/proxy-body-size",
                "5m",
            ),
            "refuses bodies",
        ),
    ],
    rules.health_checks_ask_for_readiness: [
        (
            "gke",
            put(
                "HealthCheckPolicy/sluice-gateway",
                "spec default config httpHealthCheck requestPath",
                "/livez",
            ),
            "/livez",
        ),
    ],
    rules.identities_are_those_of_the_roles: [
        ("gke", setting("SLUICE_QUEUE_URL", "pubsub://other-project"), "my-project"),
        (
            "gke",
            put("ServiceAccount/sluice-setup", "metadata annotations", {}),
            "no Google account",
        ),
    ],
}
