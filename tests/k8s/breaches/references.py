"""How the rules of references are broken."""

from typing import Final

from tests.k8s.breaches.change import (
    GATEWAY,
    SETUP,
    WAREHOUSE,
    Breaches,
    put,
    setting,
    twice,
    without,
)
from tests.k8s.rules import references as rules

BREACHES: Final[Breaches] = {
    rules.names_are_unique: [
        ("gke", twice("Service/sluice-gateway"), "2 of Service/sluice-gateway"),
    ],
    rules.everything_is_in_the_namespace: [
        ("gke", put("Service/sluice-gateway", "metadata namespace", "default"), "default"),
    ],
    rules.pods_find_what_they_name: [
        ("gke", without("ServiceAccount/sluice-worker"), "account sluice-worker"),
        ("gke", without("ExternalSecret/sluice-tenants"), "Secret sluice-tenants"),
        ("gke", put("ExternalSecret/sluice-jwt", "spec data 0 secretKey", "key"), "key secret"),
        (
            "dev",
            put(GATEWAY, "BOX envFrom 0 configMapRef name", "sluice-settings"),
            "ConfigMap sluice-settings",
        ),
        ("dev", without("PersistentVolumeClaim/sluice-shared"), "claim sluice-shared"),
        ("dev", put(SETUP, "BOX volumeMounts 0 name", "temp"), "volume temp"),
    ],
    rules.objects_find_what_they_name: [
        ("gke", without("TriggerAuthentication/sluice-monitoring"), "TriggerAuthentication"),
        ("gke", without("SecretStore/sluice"), "SecretStore"),
        (
            "gke",
            put("HorizontalPodAutoscaler/sluice-gateway", "spec scaleTargetRef kind", "Deployment"),
            "Deployment/sluice-gateway",
        ),
    ],
    rules.selectors_find_pods: [
        (
            "gke",
            put("PodMonitor/sluice-gateway", "spec selector matchLabels", {"app": "x"}),
            "selects 0",
        ),
        (
            "gke",
            put(
                "PodDisruptionBudget/sluice-gateway",
                "spec selector matchLabels",
                {"app.kubernetes.io/name": "sluice"},
            ),
            "selects 5",
        ),
        ("gke", put(WAREHOUSE, "spec selector matchLabels", {"app": "x"}), "its own pods"),
        (
            "gke",
            put(
                WAREHOUSE,
                "POD topologySpreadConstraints 0 labelSelector",
                {"matchLabels": {"a": "b"}},
            ),
            "not its own",
        ),
    ],
    rules.ports_are_there: [
        ("gke", put("Service/sluice-gateway", "spec ports 0 targetPort", "web"), "no port web"),
        (
            "gke",
            put("PodMonitor/sluice-worker", "spec podMetricsEndpoints 0 port", "http"),
            "no port http",
        ),
        ("gke", put("Service/sluice-gateway", "spec selector", {"a": "b"}), "selects no pods"),
    ],
    rules.workloads_of_a_stateful_set_are_named_by_their_service: [
        (
            "gke",
            put(GATEWAY, "spec serviceName", "sluice-worker-amplitude"),
            "does not select the pods",
        ),
    ],
    rules.nothing_holds_a_secret: [
        ("gke", setting("SLUICE_JWT_SECRET", "x" * 32), "holds a secret"),
        (
            "gke",
            put(GATEWAY, "BOX env +", {"name": "SLUICE_WAREHOUSE_URL", "value": "http://u:p@h/"}),
            "in the open",
        ),
    ],
}
