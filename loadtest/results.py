"""What a run leaves: one JSON file that names all that is needed to judge it. No I/O.

The fields are the schema; docs/loadtest.md explains them.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from loadtest.seen import Group, Mark, Second, Seen, merged

Moment = TypeVar("Moment", Second, Mark)
SCHEMA: Final = 1
LATE_MS: Final = "generator/late_p99_ms"
LATE_SHARE: Final = "generator/late_share"
"""How late the generator was beside the smallest p99 of what it sent in open loops."""
SLOPE_SAMPLES: Final = 30
"""Fewer say nothing about whether memory grows."""


class Sample(msgspec.Struct, frozen=True):
    """A process at one moment."""

    process: str
    at: float
    """Seconds since the round began."""
    cpu_s: float
    rss_mb: float


class Round(msgspec.Struct):
    """One time through a scenario."""

    figures: dict[str, float]
    """What ``compare`` compares, by name; the unit is the end of the name."""
    groups: list[Group]
    seconds: list[Second]
    """Of the last step that was measured for the longest time; ``at`` counts on over all steps."""
    statuses: dict[str, int]
    slow_statuses: dict[str, int]
    samples: list[Sample]
    marks: list[Mark] = []
    """Where each phase began, on the axis of ``seconds``; results of before have none."""


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured."""

    processor: str
    cores: int
    memory_mb: int
    system: str


class Target(msgspec.Struct, frozen=True):
    """What was loaded."""

    url: str
    is_own: bool
    backend: str
    """Of an own one: ``local`` or ``pubsub``."""
    parts: list[str]
    server_cores: list[int]
    load_cores: list[int]
    generators: int


class Result(msgspec.Struct):
    """All of one run."""

    scenario: str
    started_at: str
    commit: str
    """Of the checkout; with ``-dirty`` if it held changes."""
    versions: dict[str, str]
    machine: Machine
    target: Target
    options: dict[str, float | None]
    rounds: list[Round]
    schema: int = SCHEMA


def read_result(text: bytes) -> Result:
    """Return a result from its JSON.

    Raises:
        ValueError: It is no result of this version.
    """
    result = msgspec.json.decode(text, type=Result)
    if result.schema != SCHEMA:
        message = f"the result has schema {result.schema}; this version reads {SCHEMA}"
        raise ValueError(message)
    return result


def load_figures(seen: Seen, open_loops: Collection[str]) -> dict[str, float]:
    """Return the figures of one plan that was sent; ``open_loops`` are phases of it."""
    figures: dict[str, float] = {}
    by_phase: dict[tuple[str, str], dict[str, Group]] = {}
    for group in seen.groups:
        by_phase.setdefault((group.phase, group.kind), {})[group.fate] = group
    for (phase, kind), fates in by_phase.items():
        took = max(seen.durations_s.get(phase, 0.0), 1e-9)
        name = f"{phase}/{kind}"
        good, refused = fates.get("good"), fates.get("refused")
        every = merged(group.histogram for group in fates.values())
        figures[f"{name}/requests_per_s"] = (good.requests if good else 0) / took
        if good and good.events not in {0, good.requests}:
            figures[f"{name}/events_per_s"] = good.events / took
        figures[f"{name}/p50_ms"] = every.quantile_ms(0.5)
        figures[f"{name}/p99_ms"] = every.quantile_ms(0.99)
        figures[f"{name}/p999_ms"] = every.quantile_ms(0.999)
        figures[f"{name}/max_ms"] = every.max_ms()
        lost = fates.get("unanswered")
        total = sum(group.requests for group in fates.values())
        figures[f"{name}/refused_share"] = (refused.requests if refused else 0) / total
        figures[f"{name}/unanswered_share"] = (lost.requests if lost else 0) / total
        if refused:
            figures[f"{name}/refused_p99_ms"] = merged([refused.histogram]).quantile_ms(0.99)
            if good:
                figures[f"{name}/good_p99_ms"] = merged([good.histogram]).quantile_ms(0.99)
    lag = merged([seen.lag])
    if len(lag):
        figures[LATE_MS] = lag.quantile_ms(0.99)
        if paced := [
            figures[f"{phase}/{kind}/p99_ms"] for phase, kind in by_phase if phase in open_loops
        ]:
            figures[LATE_SHARE] = figures[LATE_MS] / max(min(paced), 1e-3)
    return figures


def process_figures(
    samples: Sequence[Sample], events: int, *, sluice: Iterable[str]
) -> dict[str, float]:
    """Return memory, processor time and their slopes of processes.

    Args:
        samples: Of a round.
        events: That were accepted between the first sample and the last.
        sluice: Which processes are Sluice's, for events a core.
    """
    figures: dict[str, float] = {}
    own = set(sluice)
    used = 0.0
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.process, []).append(sample)
    for name, seen in by_name.items():
        cpu_s = seen[-1].cpu_s - seen[0].cpu_s
        figures[f"{name}/cpu_s"] = cpu_s
        figures[f"{name}/peak_mb"] = max(sample.rss_mb for sample in seen)
        if name in own:
            used += cpu_s
            if events:
                figures[f"{name}/cpu_us_per_event"] = cpu_s * 1e6 / events
        if len(seen) >= SLOPE_SAMPLES:
            half = seen[len(seen) // 4 :]  # the first quarter warms caches up
            slope, error = trend([s.at for s in half], [s.rss_mb for s in half])
            figures[f"{name}/memory_slope_mb_per_h"] = slope * 3600
            figures[f"{name}/memory_slope_error_mb_per_h"] = error * 3600
    if events and used > 0:
        figures["sluice/events_per_core_s"] = events / used
    return figures


def trend(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Return the slope of the line through points, and its standard error (least squares).

    Samples of a process depend on each other, so the true error is larger; it is a lower bound.
    """
    n = len(xs)
    mean_x, mean_y = sum(xs) / n, sum(ys) / n
    spread = sum((x - mean_x) ** 2 for x in xs)
    if n < 3 or not spread:
        return 0.0, 0.0
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in zip(xs, ys, strict=True))
    return slope, math.sqrt(rest / (n - 2) / spread)


def shifted(moments: Iterable[Moment], by: int) -> list[Moment]:
    """Return seconds, or marks of phases, that count on from earlier ones."""
    return [msgspec.structs.replace(moment, at=moment.at + by) for moment in moments]


def accepted_events(seen: Seen) -> int:
    """Return how many events were accepted."""
    return sum(group.events for group in seen.groups)


def add_counts(total: dict[str, int], more: Mapping[str, int]) -> None:
    """Add counts to others."""
    for name, count in more.items():
        total[name] = total.get(name, 0) + count
