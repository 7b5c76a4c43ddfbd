"""Prometheus itself and its promtool, as Debian's package ``prometheus`` brings them."""

import os
import shutil
import subprocess

import pytest

MISSING = (
    "the tests of metrics need Prometheus: `apt install prometheus`, or prometheus and promtool on"
    " the PATH"
)
WITHIN_S = 30


def require(name: str) -> str:
    """Return where a program is; where it is missing CI fails, and people are told."""
    path = shutil.which(name)
    if path is None and os.environ.get("CI") != "true":
        pytest.skip(MISSING)
    assert path is not None, MISSING
    return path


def complaints(metrics: str) -> list[str]:
    """Return what ``promtool check metrics`` says of a scrape; nothing when all is well."""
    ran = subprocess.run(  # noqa: S603 - a program of the system's
        [require("promtool"), "check", "metrics"],
        input=metrics,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    lines = (ran.stdout + ran.stderr).splitlines()
    assert lines or ran.returncode == 0, ran
    return lines
