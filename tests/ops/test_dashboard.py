"""The dashboard: Prometheus can parse it, it explains itself, and Grafana finds it."""

from pathlib import Path

import orjson

from tests.ops.files import DASHBOARD, ROOT, dashboard_expressions, panels
from tests.support.promtool import check_expressions


def test_prometheus_can_parse_every_expression(tmp_path: Path) -> None:
    check_expressions(tmp_path, dashboard_expressions())


def test_every_panel_asks_the_data_source_that_the_reader_chose() -> None:
    [variable] = orjson.loads(DASHBOARD.read_bytes())["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])


def test_panels_have_ids_and_places_of_their_own() -> None:
    every = orjson.loads(DASHBOARD.read_bytes())["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_panel_has_a_title_and_a_unit() -> None:
    for panel in panels():
        assert panel["title"]
        if panel["type"] != "table":
            assert panel["fieldConfig"]["defaults"]["unit"]


def test_kubernetes_has_the_same_dashboard_and_rules() -> None:
    copy = ROOT / "k8s/components/monitoring"
    assert (copy / "sluice.json").read_bytes() == DASHBOARD.read_bytes()
    rules = (ROOT / "ops/prometheus/rules.yaml").read_text().splitlines()
    copied = (copy / "rules.yaml").read_text().splitlines()
    assert [line.strip() for line in copied[-len(rules) :]] == [line.strip() for line in rules]
