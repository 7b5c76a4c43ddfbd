"""Who may talk to whom, as the NetworkPolicies say: what is needed is open, and the rest is not."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from sluice.tracing.variables import ENDPOINTS
from tests.k8s.cluster import Cluster, Obj, Workload, selects, title_of

FOREIGN: Final = {
    "kube-system": {"k8s-app": "kube-dns"},
    "monitoring": {"app.kubernetes.io/name": "prometheus"},
    "ingress-nginx": {"app.kubernetes.io/name": "ingress-nginx"},
    "observability": {"app.kubernetes.io/name": "opentelemetry-collector"},
}
"""Namespaces of others that policies may name, with the labels of the pods that matter there."""
NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"
PUBLIC: Final = "203.0.113.7"
PRIVATE: Final = ("10.1.2.3", "172.16.5.5", "192.168.1.1", "169.254.169.253", "100.64.0.1")
LOAD_BALANCER: Final = "35.191.3.4"


def nothing_is_open_by_itself(cluster: Cluster) -> Iterator[str]:
    """Every pod of the namespace is closed both ways until a policy opens something."""
    for policy in cluster.of("NetworkPolicy"):
        spec = policy["spec"]
        is_whole = spec["podSelector"] == {} and set(spec["policyTypes"]) == {"Ingress", "Egress"}
        if is_whole and not spec.get("ingress") and not spec.get("egress"):
            return
    yield "no policy denies everything"


def policies_name_what_is_there(cluster: Cluster) -> Iterator[str]:
    """Each policy selects pods, its peers are real, and its ports are theirs."""
    for policy in cluster.of("NetworkPolicy"):
        selected = cluster.selected(policy["spec"]["podSelector"])
        if not selected:
            yield f"{title_of(policy)} selects no pods"
        for rule in policy["spec"].get("ingress", []):
            yield from _bad_peers(cluster, policy, rule.get("from", []))
            yield from _bad_ports(policy, rule, selected)
        for rule in policy["spec"].get("egress", []):
            yield from _bad_peers(cluster, policy, rule.get("to", []))
            for peer in rule.get("to", []):
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    yield from _bad_ports(policy, rule, cluster.selected(peer["podSelector"]))


def _bad_peers(cluster: Cluster, policy: Obj, peers: list[Obj]) -> Iterator[str]:
    for peer in peers:
        namespace = peer.get("namespaceSelector", {}).get("matchLabels", {}).get(NAMESPACE_LABEL)
        if "namespaceSelector" in peer and namespace not in FOREIGN:
            yield f"{title_of(policy)} names the namespace {namespace}"
        if "podSelector" in peer:
            found = (
                selects(peer["podSelector"], FOREIGN.get(namespace, {}))
                if namespace
                else bool(cluster.selected(peer["podSelector"]))
            )
            if not found:
                yield f"{title_of(policy)} names pods that are not there: {peer['podSelector']}"


def _bad_ports(policy: Obj, rule: Obj, workloads: list[Workload]) -> Iterator[str]:
    for port in rule.get("ports", []):
        for workload in workloads:
            if port["port"] not in workload.ports.values():
                yield f"{title_of(policy)}: {workload.title} has no port {port['port']}"


def what_is_needed_is_open(cluster: Cluster) -> Iterator[str]:
    """Health reaches the worker; all reach queue, warehouse and names; clients reach gateways."""
    pods = {one.component: one for one in cluster.workloads()}
    for source, target, port in _needed(pods):
        if not is_open(cluster, pods[source], pods[target], port):
            yield f"{source} does not reach {target} on {port}"
    for name, pod in pods.items():
        if not _leaves(cluster, pod, FOREIGN["kube-system"], "kube-system", 53):
            yield f"{name} cannot resolve names"
    for name in ("worker-amplitude", "worker-workflows"):
        if not leaves_to(cluster, pods[name], PUBLIC, 443):
            yield f"{name} does not reach the internet"
    if "clickhouse" not in pods:
        yield from _needed_by_gke(cluster, pods)
    yield from _needed_by_traces(cluster, pods)


def _needed_by_traces(cluster: Cluster, pods: dict[str, Workload]) -> Iterator[str]:
    """Yield whose spans go nowhere; setup makes none."""
    for name, pod in pods.items():
        if not pod.is_ours or not pod.runs_for_ever:
            continue
        settings = cluster.environment(pod.containers[0])
        for address in filter(None, map(settings.get, ENDPOINTS)):
            url = urlsplit(address)
            namespace = (url.hostname or "").split(".")[1]
            if not _leaves(cluster, pod, FOREIGN[namespace], namespace, url.port or 80):
                yield f"{name} does not reach the collector {address}"


def _needed(pods: dict[str, Workload]) -> Iterator[tuple[str, str, int]]:
    for name in ("warehouse", "amplitude", "workflows"):
        yield "gateway", f"worker-{name}", 8082
    for name, pod in pods.items():
        for target, port in (("pubsub-emulator", 8085), ("clickhouse", 8123)):
            if pod.is_ours and target in pods:
                yield name, target, port


def _needed_by_gke(cluster: Cluster, pods: dict[str, Workload]) -> Iterator[str]:
    for name, pod in pods.items():
        for host, port in ((PUBLIC, 443), (PUBLIC, 8443), ("169.254.169.252", 988)):
            if not leaves_to(cluster, pod, host, port):
                yield f"{name} does not reach {host}:{port}"
    if not _comes_from(cluster, pods["gateway"], LOAD_BALANCER, 8080):
        yield "the load balancer does not reach the gateway"
    for name in ("gateway", "worker-warehouse", "worker-amplitude", "worker-workflows"):
        port = next(iter(pods[name].ports.values()))
        if not _enters(cluster, pods[name], FOREIGN["monitoring"], "monitoring", port):
            yield f"Prometheus does not reach {name}"


def what_is_not_needed_is_closed(cluster: Cluster) -> Iterator[str]:
    """A process that is taken over finds nothing but what it needs anyway."""
    pods = {one.component: one for one in cluster.workloads()}
    for name, pod in pods.items():
        yield from _too_open_inside(cluster, pods, name)
        for host in PRIVATE:
            if leaves_to(cluster, pod, host, 443):
                yield f"{name} reaches private addresses such as {host}"
    for name in ("pubsub-emulator", "clickhouse"):
        if name in pods and leaves_to(cluster, pods[name], PUBLIC, 443):
            yield f"{name} reaches the internet"
    yield from _too_open_outside(cluster, pods)


def _too_open_inside(cluster: Cluster, pods: dict[str, Workload], source: str) -> Iterator[str]:
    wanted = set(_needed(pods))
    for target, receiver in pods.items():
        for port in receiver.ports.values():
            is_wanted = (source, target, port) in wanted
            if not is_wanted and is_open(cluster, pods[source], receiver, port):
                yield f"{source} reaches {target} on {port}"


def _too_open_outside(cluster: Cluster, pods: dict[str, Workload]) -> Iterator[str]:
    is_for_all = cluster.named("NetworkPolicy", "sluice-gateway-from-all") is not None
    for name, pod in pods.items():
        for port in () if name == "gateway" and is_for_all else pod.ports.values():
            if _comes_from(cluster, pod, PUBLIC, port):
                yield f"the internet reaches {name} on {port}"


def is_open(cluster: Cluster, source: Workload, target: Workload, port: int) -> bool:
    """Return whether pods of one workload reach a port of another one's, in our namespace."""
    return _leaves(cluster, source, target.labels, None, port) and _enters(
        cluster, target, source.labels, None, port
    )


