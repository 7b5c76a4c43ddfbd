"""The rules: promtool takes them, every alert fires and clears, and each is told the same way."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest
import yaml

from sluice.core.errors import ErrorType
from sluice.queue.pubsub_plan import DAY_S, KEPT_S
from tests.ops.files import RULES, RULES_TESTS, alerts, rules
from tests.support.promtool import promtool

ALERTS: Final = alerts()
NAMES: Final = sorted({alert["alert"] for alert in ALERTS})
SEVERITIES: Final = {"page", "ticket"}
_ASKED: Final = re.compile(r'ALERTS\{alertname="(\w+)", alertstate="firing"\}')


def test_promtool_takes_the_rules() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", str(RULES))


@pytest.mark.long(30)
@pytest.mark.parametrize("file", RULES_TESTS, ids=lambda file: file.name)
def test_every_alert_does_on_made_series_what_its_tests_say(file: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", str(file))


@pytest.mark.parametrize("name", NAMES)
def test_alert_fires_and_clears_in_its_tests_with_every_severity(name: str) -> None:
    seen: dict[str, list[bool]] = defaultdict(list)
    severities = _severities(name)
    for test in [one for file in RULES_TESTS for one in yaml.safe_load(file.read_text())["tests"]]:
        asked = [one for one in test["promql_expr_test"] if name in _ASKED.findall(one["expr"])]
        for severity in severities:
            fires = [f'severity="{severity}"' in str(one["exp_samples"]) for one in asked]
            # Quiet, firing and quiet again within one test.
            seen[severity].append(
                not fires[0] and True in fires and not fires[-1] if fires else False
            )
    assert {severity for severity, tests in seen.items() if any(tests)} == severities


def _severities(name: str) -> set[str]:
    words = " ".join(one["labels"]["severity"] for one in ALERTS if one["alert"] == name)
    return {severity for severity in SEVERITIES if severity in words}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda one: one["alert"])
def test_alert_says_what_is_wrong_and_where_to_read_on(alert: dict[str, dict[str, str]]) -> None:
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{alert['alert']}.md"
    assert len(alert["annotations"]["summary"]) <= 80
    assert alert["annotations"]["description"].endswith(".")
    assert _severities(str(alert["alert"])) <= SEVERITIES


@pytest.mark.parametrize("alert", ALERTS, ids=lambda one: one["alert"])
def test_alert_tells_only_values_and_labels_that_it_has(alert: dict[str, str]) -> None:
    named = set(re.findall(r"\$labels\.(\w+)", str(alert["annotations"]) + str(alert["labels"])))
    kept = set(re.findall(r"by \(([\w, ]+)\)", alert["expr"]))
    grouped = {label.strip() for group in kept for label in group.split(",")}
    grouped |= set(re.findall(r'absent\(\w+\{(\w+)="', alert["expr"]))
    if alert["expr"].startswith("up{"):
        grouped |= {"job", "instance"}
    assert named <= grouped


def test_error_types_in_rules_exist() -> None:
    named = {
        word
        for rule in rules()
        for group in re.findall(r'error_type[!=~]+"([^"]+)"', rule["expr"])
        for word in group.split("|")
    }
    assert named
    assert named <= set(ErrorType)


def test_thresholds_that_are_times_are_written_so_that_drills_find_them() -> None:
    """A bare number of seconds would stay as long as it is while all else is scaled."""
    for rule in rules():
        for metric, threshold in re.findall(
            r"(\w+_seconds)(?:\{[^}]*\})?[^<>\n]*[<>] ([^\n]+?)(?: or |$)", rule["expr"]
        ):
            if "loop_lag" not in metric and "request_duration" not in metric:
                assert re.search(r"\d+ \* (60|3600|86400)\b", threshold), (metric, threshold)


def test_alert_of_loss_counts_as_many_days_as_pubsub_keeps_events() -> None:
    [alert] = [one for one in ALERTS if one["alert"] == "SluiceEventsExpireSoon"]
    assert f" {KEPT_S // DAY_S} * {DAY_S} - (time() " in alert["expr"]
