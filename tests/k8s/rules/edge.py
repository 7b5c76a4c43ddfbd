"""The way in: what clients may reach, how large, how long."""

import re
from collections.abc import Iterator
from typing import Final

from gateway.core.source import MAX_BODY_BYTES
from gateway.openapi import document
from gateway.routes.console import console_routes
from sluice.settings import SETTINGS
from tests.k8s.cluster import Cluster, Obj, amount, name_of, title_of

OPERATORS: Final = ("/livez", "/readyz", "/metrics")
"""What only the cluster asks."""
NOWHERE: Final = ("/healthz", "/status", "/debug")
"""What Sluice's gateway does not have; a route must not lead others' habits to it."""
NGINX: Final = "nginx.ingress.kubernetes.io/"
ANSWER_S: Final = float(SETTINGS["body_timeout_s"].default + SETTINGS["publish_timeout_s"].default)
"""The longest that an answer to an event may take: the body arrives, then it becomes durable."""
MARGIN: Final = 2


def clients_reach_the_api_and_nothing_else(cluster: Cluster) -> Iterator[str]:
    """Every path of the API and of the console is routed, and none of those for operators."""
    paths = [re.sub(r"{[^}]*}", "one", path) for path in document(version="any")["paths"]]
    paths += [route.path for route in console_routes()]
    for title, rules in _routes(cluster):
        for path in {*paths, *OPERATORS, *NOWHERE}:
            is_routed = any(_takes(kind, value, path) for kind, value in rules)
            if is_routed == (path.rstrip("/") in {*OPERATORS, *NOWHERE}):
                yield f"{title} {'routes' if is_routed else 'does not route'} {path}"


def routes_lead_to_the_gateway(cluster: Cluster) -> Iterator[str]:
    """The Service and its port are those of the gateway."""
    service = cluster.named("Service", "sluice-gateway")
    listed = service["spec"]["ports"] if service else []
    ports = {key for port in listed for key in (port["name"], port["port"])}
    for one in cluster.of("HTTPRoute"):
        for rule in one["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                if backend["name"] != "sluice-gateway" or backend["port"] not in ports:
                    yield f"{title_of(one)} leads to {backend['name']}:{backend['port']}"
    for one in cluster.of("Ingress"):
        for path in _paths(one):
            backend = path["backend"]["service"]
            if backend["name"] != "sluice-gateway" or backend["port"]["name"] not in ports:
                yield f"{title_of(one)} leads to {backend['name']}"


def routes_hang_on_a_listener(cluster: Cluster) -> Iterator[str]:
    """The Gateway has the listener, for the same host, with TLS."""
    for route in cluster.of("HTTPRoute"):
        for parent in route["spec"]["parentRefs"]:
            gateway = cluster.named("Gateway", parent["name"])
            listeners = (
                {one["name"]: one for one in gateway["spec"]["listeners"]} if gateway else {}
            )
            listener = listeners.get(parent["sectionName"])
            if listener is None or listener["protocol"] != "HTTPS":
                yield f"{title_of(route)}: {parent['name']} has no such listener with TLS"
            elif route["spec"].get("hostnames") != [listener.get("hostname")]:
                yield f"{title_of(route)} and its listener are for different hosts"


def time_outs_are_longer_than_ours(cluster: Cluster) -> Iterator[str]:
    """Sluice says in its own words that it took too long; nobody cuts it off before."""
    for title, seconds in _timeouts(cluster):
        if seconds < MARGIN * ANSWER_S:
            yield f"{title} gives up after {seconds:g} s; an answer may take {ANSWER_S:g} s"


def bodies_may_be_as_large_as_ours(cluster: Cluster) -> Iterator[str]:
    """What is too large gets Sluice's answer and leaves a record, so a proxy lets it through."""
    for ingress in cluster.of("Ingress"):
        text = ingress["metadata"]["annotations"].get(NGINX + "proxy-body-size", "1m")
        if amount(text.upper().replace("M", "Mi")) <= MAX_BODY_BYTES:
            yield f"{title_of(ingress)} refuses bodies that Sluice takes"


def health_checks_ask_for_readiness(cluster: Cluster) -> Iterator[str]:
    """A load balancer looks away from a gateway that is about to stop."""
    for check in cluster.of("HealthCheckPolicy"):
        asked = check["spec"]["default"]["config"]["httpHealthCheck"]
        ports = [one.ports for one in cluster.ours() if one.component == "gateway"]
        if asked["requestPath"] != "/readyz" or asked["port"] != ports[0]["http"]:
            yield f"{title_of(check)} asks {asked['port']}{asked['requestPath']}"


def identities_are_those_of_the_roles(cluster: Cluster) -> Iterator[str]:
    """On GKE each account is a Google account, in the queue's project."""
    for account in cluster.of("ServiceAccount"):
        identity = account["metadata"].get("annotations", {}).get("iam.gke.io/gcp-service-account")
        if identity is None and cluster.of("SecretStore"):
            yield f"{title_of(account)} is no Google account"
        if identity is None:
            continue
        settings = cluster.environment(cluster.ours()[0].containers[0])
        project = settings["SLUICE_QUEUE_URL"].removeprefix("pubsub://")
        if identity != f"{name_of(account)}@{project}.iam.gserviceaccount.com":
            yield f"{title_of(account)} is {identity}"


def _routes(cluster: Cluster) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    for route in cluster.of("HTTPRoute"):
        matches = [match for rule in route["spec"]["rules"] for match in rule["matches"]]
        yield title_of(route), [(one["path"]["type"], one["path"]["value"]) for one in matches]
    for ingress in cluster.of("Ingress"):
        yield title_of(ingress), [(one["pathType"], one["path"]) for one in _paths(ingress)]


def _paths(ingress: Obj) -> Iterator[Obj]:
    for rule in ingress["spec"]["rules"]:
        yield from rule["http"]["paths"]


def _takes(kind: str, value: str, path: str) -> bool:
    if kind == "Exact":
        return path == value
    return path == value or path.startswith(value.rstrip("/") + "/")


def _timeouts(cluster: Cluster) -> Iterator[tuple[str, float]]:
    for route in cluster.of("HTTPRoute"):
        for rule in route["spec"]["rules"]:
            if "timeouts" in rule:
                yield title_of(route), float(rule["timeouts"]["request"].removesuffix("s"))
    for policy in cluster.of("GCPBackendPolicy"):
        yield title_of(policy), float(policy["spec"]["default"]["timeoutSec"])
    for ingress in cluster.of("Ingress"):
        for name in ("proxy-read-timeout", "proxy-send-timeout"):
            yield title_of(ingress), float(ingress["metadata"]["annotations"].get(NGINX + name, 0))


RULES: Final = (
    clients_reach_the_api_and_nothing_else,
    routes_lead_to_the_gateway,
    routes_hang_on_a_listener,
    time_outs_are_longer_than_ours,
    bodies_may_be_as_large_as_ours,
    health_checks_ask_for_readiness,
    identities_are_those_of_the_roles,
)
