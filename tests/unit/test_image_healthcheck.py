"""The healthcheck of the image finds the part that runs, and asks it where it listens."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from sluice.settings import SETTINGS

FILE = Path(__file__).parents[2] / "ops" / "image" / "healthcheck.py"
PYTHON = ["/opt/sluice/bin/python", "/opt/sluice/bin/sluice"]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image_healthcheck", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HEALTHCHECK = load()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([*PYTHON, "gateway"], "gateway"),
        ([*PYTHON, "worker", "--only", "warehouse"], "worker"),
        ([*PYTHON, "run", "--port", "9000"], "run"),
        (["/sbin/docker-init", "--", "sluice", "gateway"], "gateway"),
        ([*PYTHON, "setup"], None),
        ([*PYTHON], None),
        (["sleep", "gateway"], None),
    ],
)
def test_healthcheck_finds_the_part_on_the_command_line(words: list[str], part: str | None) -> None:
    assert HEALTHCHECK.part_of([*words, ""]) == part


@pytest.mark.parametrize(
    ("words", "environment", "port"),
    [
        ([], {}, "8080"),
        ([], {"SLUICE_PORT": ""}, "8080"),
        ([], {"SLUICE_PORT": "9001"}, "9001"),
        (["--port", "9000"], {"SLUICE_PORT": "9001"}, "9000"),
        (["--port=9000"], {}, "9000"),
    ],
)
def test_healthcheck_asks_the_port_that_the_gateway_was_given(
    words: list[str], environment: dict[str, str], port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLUICE_PORT", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert HEALTHCHECK.port_of([*PYTHON, "gateway", *words], "SLUICE_PORT", "8080") == port


def test_healthcheck_knows_the_ports_of_the_settings() -> None:
    for variable, default, _ in HEALTHCHECK.QUESTIONS["run"]:
        field = SETTINGS[variable.removeprefix("SLUICE_").lower()]
        assert str(field.default) == default
