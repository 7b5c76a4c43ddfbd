"""Each overlay: Kubernetes takes it, in several versions, and every rule holds."""

import pytest

from tests.k8s import schemas
from tests.k8s.cluster import OVERLAYS, cluster_of
from tests.k8s.rules import RULES, Rule


@pytest.mark.parametrize("version", schemas.VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_every_object(overlay: str, version: str) -> None:
    objects = cluster_of(overlay).objects
    assert len(objects) > 25
    assert [problem for one in objects for problem in schemas.problems(one, version)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds_for_every_overlay(rule: Rule) -> None:
    found = {overlay: list(rule(cluster_of(overlay))) for overlay in OVERLAYS}
    assert found == {overlay: [] for overlay in OVERLAYS}
