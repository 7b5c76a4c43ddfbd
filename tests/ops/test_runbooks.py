"""The runbooks: one for each alert, in one form, and what they tell people to type exists."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml

from sluice.cli.command_line import build_app
from sluice.core.errors import ErrorType
from sluice.settings import SETTINGS
from tests.drills.catalogue import PLANS
from tests.k8s.cluster import cluster_of
from tests.ops.files import ROOT, RUNBOOKS, alerts, blocks, metrics_of, runbooks
from tests.support.promtool import check_expressions
from tests.support.segops import Segops

SECTIONS: Final = [
    "What it means",
    "How to look",
    "What to do",
    "How to know it is over",
]
WITHOUT_DRILL: Final = {"SluiceEventsExpireSoon"}
"""Pub/Sub's emulator would have to keep events for days."""
PAGES: Final = [*runbooks(), RUNBOOKS / "README.md"]
_LINE: Final = re.compile(r"^(?:\d+\. )?(.*)$")
_INLINE: Final = re.compile(r"`(sluice [^`]+)`")
_PATHS: Final = re.compile(r"\$(GATEWAY|WORKER)(/[\w/-]+)")
_LINK: Final = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
OF_WORKER: Final = {"/livez", "/readyz", "/status", "/metrics"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    names = {alert["alert"] for alert in alerts()}
    assert {page.stem for page in runbooks()} == names
    index = (RUNBOOKS / "README.md").read_text()
    assert set(re.findall(r"^\| \[(\w+)\]", index, re.MULTILINE)) == names


def test_every_alert_has_a_drill() -> None:
    assert set(PLANS) == {alert["alert"] for alert in alerts()} - WITHOUT_DRILL


def test_index_says_whom_each_alert_wakes() -> None:
    index = (RUNBOOKS / "README.md").read_text()
    for alert in alerts():
        [row] = [line for line in index.splitlines() if line.startswith(f"| [{alert['alert']}]")]
        wakes = row.split("|")[2]
        severity = alert["labels"]["severity"]
        assert ("page" in severity) <= ("page" in wakes)
        assert ("ticket" in severity) <= ("ticket" in wakes)


@pytest.mark.parametrize("page", runbooks(), ids=lambda page: page.stem)
def test_page_answers_the_four_questions_in_order(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}: ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert "**Still promised**" in text
    assert "**Lost**" in text or page.stem in WITHOUT_DRILL
    assert next(blocks(page, "promql"), None) or next(blocks(page, "sh"), None)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


def test_prometheus_can_parse_every_query(tmp_path: Path) -> None:
    check_expressions(tmp_path, [line for page in runbooks() for line in blocks(page, "promql")])


@each_page
def test_sluice_commands_and_their_options_exist(page: Path) -> None:
    text = page.read_text()
    lines = [line for line in blocks(page, "sh") if "sluice " in line]
    found = re.findall(r"(?:^|\$\(|cli |-- )(sluice [^|)<\"\n]+)", "\n".join(lines), re.MULTILINE)
    for line in [*found, *_INLINE.findall(text)]:
        words = shlex.split(line.replace("…", ""))[1:]
        if words and not words[0].startswith("-"):
            _assert_is_command(words)


def _assert_is_command(words: list[str]) -> None:
    command: Any = typer.main.get_command(build_app(words[:1]))
    rest = list(words)
    while hasattr(command, "commands"):
        assert rest, f"{words} names no command"
        name = rest.pop(0)
        assert name in command.commands, f"sluice has no {name}: {words}"
        command = command.commands[name]
    known = {option for one in command.params for option in one.opts}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{word} of {words}"


@each_page
def test_services_and_objects_in_commands_exist(page: Path) -> None:
    services = set(yaml.safe_load((ROOT / "compose.yaml").read_text())["services"])
    objects = {
        f"{one['kind'].lower()}/{one['metadata']['name']}"
        for overlay in ("kind", "gke")
        for one in cluster_of(overlay).objects
    }
    text = " ".join(page.read_text().split())
    for line in blocks(page, "sh"):
        words = shlex.split(line, comments=True)
        if words[:2] == ["docker", "compose"]:
            named = {word.partition("=")[0] for word in words[3:] if not word.startswith("-")}
            assert named <= services, line
        if words[0] == "kubectl":
            named = {word for word in words if "/" in word}
            assert named <= objects, line
            if "statefulset/clickhouse" in named:  # which the overlay gke has not
                assert "overlay `gke`" in text


@each_page
def test_addresses_exist(page: Path) -> None:
    served = _gateway_paths()
    for process, path in _PATHS.findall(page.read_text()):
        assert path in (OF_WORKER if process == "WORKER" else served), path


def _gateway_paths() -> set[str]:
    readme = (ROOT / "README.md").read_text()
    return set(re.findall(r"(/(?:api/[\w/-]+|livez|readyz|metrics))", readme))


@each_page
def test_settings_error_types_and_metrics_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    settings = {f"SLUICE_{name.upper()}" for name in SETTINGS}
    assert set(re.findall(r"SLUICE_[A-Z_]+", text)) <= settings
    metrics = (ROOT / "docs/metrics.md").read_text()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for name in metrics_of(" ".join(re.findall(r"`([^`]+)`", prose))):
        assert f"`{name}`" in metrics, name
    for name in re.findall(r"`(\w+_(?:missing|unknown|invalid|malformed|pending))`", text):
        assert name in set(ErrorType), name


@each_page
def test_shell_can_parse_every_command(page: Path) -> None:
    for line in blocks(page, "sh"):
        ran = subprocess.run(["sh", "-n", "-c", line], capture_output=True, check=False)  # noqa: S603, S607 - parsed only
        assert ran.returncode == 0, (line, ran.stderr)


async def test_clickhouse_answers_every_query(api: Segops) -> None:
    queries = [line for page in runbooks() for line in blocks(page, "sql")]
    assert len(queries) > 4
    for query in queries:
        await api.warehouse.select(query)
