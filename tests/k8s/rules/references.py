"""What an object names is there: by name, by label, by port."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from tests.k8s.cluster import Cluster, Obj, Workload, selects, strings, title_of

NAMESPACE: Final = "sluice"
OF_THE_CLUSTER: Final = ("Namespace", "PersistentVolume")


def names_are_unique(cluster: Cluster) -> Iterator[str]:
    """No object overwrites another one."""
    titles = Counter(
        (one["apiVersion"].partition("/")[0], title_of(one)) for one in cluster.objects
    )
    for (_, title), count in titles.items():
        if count > 1:
            yield f"there are {count} of {title}"


def everything_is_in_the_namespace(cluster: Cluster) -> Iterator[str]:
    """Deleting the namespace takes all of it away."""
    for one in cluster.objects:
        wanted = None if one["kind"] in OF_THE_CLUSTER else NAMESPACE
        if one["metadata"].get("namespace") != wanted:
            yield f"{title_of(one)} is in the namespace {one['metadata'].get('namespace')}"


def pods_find_what_they_name(cluster: Cluster) -> Iterator[str]:
    """Accounts, settings, secrets with their keys, claims and mounts exist."""
    for workload in cluster.workloads():
        for missing in (
            *_missing_accounts(cluster, workload),
            *_missing_sources(cluster, workload),
            *_missing_volumes(cluster, workload),
            *_missing_mounts(workload),
        ):
            yield f"{workload.title} names {missing}, which is not there"


def _missing_accounts(cluster: Cluster, workload: Workload) -> Iterator[str]:
    name = workload.pod.get("serviceAccountName")
    if workload.is_ours and cluster.named("ServiceAccount", str(name)) is None:
        yield f"the account {name}"


def _missing_sources(cluster: Cluster, workload: Workload) -> Iterator[str]:
    for container in workload.containers:
        for source in container.get("envFrom", []):
            if cluster.named("ConfigMap", source["configMapRef"]["name"]) is None:
                yield f"the ConfigMap {source['configMapRef']['name']}"
        for one in container.get("env", []):
            reference = one.get("valueFrom", {}).get("secretKeyRef")
            if reference and reference["key"] not in _keys(cluster, reference["name"]):
                yield f"the key {reference['key']} of the Secret {reference['name']}"


def _missing_volumes(cluster: Cluster, workload: Workload) -> Iterator[str]:
    for volume in workload.volumes.values():
        secret = volume.get("secret", {})
        if secret and not secret.get("optional") and not _keys(cluster, secret["secretName"]):
            yield f"the Secret {secret['secretName']}"
        config = volume.get("configMap", {}).get("name")
        if config and cluster.named("ConfigMap", config) is None:
            yield f"the ConfigMap {config}"
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim and cluster.named("PersistentVolumeClaim", claim) is None:
            yield f"the claim {claim}"


def _missing_mounts(workload: Workload) -> Iterator[str]:
    for container in workload.containers:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in workload.volumes:
                yield f"the volume {mount['name']}"


def _keys(cluster: Cluster, name: str) -> set[str]:
    """Return the keys of a Secret, or those that a store's operator will put into it."""
    secret = cluster.named("Secret", name)
    if secret is not None:
        return set(secret.get("data", {}))
    for one in cluster.of("ExternalSecret"):
        if one["spec"]["target"]["name"] == name:
            return {item["secretKey"] for item in one["spec"]["data"]}
    return set()


def objects_find_what_they_name(cluster: Cluster) -> Iterator[str]:
    """What scales, routes and checks finds its target."""
    for one in cluster.objects:
        for kind, name in _targets(one):
            if cluster.named(kind, name) is None:
                yield f"{title_of(one)} names {kind}/{name}, which is not there"


