"""How many events a second a client may send: a token bucket for each key and each session.

A tenant sets the limits; without them nothing here is asked. Counted are events, so a batch costs
as many as it holds. A request is let in while its bucket holds at least one event, and then costs
all of its events: a batch may take the bucket below zero, and what follows waits until that is
refilled. So over time nobody gets more than the rate, and a batch that is larger than the bucket
is not refused for ever.

The table is bounded. A bucket that filled up again is as good as none, so past the bound the
fullest of those that were left alone the longest goes.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

BURST_S: Final = 5
"""Seconds of the rate that a full bucket holds: what an SDK gathers between two flushes."""
MAX_BUCKETS: Final = 50_000
LOOKED_AT: Final = 8
"""Buckets, the longest left alone, among which the fullest goes."""


class Spender(NamedTuple):
    """One that a limit holds for."""

    name: str
    events_per_s: int
    """Above 0."""


@dataclass(slots=True)
class _Bucket:
    events: float
    """What it held at ``filled_at``; below zero after a batch that was larger than the rest."""
    filled_at: float
    events_per_s: int

    def fullness(self, now: float) -> float:
        return self.level(self.events_per_s, now) / (self.events_per_s * BURST_S)

    def level(self, events_per_s: int, now: float) -> float:
        gained = max(0.0, now - self.filled_at) * events_per_s
        return min(self.events + gained, events_per_s * BURST_S)


class RateLimits:
    """The buckets of one process; ``now`` is any clock that only goes forward."""

    def __init__(self, *, max_buckets: int = MAX_BUCKETS) -> None:
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        """Return how many buckets are held."""
        return len(self._buckets)

    def wait_s(self, spenders: Sequence[Spender], now: float) -> float:
        """Return the seconds until all of them may send one event; 0: now."""
        return max((self._wait_s(one, now) for one in spenders), default=0.0)

    def take(self, spenders: Sequence[Spender], events: int, now: float) -> float:
        """Charge a request to all of them and return 0; or, if one must wait, for how long."""
        wait_s = self.wait_s(spenders, now)
        if wait_s:
            return wait_s
        for one in spenders:
            self._charge(one, events, now)
        return 0.0

    def _wait_s(self, one: Spender, now: float) -> float:
        bucket = self._buckets.get(one.name)
        if bucket is None:
            return 0.0
        missing = 1 - bucket.level(one.events_per_s, now)
        return max(0.0, missing / one.events_per_s)

    def _charge(self, one: Spender, events: int, now: float) -> None:
        bucket = self._buckets.get(one.name)
        if bucket is None:
            if len(self._buckets) >= self._max_buckets:
                self._forget_one(now)
            bucket = self._buckets[one.name] = _Bucket(
                one.events_per_s * BURST_S, now, one.events_per_s
            )
        else:
            self._buckets.move_to_end(one.name)
        bucket.events = bucket.level(one.events_per_s, now) - events
        bucket.filled_at = now
        bucket.events_per_s = one.events_per_s

    def _forget_one(self, now: float) -> None:
        oldest = islice(self._buckets.items(), LOOKED_AT)
        name, _ = max(oldest, key=lambda item: item[1].fullness(now))
        del self._buckets[name]
