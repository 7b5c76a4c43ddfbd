"""How the rules of scaling are broken."""

from typing import Final

from tests.k8s.breaches.change import (
    GATEWAY,
    GONE,
    WORKFLOWS,
    Breaches,
    put,
    setting,
    twice,
    without,
)
from tests.k8s.rules import scaling as rules

QUERY: Final = (
    "max(pubsub_googleapis_com:subscription_oldest_unacked_message_age"
    '{monitored_resource="pubsub_subscription",subscription_id="NAME"})'
)
BREACHES: Final[Breaches] = {
    rules.several_stand_apart: [
        ("kind", without("PodDisruptionBudget/sluice-gateway"), "0 budgets"),
        ("gke", put(WORKFLOWS, "POD topologySpreadConstraints", []), "spread over"),
    ],
    rules.budgets_let_nodes_go: [
        ("gke", put("PodDisruptionBudget/sluice-gateway", "spec maxUnavailable", 0), "for ever"),
        (
            "gke",
            put("PodDisruptionBudget/sluice-gateway", "spec unhealthyPodEvictionPolicy", GONE),
            "broken anyway",
        ),
    ],
    rules.who_scales_owns_the_number: [
        ("gke", put(GATEWAY, "spec replicas", 3), "a number"),
        ("gke", twice("ScaledObject/sluice-worker-warehouse", name="other"), "twice"),
        ("gke", put("HorizontalPodAutoscaler/sluice-gateway", "spec minReplicas", 1), "from 1"),
        (
            "gke",
            put(
                "ScaledObject/sluice-worker-warehouse",
                "spec scaleTargetRef",
                {"kind": "StatefulSet", "name": "sluice-worker-amplitude"},
            ),
            "parked events",
        ),
    ],
    rules.gateways_grow_by_what_they_measure: [
        (
            "gke",
            put(
                "HorizontalPodAutoscaler/sluice-gateway",
                "spec metrics 1 pods metric name",
                "sluice_pending",
            ),
            "no process has",
        ),
        (
            "gke",
            put(
                "HorizontalPodAutoscaler/sluice-gateway",
                "spec metrics 1 pods target averageValue",
                "32Mi",
            ),
            "half full",
        ),
        ("gke", put("HorizontalPodAutoscaler/sluice-gateway", "spec metrics 1", GONE), "looks at"),
    ],
    rules.workers_grow_by_backlogs_that_exist: [
        (
            "gke",
            put(
                "ScaledObject/sluice-worker-warehouse",
                "spec triggers 0 metadata query",
                QUERY.replace("NAME", "sluice-amplitude"),
            ),
            "looks at sluice-amplitude",
        ),
        (
            "gke",
            put(
                "ScaledObject/sluice-worker-warehouse",
                "spec triggers 0 metadata query",
                "sluice_queue_oldest_age_seconds",
            ),
            "looks at something else",
        ),
        ("gke", setting("SLUICE_QUEUE_URL", "pubsub://other-project"), "asks at https://"),
        ("gke", put("ScaledObject/sluice-worker-warehouse", "spec fallback", GONE), "not known"),
    ],
}
