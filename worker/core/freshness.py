"""How fresh the warehouse is: the ages of events when their insert was confirmed, of a minute.

Ages are counted in classes that grow by a tenth each, by the second in which they were seen, so
that quantiles are within 5 % however many events there were. At most ``SPAN_S`` seconds with some
230 classes each are kept.
"""

import math
from collections import Counter, deque
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from typing import Final

import msgspec

SPAN_S: Final = 60
GROWTH: Final = 1.1
LEAST_S: Final = 0.001
"""What is younger counts as this old."""
MOST_S: Final = 30 * 86_400.0
"""What is older counts as this old: no queue keeps anything longer."""

_STEP: Final = math.log(GROWTH)


class Freshness(msgspec.Struct, frozen=True):
    """Seconds from received to visible, of the events that became visible in the last minute."""

    p50: float
    p99: float


class FreshnessWindow:
    """The ages seen in the last ``SPAN_S`` seconds."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, Counter[int]]] = deque(maxlen=SPAN_S)

    def add(self, now: float, age_s: float, events: int) -> None:
        """Count events of one age, seen at ``now`` in seconds of any clock that never goes back."""
        second = int(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Counter()))
        self._seconds[-1][1][_class_of(age_s)] += events

    def quantiles(self, now: float) -> Freshness | None:
        """Return the median and the 99th percentile; None where nothing was seen."""
        oldest = int(now) - SPAN_S
        counts: Counter[int] = Counter()
        for second, seen in self._seconds:
            if second > oldest:
                counts.update(seen)
        total = counts.total()
        if not total:
            return None
        ordered = sorted(counts.items())
        return Freshness(_quantile(ordered, 0.5 * total), _quantile(ordered, 0.99 * total))


def _class_of(age_s: float) -> int:
    age_s = min(max(age_s, LEAST_S), MOST_S)
    return round(math.log(age_s / LEAST_S) / _STEP)


def _quantile(ordered: Sequence[tuple[int, int]], wanted: float) -> float:
    """Return the age of the class in which the event with this rank is."""
    ranks = accumulate(count for _, count in ordered)
    place = next(place for (place, _), rank in zip(ordered, ranks, strict=True) if rank >= wanted)
    return round(LEAST_S * GROWTH**place, 3)


def age_of(received_at: str, now: datetime) -> float:
    """Return the seconds since a ``received_at`` of ours; 0 where clocks disagree.

    Raises:
        ValueError: It is not a time.
    """
    received = datetime.fromisoformat(received_at)
    return max(0.0, (now - received.replace(tzinfo=now.tzinfo)).total_seconds())
