"""Tables of figures in Markdown, and how a page of the docs keeps them."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

BEGIN: Final = "<!-- {}:begin -->"
END: Final = "<!-- {}:end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of ratios."""

    what: str
    figure: str
    beside: str
    ratio: str
    goal: str


def measured_on(*more: str) -> str:
    """Return when, of which commit and on what it was measured; ``more`` are other versions."""
    versions = [
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        *more,
    ]
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} at commit `{commit()}`,"
        f" {os.cpu_count()} cores ({processor()}), {', '.join(versions)}.\n"
    )


def commit() -> str:
    """Return the commit of the checkout, with ``-dirty`` if it holds changes."""
    named = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],  # noqa: S607 - whatever git the person has
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return named.stdout.strip() or "unknown"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    texts = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    texts += [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join(texts) + "\n"


def ratios(rows: Sequence[Row]) -> str:
    """Return the table of ratios."""
    return table(
        ["what", "figure", "beside it", "ratio", "goal"],
        [[row.what, row.figure, row.beside, row.ratio, row.goal] for row in rows],
    )


def say(text: str) -> None:
    """Tell whoever waits what is being done, beside the result."""
    print(text, file=sys.stderr, flush=True)


def keep(page: Path, text: str, *, mark: str = "bench") -> None:
    """Put a text between two marks of a page; ``mark`` is their name."""
    begin, end = BEGIN.format(mark), END.format(mark)
    before, rest = page.read_text().split(begin, 1)
    _, after = rest.split(end, 1)
    page.write_text(f"{before}{begin}\n{text}{end}{after}")


def processor() -> str:
    """Return what this machine's processor calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
