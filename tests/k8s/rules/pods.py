"""Containers: bounded, pinned, and held to the Pod Security level "restricted"."""

import re
from collections.abc import Iterator
from typing import Final

from tests.k8s.cluster import Cluster, Obj, Workload, amount

RESOURCES: Final = ("cpu", "memory", "ephemeral-storage")
PINNED: Final = re.compile(r"[a-z0-9./-]+(:[0-9][A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})")
"""A tag that begins with a number, or a digest; ``latest`` and no tag at all are neither."""
VOLUMES: Final = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret", "spec"}
"""Kinds of volumes that "restricted" takes; ``spec`` is that of a claim template."""
LEVEL: Final = "pod-security.kubernetes.io/"


def containers_have_requests_and_limits(cluster: Cluster) -> Iterator[str]:
    """Nobody takes what others need: processor, memory and disk of each container are bounded."""
    for workload, container in _containers(cluster):
        given = container.get("resources", {})
        requests, limits = given.get("requests", {}), given.get("limits", {})
        for name in RESOURCES:
            if name not in requests or name not in limits:
                yield f"{workload.title} has no request or no limit of {name}"
            elif amount(requests[name]) > amount(limits[name]):
                yield f"{workload.title} requests more {name} than its limit"


def images_are_pinned(cluster: Cluster) -> Iterator[str]:
    """The same objects run the same code tomorrow."""
    for workload, container in _containers(cluster):
        if not PINNED.fullmatch(container["image"]):
            yield f"{workload.title} runs {container['image']}, which is no version"


def sluice_is_one_image(cluster: Cluster) -> Iterator[str]:
    """Gateway, workers and setup of one release belong together."""
    images = {one["image"] for workload in cluster.ours() for one in workload.containers}
    if len(images) != 1:
        yield f"Sluice runs from {len(images)} images: {', '.join(sorted(images))}"


def containers_have_no_power(cluster: Cluster) -> Iterator[str]:
    """Not root, no way to become it, nothing to write to but volumes."""
    for workload, container in _containers(cluster):
        context = container.get("securityContext", {})
        wanted = {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }
        for name, value in wanted.items():
            if context.get(name) != value:
                yield f"{workload.title}: {name} of a container is {context.get(name)!r}"
        for port in container.get("ports", []):
            if "hostPort" in port:
                yield f"{workload.title} takes a port of the node"


def pods_have_no_power(cluster: Cluster) -> Iterator[str]:
    """No user 0, the runtime's seccomp profile, nothing of the node's."""
    for workload in cluster.workloads():
        context = workload.pod.get("securityContext", {})
        if not context.get("runAsNonRoot") or not context.get("runAsUser"):
            yield f"{workload.title} may run as root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{workload.title} has no seccomp profile"
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if workload.pod.get(name):
                yield f"{workload.title} has {name}"
        for name, volume in workload.volumes.items():
            kinds = set(volume) - {"name", "metadata", "apiVersion", "kind", "status"}
            if not kinds <= VOLUMES:
                yield f"{workload.title}: the volume {name} is {', '.join(kinds)}"


def pods_know_nothing_of_kubernetes(cluster: Cluster) -> Iterator[str]:
    """No token to ask its API with; no variables of Services, which look like our settings."""
    for workload in cluster.workloads():
        for name in ("automountServiceAccountToken", "enableServiceLinks"):
            if workload.pod.get(name) is not False:
                yield f"{workload.title}: {name} is not false"
    for account in cluster.of("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"the account {account['metadata']['name']} mounts its token"


def scratch_space_is_bounded(cluster: Cluster) -> Iterator[str]:
    """Each container may write to /tmp, and no emptyDir fills the node."""
    for workload, container in _containers(cluster):
        if "/tmp" not in {mount["mountPath"] for mount in container.get("volumeMounts", [])}:  # noqa: S108 - a path in a pod
            yield f"{workload.title} has no /tmp to write to"
        for name, volume in workload.volumes.items():
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                yield f"{workload.title}: the emptyDir {name} has no sizeLimit"


def scratch_space_is_within_its_limit(cluster: Cluster) -> Iterator[str]:
    """What emptyDirs hold counts as ephemeral storage, and a pod that has too much is evicted."""
    for workload in cluster.workloads():
        volumes = [
            volume["emptyDir"] or {} for volume in workload.volumes.values() if "emptyDir" in volume
        ]
        held = sum(amount(volume.get("sizeLimit", 0)) for volume in volumes)
        limits = [one.get("resources", {}).get("limits", {}) for one in workload.containers]
        allowed = sum(amount(one.get("ephemeral-storage", 0)) for one in limits)
        if held > allowed:
            yield f"{workload.title} is evicted before its emptyDirs are full"


def the_namespace_is_restricted(cluster: Cluster) -> Iterator[str]:
    """Kubernetes itself refuses a pod that would break the rules above."""
    namespaces = cluster.of("Namespace")
    if len(namespaces) != 1:
        yield f"there are {len(namespaces)} namespaces"
    for namespace in namespaces:
        labels = namespace["metadata"].get("labels", {})
        for mode in ("enforce", "warn", "audit"):
            if labels.get(LEVEL + mode) != "restricted":
                yield f"the namespace does not {mode} restricted"


def _containers(cluster: Cluster) -> Iterator[tuple[Workload, Obj]]:
    for workload in cluster.workloads():
        for container in workload.containers:
            yield workload, container


RULES: Final = (
    containers_have_requests_and_limits,
    images_are_pinned,
    sluice_is_one_image,
    containers_have_no_power,
    pods_have_no_power,
    pods_know_nothing_of_kubernetes,
    scratch_space_is_bounded,
    scratch_space_is_within_its_limit,
    the_namespace_is_restricted,
)
