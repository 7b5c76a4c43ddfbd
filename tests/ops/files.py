"""What operators are given: rules, the dashboard, the runbooks."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import yaml

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "ops/prometheus/rules.yaml"
RULES_TESTS: Final = (
    ROOT / "ops/prometheus/rules.test.yaml",
    ROOT / "ops/prometheus/rules.days.test.yaml",
)
DASHBOARD: Final = ROOT / "ops/grafana/sluice.json"
RUNBOOKS: Final = ROOT / "docs/runbooks"
INTERVAL: Final = "5m"
"""Stands for Grafana's own ``$__rate_interval``."""

_NAME: Final = re.compile(r"\b(?:sluice|process|python)_[a-z0-9_]+|\bsluice:[a-z0-9_:]+")
_STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_MATCHERS: Final = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)\s*\"")
_GROUPED: Final = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_BLOCK: Final = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def rules() -> list[dict[str, Any]]:
    """Return every rule."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Return every alert."""
    return [rule for rule in rules() if "alert" in rule]


def panels() -> list[dict[str, Any]]:
    """Return every panel of the dashboard that is no row."""
    found: list[dict[str, Any]] = orjson.loads(DASHBOARD.read_bytes())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def dashboard_expressions() -> list[str]:
    """Return what the dashboard asks Prometheus, with Grafana's variables filled in."""
    dashboard = orjson.loads(DASHBOARD.read_bytes())
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    found += [one["expr"] for one in dashboard["annotations"]["list"]]
    return [one.replace("$__rate_interval", INTERVAL) for one in found]


def runbooks() -> list[Path]:
    """Return the page of each alert."""
    return sorted(path for path in RUNBOOKS.glob("*.md") if path.name != "README.md")


def blocks(path: Path, kind: str) -> Iterator[str]:
    """Yield each line of a page's blocks of one kind, with continued lines joined."""
    for found, text in _BLOCK.findall(path.read_text()):
        if found == kind:
            yield from (line for line in text.replace("\\\n", " ").splitlines() if line.strip())


def metrics_of(expression: str) -> set[str]:
    """Return the names of metrics and recorded series in an expression."""
    return set(_NAME.findall(_STRINGS.sub('""', expression)))


def labels_of(expression: str) -> set[str]:
    """Return the labels that an expression compares or groups by."""
    found = set(_MATCHERS.findall(expression))
    for group in _GROUPED.findall(expression):
        found |= {label.strip() for label in group.split(",") if label.strip()}
    return found
