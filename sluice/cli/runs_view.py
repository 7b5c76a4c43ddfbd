"""Runs as people read them: lines and tables from what the API says. Nothing here asks or waits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from rich.table import Table
from rich.text import Text

from sluice.cli.plain import duration, moment, plain
from sluice.cli.runs_api import Run

ENDED: Final = frozenset({"succeeded", "failed", "canceled"})
SUCCEEDED: Final = "succeeded"
MAX_VALUE_CHARS: Final = 400
SHOWN_STEPS: Final = 200
"""Of a run that polled for hours the newest are drawn."""
_STYLES: Final = {
    "succeeded": "green",
    "failed": "red",
    "canceled": "yellow",
    "stopping": "yellow",
    "skipped": "dim",
    "scheduled": "dim",
    "up for retry": "yellow",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One visit of a step."""

    id: str
    label: str
    state: str
    seconds: float | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that a run left."""

    name: str
    size_bytes: int | None
    sha256: str


def steps_of(run: Run, now: datetime) -> list[Step]:
    """Return the visits of a run's steps, in order."""
    tasks = run.get("task_instances")
    if not isinstance(tasks, list):
        return []
    return [_step(task, now) for task in tasks if isinstance(task, dict)]


def _step(task: Mapping[str, Any], now: datetime) -> Step:
    begun = moment(task.get("started_at")) or moment(task.get("created_at"))
    end = moment(task.get("ended_at")) or now
    return Step(
        id=_word(task.get("id")),
        label=_word(task.get("label")),
        state=_word(task.get("state")),
        seconds=(end - begun).total_seconds() if begun else None,
        error=error_of(task),
    )


def error_of(found: Mapping[str, Any]) -> str:
    """Return why a run or step failed, whose fault it is and of which type; empty if it did not."""
    error = found.get("error")
    if not isinstance(error, dict):
        return ""
    message = _word(error.get("message")).removesuffix(".")
    return f"{message} ({_word(error.get('attribution'))}, {_word(error.get('type'))})"


def lines_of(before: Sequence[Step], after: Sequence[Step], now: datetime) -> Iterator[str]:
    """Yield one line for each step that is not as it was."""
    known = {step.id: step.state for step in before}
    for step in after:
        if known.get(step.id) == step.state:
            continue
        took = f" after {duration(step.seconds)}" if _is_over(step) and step.seconds else ""
        why = f": {step.error}" if step.error else ""
        yield f"{now.astimezone(UTC):%H:%M:%S} {step.label} {step.state}{took}{why}"


def _is_over(step: Step) -> bool:
    return step.state in {"succeeded", "failed", "skipped", "canceled"}


def step_lines(run: Run, now: datetime) -> Iterator[str]:
    """Yield a line for each visit of a step, and one more for why it failed."""
    steps = steps_of(run, now)
    width = max((len(step.label) for step in steps), default=0)
    for step in steps:
        took = "" if step.seconds is None else duration(step.seconds)
        yield f"  {_mark(step.state)} {step.label.ljust(width)}  {step.state}  {took}".rstrip()
        if step.error:
            yield f"      {step.error}"


def drawn(run: Run, now: datetime) -> Table:
    """Return a run that goes on as a table: its steps, and itself below."""
    steps = steps_of(run, now)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    if len(steps) > SHOWN_STEPS:
        table.add_row("", Text(f"… {len(steps) - SHOWN_STEPS} before", style="dim"), "", "")
    for step in steps[-SHOWN_STEPS:]:
        style = _STYLES.get(step.state, "cyan")
        table.add_row(
            Text(_mark(step.state), style=style),
            Text(f"{step.label}  {step.error}".rstrip()),
            Text(step.state, style=style),
            "" if step.seconds is None else duration(step.seconds),
        )
    table.add_row("", Text(head_of(run, now), style="bold"), "", "")
    return table


def _mark(state: str) -> str:
    return {"succeeded": "✓", "failed": "✗", "canceled": "■", "skipped": "-"}.get(state, "·")


