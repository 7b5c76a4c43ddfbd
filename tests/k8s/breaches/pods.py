"""How the rules of containers are broken."""

from typing import Final

from tests.k8s.breaches.change import (
    AMPLITUDE,
    GATEWAY,
    GONE,
    SETUP,
    WAREHOUSE,
    WORKFLOWS,
    Breaches,
    put,
)
from tests.k8s.rules import pods as rules

BREACHES: Final[Breaches] = {
    rules.containers_have_requests_and_limits: [
        ("gke", put(GATEWAY, "BOX resources limits cpu", GONE), "no limit of cpu"),
        ("dev", put("Deployment/pubsub-emulator", "BOX resources", {}), "emulator has no request"),
        ("gke", put(SETUP, "BOX resources requests memory", "1Gi"), "more memory"),
    ],
    rules.images_are_pinned: [
        ("dev", put(WAREHOUSE, "BOX image", "sluice:latest"), "no version"),
        ("dev", put(WAREHOUSE, "BOX image", "localhost:5000/sluice"), "no version"),
        ("gke", put(SETUP, "BOX image", "sluice@sha256:0"), "no version"),
    ],
    rules.sluice_is_one_image: [
        ("gke", put(SETUP, "BOX image", "sluice:0.0.9"), "2 images"),
    ],
    rules.containers_have_no_power: [
        (
            "gke",
            put(GATEWAY, "BOX securityContext readOnlyRootFilesystem", GONE),
            "readOnlyRootFilesystem",
        ),
        (
            "kind",
            put("StatefulSet/clickhouse", "BOX securityContext capabilities drop", []),
            "capabilities",
        ),
        (
            "gke",
            put(GATEWAY, "POD initContainers", [{"name": "chown", "image": "a:1"}]),
            "runAsNonRoot",
        ),
        ("gke", put(GATEWAY, "BOX ports 0 hostPort", 80), "port of the node"),
    ],
    rules.pods_have_no_power: [
        ("gke", put(AMPLITUDE, "POD securityContext runAsUser", 0), "as root"),
        (
            "gke",
            put(AMPLITUDE, "POD securityContext seccompProfile", {"type": "Unconfined"}),
            "seccomp",
        ),
        ("gke", put(AMPLITUDE, "POD hostNetwork", value=True), "hostNetwork"),
        (
            "gke",
            put(AMPLITUDE, "POD volumes +", {"name": "h", "hostPath": {"path": "/"}}),
            "hostPath",
        ),
    ],
    rules.pods_know_nothing_of_kubernetes: [
        ("gke", put(WORKFLOWS, "POD automountServiceAccountToken", GONE), "automount"),
        ("gke", put(WORKFLOWS, "POD enableServiceLinks", value=True), "enableServiceLinks"),
        (
            "gke",
            put("ServiceAccount/sluice-worker", "automountServiceAccountToken", value=True),
            "mounts its token",
        ),
    ],
    rules.scratch_space_is_bounded: [
        ("dev", put(WAREHOUSE, "BOX volumeMounts", []), "no /tmp"),
        ("dev", put(WAREHOUSE, "POD volumes 0 emptyDir", {}), "no sizeLimit"),
    ],
    rules.scratch_space_is_within_its_limit: [
        ("dev", put(GATEWAY, "BOX resources limits ephemeral-storage", "256Mi"), "is evicted"),
    ],
    rules.the_namespace_is_restricted: [
        (
            "dev",
            put(
                "Namespace/sluice", "metadata labels pod-security.kubernetes.io/enforce", "baseline"
            ),
            "enforce",
        ),
    ],
}
