"""Prometheus's own checks: of rules, of their tests, and of single expressions."""

import subprocess
from pathlib import Path

from tests.support.prometheus import require


def promtool(*words: str) -> str:
    """Run promtool, which must be content, and return what it says."""
    ran = subprocess.run(  # noqa: S603 - Debian's
        [require("promtool"), *words], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def check_expressions(folder: Path, expressions: list[str]) -> None:
    """Let Prometheus's parser read expressions; the first that it refuses fails."""
    assert expressions
    path = folder / "expressions.yaml"
    rules = [f"  - {{record: 'x{at}', expr: {_quoted(one)}}}" for at, one in enumerate(expressions)]
    path.write_text("groups:\n- name: all\n  rules:\n" + "\n".join(rules) + "\n")
    promtool("check", "rules", str(path))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\n", " ") + "'"