def _targets(one: Obj) -> Iterator[tuple[str, str]]:
    spec = one.get("spec", {})
    match one["kind"]:
        case "HorizontalPodAutoscaler":
            yield spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]
        case "ScaledObject":
            yield spec["scaleTargetRef"].get("kind", "Deployment"), spec["scaleTargetRef"]["name"]
            for trigger in spec["triggers"]:
                yield "TriggerAuthentication", trigger["authenticationRef"]["name"]
        case "StatefulSet":
            yield "Service", spec["serviceName"]
        case "ExternalSecret":
            yield spec["secretStoreRef"]["kind"], spec["secretStoreRef"]["name"]
        case "HTTPRoute":
            for parent in spec["parentRefs"]:
                yield "Gateway", parent["name"]
        case "HealthCheckPolicy" | "GCPBackendPolicy":
            yield spec["targetRef"]["kind"], spec["targetRef"]["name"]
        case _:
            pass


def selectors_find_pods(cluster: Cluster) -> Iterator[str]:
    """Workloads select their own pods; Services, budgets and monitors select some."""
    for workload in cluster.workloads():
        if workload.runs_for_ever and not selects(workload.spec["selector"], workload.labels):
            yield f"{workload.title} does not select its own pods"
        for spread in workload.pod.get("topologySpreadConstraints", []):
            if not selects(spread["labelSelector"], workload.labels):
                yield f"{workload.title} spreads pods that are not its own"
    for one in cluster.of("PodDisruptionBudget", "PodMonitor"):
        found = cluster.selected(one["spec"]["selector"])
        if not found or (one["kind"] == "PodDisruptionBudget" and len(found) != 1):
            yield f"{title_of(one)} selects {len(found)} workloads"
    for affinity in _affinities(cluster):
        if not cluster.selected(affinity):
            yield f"an affinity selects no pods: {affinity}"


def ports_are_there(cluster: Cluster) -> Iterator[str]:
    """A Service's target, a monitor's and a route's port have those names or numbers."""
    for service in cluster.of("Service"):
        found = cluster.selected({"matchLabels": service["spec"]["selector"]})
        if not found:
            yield f"{title_of(service)} selects no pods"
        for workload in found:
            for port in service["spec"]["ports"]:
                if port["targetPort"] not in workload.ports:
                    yield f"{title_of(service)}: {workload.title} has no port {port['targetPort']}"
    for monitor in cluster.of("PodMonitor"):
        for workload in cluster.selected(monitor["spec"]["selector"]):
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                if endpoint["port"] not in workload.ports:
                    yield f"{title_of(monitor)}: {workload.title} has no port {endpoint['port']}"


def workloads_of_a_stateful_set_are_named_by_their_service(cluster: Cluster) -> Iterator[str]:
    """The governing Service selects the set's pods, else their names do not resolve."""
    for workload in cluster.workloads():
        service = cluster.named("Service", str(workload.spec.get("serviceName")))
        if service is None:
            continue  # the rule above says so
        if not selects({"matchLabels": service["spec"]["selector"]}, workload.labels):
            yield f"{title_of(service)} does not select the pods of {workload.title}"


def nothing_holds_a_secret(cluster: Cluster) -> Iterator[str]:
    """Secrets stand in Secrets and nowhere else."""
    secrets = {one for secret in cluster.of("Secret") for one in secret["data"].values()}
    for one in cluster.objects:
        if one["kind"] == "ConfigMap" and any("secret" in key.lower() for key in one["data"]):
            yield f"{title_of(one)} holds a secret"
        if one["kind"] != "Secret" and secrets & set(strings(one)):
            yield f"{title_of(one)} repeats a Secret"
    for workload in cluster.workloads():
        for container in workload.containers:
            for one in container.get("env", []):
                is_secret = any(word in one["name"] for word in ("SECRET", "PASSWORD", "WAREHOUSE"))
                if is_secret and "value" in one:
                    yield f"{workload.title}: {one['name']} stands there in the open"


def _affinities(cluster: Cluster) -> Iterator[Obj]:
    for workload in cluster.workloads():
        terms = workload.pod.get("affinity", {}).get("podAffinity", {})
        for term in terms.get("requiredDuringSchedulingIgnoredDuringExecution", []):
            yield term["labelSelector"]


RULES: Final = (
    names_are_unique,
    everything_is_in_the_namespace,
    pods_find_what_they_name,
    objects_find_what_they_name,
    selectors_find_pods,
    ports_are_there,
    workloads_of_a_stateful_set_are_named_by_their_service,
    nothing_holds_a_secret,
)