def head_of(run: Run, now: datetime) -> str:
    """Return a run in one line: id, configuration, state, how long."""
    begun, end = moment(run.get("created_at")), moment(run.get("ended_at"))
    words = f"{_word(run.get('id'))} {_word(run.get('name'))}: {_word(run.get('state'))}"
    if begun is None:
        return words
    took = duration(((end or now) - begun).total_seconds())
    return f"{words} {'after' if end else 'for'} {took}"


def ended_words(run: Run, now: datetime) -> Iterator[str]:
    """Yield how a run ended and what it gave."""
    yield head_of(run, now)
    if error := error_of(run):
        yield f"  {error}"
    yield from values_of("outputs", run.get("outputs"))
    yield from files_words(run)


def whole(run: Run, now: datetime) -> Iterator[str]:
    """Yield everything of a run."""
    yield head_of(run, now)
    if error := error_of(run):
        yield f"  error: {error}"
    for name in ("type", "config_id", "created_at", "ended_at", "due_at", "range_from", "range_to"):
        if run.get(name):
            yield f"  {name}: {_word(run[name])}"
    for name in ("run_mode", "principal_name", "launched_version", "current_version"):
        if run.get(name):
            yield f"  {name}: {_word(run[name])}"
    yield from step_lines(run, now)
    yield from values_of("inputs", run.get("inputs"))
    yield from values_of("outputs", run.get("outputs"))
    yield from files_words(run)


def values_of(title: str, values: object) -> Iterator[str]:
    """Yield the members of an object, long ones cut."""
    if not isinstance(values, dict) or not values:
        return
    yield f"  {title}:"
    for name, value in values.items():
        text = plain(orjson.dumps(value).decode())
        if len(text) > MAX_VALUE_CHARS:
            text = f"{text[:MAX_VALUE_CHARS]}… ({len(text):,} characters; --json shows all)"
        yield f"    {plain(name)}: {text}"


def files_of(run: Run) -> list[File]:
    """Return the files that a run's outputs name, each once.

    An answer that became a file has its name as ``$file``; what a built-in step wrote as ``name``.
    """
    found: dict[str, File] = {}
    waiting: list[object] = [run.get("outputs")]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
            name = one.get("$file", one.get("name"))
            digest = one.get("sha256")
            if isinstance(name, str) and isinstance(digest, str):
                size = one.get("bytes", one.get("size_bytes"))
                found[name] = File(
                    name=plain(name),
                    size_bytes=size if isinstance(size, int) else None,
                    sha256=plain(digest),
                )
    return list(found.values())


def files_words(run: Run) -> Iterator[str]:
    """Yield the files of a run, and how to get them."""
    files = files_of(run)
    if not files:
        return
    yield "  files:"
    for file in files:
        yield f"    {file_words(file)}"
    run_id, tenant = _word(run.get("id")), _word(run.get("tenant"))
    yield f"  sluice workflow files {run_id} --tenant {tenant} --download {files[0].name}"


def file_words(file: File) -> str:
    """Return a file in one line."""
    size = "" if file.size_bytes is None else f"  {file.size_bytes:,} bytes"
    return f"{file.name}{size}  {file.sha256}".rstrip()


def list_lines(runs: Sequence[Run], now: datetime) -> Iterator[str]:
    """Yield a list of runs in columns; the last one, why a run failed, is as long as it is."""
    rows = [("id", "state", "type", "created (UTC)", "duration", "error")]
    for run in runs:
        begun, end = moment(run.get("created_at")), moment(run.get("ended_at"))
        rows.append(
            (
                _word(run.get("id")),
                _word(run.get("state")),
                _word(run.get("type")),
                begun.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if begun else "",
                duration(((end or now) - begun).total_seconds()) if begun else "",
                error_of(run),
            )
        )
    widths = [max(len(row[at]) for row in rows) for at in range(5)]
    for row in rows:
        columns = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
        yield "  ".join((*columns, row[-1])).rstrip()


def _word(value: object) -> str:
    return plain(value) if isinstance(value, str) else ""
