"""Metrics as text, of one process and of several: Prometheus' text format 0.0.4.

Only what ``prometheus_client`` writes is read: a family begins with its ``# HELP`` line, and its
samples follow its ``# TYPE`` line.
"""

from collections.abc import Iterable
from typing import Final

_HELP: Final = "# HELP "


def merged(texts: Iterable[tuple[str, str]], *, label: str) -> str:
    """Return the metrics of several processes as one text, each family once.

    Args:
        texts: Of each process the value of its label and its metrics.
        label: Tells the processes' samples apart; goes into each of them, before its own labels.
    """
    families: dict[str, list[str]] = {}
    for value, text in texts:
        mark = f'{label}="{value}"'
        lines: list[str] = []
        is_new = False
        for line in text.splitlines():
            if line.startswith(_HELP):
                name = line.split(" ", 3)[2]
                is_new = name not in families
                lines = families.setdefault(name, [])
            if not line.startswith("#"):
                lines.append(_marked(line, mark))
            elif is_new:
                lines.append(line)
    return "".join(f"{line}\n" for lines in families.values() for line in lines)


def _marked(sample: str, mark: str) -> str:
    name, brace, rest = sample.partition("{")
    if brace:
        return f"{name}{{{mark},{rest}"
    name, _, value = sample.partition(" ")
    return f"{name}{{{mark}}} {value}"
