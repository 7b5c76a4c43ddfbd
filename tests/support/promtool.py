"""Prometheus's own tools: where they are missing CI fails, and people are told."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MISSING = "{} is not here: install prometheus (Debian's package has both)."


def find(program: str) -> str:
    """Return where ``prometheus`` or ``promtool`` is; without it the test is left out."""
    found = shutil.which(program)
    if found is None and os.environ.get("CI") != "true":
        pytest.skip(MISSING.format(program))
    assert found is not None, MISSING.format(program)
    return found


def promtool(*words: str, stdin: bytes = b"") -> str:
    """Run promtool, which must be content, and return what it says."""
    ran = subprocess.run(  # noqa: S603 - Debian's
        [find("promtool"), *words], input=stdin, capture_output=True, check=False
    )
    said = (ran.stdout + ran.stderr).decode()
    assert ran.returncode == 0, said
    return said


def check_expressions(folder: Path, expressions: list[str]) -> None:
    """Let Prometheus's parser read expressions; the first that it refuses fails."""
    assert expressions
    path = folder / "expressions.yaml"
    rules = [f"  - {{record: 'x{at}', expr: {_quoted(one)}}}" for at, one in enumerate(expressions)]
    path.write_text("groups:\n- name: all\n  rules:\n" + "\n".join(rules) + "\n")
    promtool("check", "rules", str(path))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\n", " ") + "'"
