"""Every metric that rules, dashboard and runbooks name is one that a running Sluice has.

Prometheus itself asks: it scrapes the running stack with the shipped rules, and answers every
expression.
"""

import re
from pathlib import Path
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.drills.prometheus import running_prometheus
from tests.drills.rules import Pace
from tests.ops.files import (
    ROOT,
    blocks,
    dashboard_expressions,
    labels_of,
    metrics_of,
    rules,
    runbooks,
)
from tests.support.poll import poll_until
from tests.support.prometheus import require
from tests.support.stack import Stack

AS_SHIPPED: Final = Pace(1, 1)
SUFFIXES: Final = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}
OF_PROMETHEUS: Final = {"job", "instance", "process", "le", "alertname", "alertstate", "severity"}


def expressions() -> list[str]:
    """Return everything that anybody is told to ask."""
    asked = [rule["expr"] for rule in rules()] + dashboard_expressions()
    return asked + [line for page in runbooks() for line in blocks(page, "promql")]


async def _metrics(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        return await answer.text()


async def test_every_metric_that_is_asked_for_exists_in_a_running_sluice(stack: Stack) -> None:
    async with aiohttp.ClientSession() as session:
        texts = [await _metrics(session, url) for url in (stack.url, stack.worker_url)]
    there = {
        family.name + suffix
        for text in texts
        for family in text_string_to_metric_families(text)
        for suffix in SUFFIXES.get(family.type, ("",))
    }
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for expression in expressions() for name in metrics_of(expression)}
    assert len(asked) > 50
    assert sorted(asked - there - recorded) == []


def test_every_label_that_is_asked_for_is_one_of_its_metric() -> None:
    table = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(sluice_\w+)` \| \w+ \| ([^|]*) \|", table, re.MULTILINE)
    known = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    for expression in expressions():
        named = {re.sub(r"_(bucket|count|sum)$", "", one) for one in metrics_of(expression)}
        labels = set().union(*(known.get(name, set()) for name in named))
        assert labels_of(expression) <= labels | OF_PROMETHEUS, expression


async def test_prometheus_answers_everything_that_people_are_told_to_ask(
    stack: Stack, tmp_path: Path
) -> None:
    require("prometheus")
    targets = {
        "sluice-gateway": [stack.url.removeprefix("http://")],
        "sluice-worker": [stack.worker_url.removeprefix("http://")],
    }
    async with (
        aiohttp.ClientSession() as session,
        running_prometheus(tmp_path / "prometheus", targets, session, AS_SHIPPED) as prometheus,
    ):
        _: bool = await poll_until(lambda: prometheus.is_up(2), within_s=30, what="both answer")
        for expression in expressions():
            await prometheus.query(expression)
        assert await prometheus.rule_errors() == []
