"""More than one: they stand apart, go one at a time, and grow by what can be measured."""

import re
from collections.abc import Iterator
from typing import Final

from sluice.queue.protocol import TOPICS
from sluice.queue.pubsub_wire import Names
from sluice.settings import SETTINGS
from sluice.telemetry import REGISTRY
from tests.k8s.cluster import Cluster, Obj, Workload, amount, selects, title_of

BACKLOG: Final = re.compile(
    r"max\(pubsub_googleapis_com:subscription_oldest_unacked_message_age"
    r'{monitored_resource="pubsub_subscription",subscription_id="([a-z-]+)"}\)'
)
"""How Cloud Monitoring is asked, in PromQL."""
ZONE, NODE = "topology.kubernetes.io/zone", "kubernetes.io/hostname"


def several_stand_apart(cluster: Cluster) -> Iterator[str]:
    """A node or a zone that goes takes some of them, not all; a drain takes one at a time."""
    for workload in cluster.workloads():
        if least_replicas(cluster, workload) < 2:
            continue
        keys = {one["topologyKey"] for one in workload.pod.get("topologySpreadConstraints", [])}
        if keys != {ZONE, NODE}:
            yield f"{workload.title} is spread over {sorted(keys)}"
        budgets = [
            one
            for one in cluster.of("PodDisruptionBudget")
            if selects(one["spec"]["selector"], workload.labels)
        ]
        if len(budgets) != 1:
            yield f"{workload.title} has {len(budgets)} budgets"


def budgets_let_nodes_go(cluster: Cluster) -> Iterator[str]:
    """A drain that can never end would stop every upgrade of the cluster."""
    for budget in cluster.of("PodDisruptionBudget"):
        if budget["spec"].get("maxUnavailable", 0) < 1 or "minAvailable" in budget["spec"]:
            yield f"{title_of(budget)} may hold up a drain for ever"
        if budget["spec"].get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield f"{title_of(budget)} keeps pods that are broken anyway"


def who_scales_owns_the_number(cluster: Cluster) -> Iterator[str]:
    """One scaler for each workload, no number beside it, none for what must stay one."""
    targets = [(one, target_of(one)) for one in _scalers(cluster)]
    for one, target in targets:
        if sum(other == target for _, other in targets) > 1:
            yield f"{target} is scaled twice"
        found = cluster.named(*target)
        if found is not None and "replicas" in found["spec"]:
            yield f"{title_of(found)} says a number that {title_of(one)} changes"
        if target[1] == "sluice-worker-amplitude":
            yield f"{title_of(one)} would take the disk of parked events away"
        low, high = bounds_of(one)
        if not 2 <= low < high:
            yield f"{title_of(one)} scales from {low} to {high}"


def gateways_grow_by_what_they_measure(cluster: Cluster) -> Iterator[str]:
    """The metrics of pods exist, and they grow before a gateway has to refuse."""
    known = {family.name for family in REGISTRY.collect()}
    for scaler in cluster.of("HorizontalPodAutoscaler"):
        kinds = {metric["type"] for metric in scaler["spec"]["metrics"]}
        if kinds != {"Resource", "Pods"}:
            yield f"{title_of(scaler)} looks at {sorted(kinds)}"
        for metric in scaler["spec"]["metrics"]:
            if metric["type"] != "Pods":
                continue
            name = metric["pods"]["metric"]["name"]
            if name not in known:
                yield f"{title_of(scaler)} asks for {name}, which no process has"
            target = amount(metric["pods"]["target"]["averageValue"])
            bound = SETTINGS["pending_max_bytes"].default
            if target > bound / 2:
                yield f"{title_of(scaler)} waits until a gateway is more than half full"


def workers_grow_by_backlogs_that_exist(cluster: Cluster) -> Iterator[str]:
    """Each worker by the subscription that it takes events from."""
    names = Names("any")
    known = {
        names.subscription(one).rpartition("/")[2]: one for each in TOPICS.values() for one in each
    }
    for scaler in cluster.of("ScaledObject"):
        worker = cluster.named(*target_of(scaler))
        args = worker["spec"]["template"]["spec"]["containers"][0]["args"] if worker else [""]
        for trigger in scaler["spec"]["triggers"]:
            asked = BACKLOG.fullmatch(trigger["metadata"]["query"])
            name = asked[1] if asked else "something else"
            if known.get(name) != args[-1]:
                yield f"{title_of(scaler)} looks at {name} for sluice {' '.join(args)}"
            address = trigger["metadata"]["serverAddress"]
            if f"/projects/{_project(cluster)}/" not in address:
                yield f"{title_of(scaler)} asks at {address}"
        if "fallback" not in scaler["spec"]:
            yield f"{title_of(scaler)} does not say what to do when the backlog is not known"


def least_replicas(cluster: Cluster, workload: Workload) -> int:
    """Return how many pods there are at least, whoever says so."""
    for scaler in _scalers(cluster):
        if target_of(scaler) == (workload.kind, workload.name):
            return bounds_of(scaler)[0]
    return int(workload.spec.get("replicas", 1))


def target_of(scaler: Obj) -> tuple[str, str]:
    """Return kind and name of what is scaled."""
    target = scaler["spec"]["scaleTargetRef"]
    return target.get("kind", "Deployment"), target["name"]


def bounds_of(scaler: Obj) -> tuple[int, int]:
    """Return the least and the largest number."""
    spec = scaler["spec"]
    if scaler["kind"] == "ScaledObject":
        return spec["minReplicaCount"], spec["maxReplicaCount"]
    return spec["minReplicas"], spec["maxReplicas"]


def _project(cluster: Cluster) -> str:
    settings = cluster.environment(cluster.ours()[0].containers[0])
    return settings["SLUICE_QUEUE_URL"].removeprefix("pubsub://")


def _scalers(cluster: Cluster) -> list[Obj]:
    return cluster.of("HorizontalPodAutoscaler", "ScaledObject")


RULES: Final = (
    several_stand_apart,
    budgets_let_nodes_go,
    who_scales_owns_the_number,
    gateways_grow_by_what_they_measure,
    workers_grow_by_backlogs_that_exist,
)
