"""What a generator saw, and how the reports of several become one. No I/O.

While it runs a generator only appends to four flat arrays; they are folded here, after the last
answer, so that counting never delays a request.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadtest.latencies import Latencies

NO_ANSWER: Final = 0
"""In place of a status: the connection broke, or no answer came until the end."""


@dataclass(slots=True)
class Columns:
    """One entry for each request, in the order of the answers."""

    due_ms: "array[int]" = field(default_factory=lambda: array("I"))
    """When it was due, from the start of the plan."""
    latency_us: "array[int]" = field(default_factory=lambda: array("I"))
    """From when it was due until the whole answer was there."""
    status: "array[int]" = field(default_factory=lambda: array("H"))
    kind: "array[int]" = field(default_factory=lambda: array("B"))
    phase: "array[int]" = field(default_factory=lambda: array("B"))


class Group(msgspec.Struct):
    """The answers of one phase and kind that had one fate."""

    phase: str
    kind: str
    fate: str
    """``good`` (2xx), ``refused`` (any other status) or ``unanswered``."""
    requests: int
    events: int
    histogram: str
    """Of latencies, as HdrHistogram writes it."""


class Second(msgspec.Struct):
    """What became of the requests that were due in one second."""

    at: int
    """Since the start."""
    good: int
    refused: int
    unanswered: int
    events: int
    histogram: str
    """Of all latencies, also of those that were refused or never answered."""


class Mark(msgspec.Struct, frozen=True):
    """Where a phase began."""

    phase: str
    at: float
    """Seconds since the start, on the axis of ``Second.at``."""


class Seen(msgspec.Struct):
    """The report of one generator, or of all of them."""

    groups: list[Group]
    seconds: list[Second]
    statuses: dict[str, int]
    lag: str
    """Histogram of how late the generator itself sent; with a free connection, from when due."""
    durations_s: dict[str, float]
    """How long each measured phase went on, until its last answer."""
    cpu_s: float
    broken_connections: int
    without_retry_after: int
    """Answers 429 and 503 that do not say when to come back."""
    slow_statuses: dict[str, int]
    """What became of requests of slow clients; ``0`` had no answer."""
    marks: list[Mark] = []
    """Of each phase, in turn."""


class Names(msgspec.Struct, frozen=True):
    """What the numbers in columns stand for."""

    phases: list[str]
    kinds: list[str]
    events: list[int]
    """Events of a request, by kind."""


def fold(columns: Columns, names: Names) -> tuple[list[Group], list[Second], dict[str, int]]:
    """Return groups, seconds and statuses."""
    phase = np.frombuffer(columns.phase, np.uint8)
    kind = np.frombuffer(columns.kind, np.uint8)
    status = np.frombuffer(columns.status, np.uint16)
    latency = np.frombuffer(columns.latency_us, np.uint32)
    second = np.frombuffer(columns.due_ms, np.uint32) // 1000
    events = np.array(names.events, dtype=np.int64)[kind] if len(kind) else np.zeros(0, np.int64)
    good = (status >= 200) & (status < 300)
    unanswered = status == NO_ANSWER
    fate = np.where(good, 0, np.where(unanswered, 2, 1))
    groups = [
        Group(
            names.phases[p],
            names.kinds[k],
            ("good", "refused", "unanswered")[f],
            int(picked.sum()),
            int(events[picked].sum()) if f == 0 else 0,
            _histogram(latency[picked]),
        )
        for p in range(len(names.phases))
        for k in range(len(names.kinds))
        for f in range(3)
        if (picked := (phase == p) & (kind == k) & (fate == f)).any()
    ]
    order = np.argsort(second, kind="stable")
    edges = np.flatnonzero(np.diff(second[order])) + 1
    seconds = [
        Second(
            int(second[part[0]]),
            int(good[part].sum()),
            int((fate[part] == 1).sum()),
            int(unanswered[part].sum()),
            int(events[part][good[part]].sum()),
            _histogram(latency[part]),
        )
        for part in (np.split(order, edges) if len(order) else [])
    ]
    values, counts = np.unique(status, return_counts=True)
    statuses = {str(v): int(n) for v, n in zip(values.tolist(), counts.tolist(), strict=True)}
    return groups, seconds, statuses


def _histogram(values: NDArray[np.uint32]) -> str:
    latencies = Latencies()
    latencies.add(values)
    return latencies.encode()


def merge(parts: Sequence[Seen]) -> Seen:
    """Return one report for generators that ran side by side."""
    groups: dict[tuple[str, str, str], list[Group]] = {}
    seconds: dict[int, list[Second]] = {}
    for part in parts:
        for group in part.groups:
            groups.setdefault((group.phase, group.kind, group.fate), []).append(group)
        for second in part.seconds:
            seconds.setdefault(second.at, []).append(second)
    return Seen(
        groups=[
            Group(
                *key,
                sum(each.requests for each in same),
                sum(each.events for each in same),
                merged(each.histogram for each in same).encode(),
            )
            for key, same in groups.items()
        ],
        seconds=[
            Second(
                at,
                sum(each.good for each in same),
                sum(each.refused for each in same),
                sum(each.unanswered for each in same),
                sum(each.events for each in same),
                merged(each.histogram for each in same).encode(),
            )
            for at, same in sorted(seconds.items())
        ],
        statuses=_sum(part.statuses for part in parts),
        lag=merged(part.lag for part in parts).encode(),
        durations_s=_longest(part.durations_s for part in parts),
        cpu_s=sum(part.cpu_s for part in parts),
        broken_connections=sum(part.broken_connections for part in parts),
        without_retry_after=sum(part.without_retry_after for part in parts),
        slow_statuses=_sum(part.slow_statuses for part in parts),
        marks=[
            Mark(same[0].phase, min(mark.at for mark in same))
            for same in zip(*(part.marks for part in parts), strict=True)
        ],
    )


def merged(histograms: Iterable[str]) -> Latencies:
    """Return one histogram for several."""
    total = Latencies()
    for text in histograms:
        total.merge(Latencies.decode(text))
    return total


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total


def _longest(durations: Iterable[dict[str, float]]) -> dict[str, float]:
    longest: dict[str, float] = {}
    for each in durations:
        for name, seconds in each.items():
            longest[name] = max(longest.get(name, 0.0), seconds)
    return longest