def leaves_to(cluster: Cluster, source: Workload, host: str, port: int) -> bool:
    """Return whether pods reach an address outside of the cluster."""
    return any(
        _has_port(rule, port) and any(_is_in(peer, host) for peer in rule.get("to", []))
        for rule in _rules(cluster, source, "egress")
    )


def _comes_from(cluster: Cluster, target: Workload, host: str, port: int) -> bool:
    return any(
        _has_port(rule, port)
        and ("from" not in rule or any(_is_in(peer, host) for peer in rule["from"]))
        for rule in _rules(cluster, target, "ingress")
    )


def _leaves(
    cluster: Cluster, source: Workload, labels: Mapping[str, str], namespace: str | None, port: int
) -> bool:
    return any(
        _has_port(rule, port)
        and any(_is_pod(peer, labels, namespace) for peer in rule.get("to", []))
        for rule in _rules(cluster, source, "egress")
    )


def _enters(
    cluster: Cluster, target: Workload, labels: Mapping[str, str], namespace: str | None, port: int
) -> bool:
    return any(
        _has_port(rule, port)
        and ("from" not in rule or any(_is_pod(peer, labels, namespace) for peer in rule["from"]))
        for rule in _rules(cluster, target, "ingress")
    )


def _rules(cluster: Cluster, workload: Workload, way: str) -> Iterator[Obj]:
    for policy in cluster.of("NetworkPolicy"):
        if selects(policy["spec"]["podSelector"], workload.labels):
            yield from policy["spec"].get(way, [])


def _has_port(rule: Obj, port: int) -> bool:
    return "ports" not in rule or any(one["port"] == port for one in rule["ports"])


def _is_pod(peer: Obj, labels: Mapping[str, str], namespace: str | None) -> bool:
    if "ipBlock" in peer:
        return False
    named = peer.get("namespaceSelector", {}).get("matchLabels", {}).get(NAMESPACE_LABEL)
    return named == namespace and selects(peer.get("podSelector", {}), labels)


def _is_in(peer: Obj, host: str) -> bool:
    block = peer.get("ipBlock")
    if block is None:
        return False
    address = ip_address(host)
    return address in ip_network(block["cidr"]) and not any(
        address in ip_network(one) for one in block.get("except", [])
    )


RULES: Final = (
    nothing_is_open_by_itself,
    policies_name_what_is_there,
    what_is_needed_is_open,
    what_is_not_needed_is_closed,
)
