"""Every rule can fail: each is broken on purpose, and says so."""

from copy import deepcopy
from typing import Final

import pytest

from tests.k8s import schemas
from tests.k8s.breaches import BREACHES
from tests.k8s.breaches.change import GATEWAY, WAREHOUSE, Change, put
from tests.k8s.cluster import cluster_of
from tests.k8s.rules import RULES, Rule

CASES: Final = [
    pytest.param(rule, overlay, change, says, id=f"{rule.__name__}-{at}")
    for rule, breaches in BREACHES.items()
    for at, (overlay, change, says) in enumerate(breaches)
]


@pytest.mark.parametrize(("rule", "overlay", "change", "says"), CASES)
def test_rule_fails_when_it_is_broken(rule: Rule, overlay: str, change: Change, says: str) -> None:
    changed = deepcopy(cluster_of(overlay))
    change(changed)
    sentences = list(rule(changed))
    assert any(says in sentence for sentence in sentences), sentences


def test_every_rule_is_broken_by_some_test() -> None:
    assert set(BREACHES) == set(RULES)


WRONG: Final = {
    "replicaz": put(WAREHOUSE, "spec replicaz", 2),
    "containerPort": put(GATEWAY, "BOX ports 0 containerPort", "http"),
    "pollingIntervall": put("ScaledObject/sluice-worker-warehouse", "spec pollingIntervall", 1),
    "interval": put("PodMonitor/sluice-gateway", "spec podMetricsEndpoints 0 interval", "15"),
    "backendRef": put("HTTPRoute/sluice", "spec rules 0 backendRef", []),
    "allowedRoutes": put(
        "Gateway/sluice", "spec listeners 0 allowedRoutes namespaces from", "Mine"
    ),
    "remoteRef": put("ExternalSecret/sluice-jwt", "spec data 0 remoteRef", {}),
    "projectId": put("SecretStore/sluice", "spec provider gcpsm projectId", "x"),
    "provider": put(
        "TriggerAuthentication/sluice-monitoring", "spec podIdentity provider", "google"
    ),
    "timeoutSec": put("GCPBackendPolicy/sluice-gateway", "spec default timeoutSec", "60s"),
    "httpHealthCheck": put(
        "HealthCheckPolicy/sluice-gateway", "spec default config httpHealthCheck path", "/"
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_kubernetes_refuses_what_it_does_not_know(name: str) -> None:
    changed = deepcopy(cluster_of("gke"))
    WRONG[name](changed)
    for version in schemas.VERSIONS:
        assert [problem for one in changed.objects for problem in schemas.problems(one, version)]
