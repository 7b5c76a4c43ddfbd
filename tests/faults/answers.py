"""What clients were answered, and how long they waited for it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Answered:
    """One try of one request."""

    at: float
    """Monotonic time at which it was sent."""
    took_s: float
    status: int
    """0 where the connection broke or nothing came in time."""
    retry_after: str | None = None


@dataclass(slots=True)
class Answers:
    """Every try of every request, in the order in which they ended."""

    all: list[Answered] = field(default_factory=list)

    def between(self, start: float, end: float) -> "Answers":
        """Return those that were sent in a span of time."""
        return Answers([one for one in self.all if start <= one.at < end])

    @property
    def broken(self) -> int:
        """How many had no answer."""
        return sum(one.status == 0 for one in self.all)

    @property
    def failed(self) -> int:
        """How many were answered 5xx."""
        return sum(one.status >= 500 for one in self.all)

    @property
    def refused(self) -> Iterator[Answered]:
        """Those that were answered 503."""
        return (one for one in self.all if one.status == 503)

    def __str__(self) -> str:
        """Return count, p50, p99 and the longest."""
        times = sorted(one.took_s * 1e3 for one in self.all)
        if not times:
            return "none"
        p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
        return f"n {len(times)} p50 {p50:.1f} ms p99 {p99:.1f} ms max {times[-1]:.1f} ms"


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the least value that this share of them does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
