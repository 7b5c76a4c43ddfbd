"""How many events a second a client may send: a token bucket for each key and each session.

A tenant sets the limits; without them nothing here is asked. Counted are events, so a batch costs
as many as it holds. A request with a key is let in while the key's bucket holds at least one event,
and then costs all of its events: a batch may take the bucket below zero, and what follows waits
until that is refilled. So over time nobody gets more than the rate, and a batch that is larger than
the bucket is not refused for ever.

A session may not owe: it is in the hands of anybody, and what it sends is charged to its key too.
With one large batch it could keep all other sessions of the key out. So its bucket must hold the
whole request, and always has room for what an SDK sends at once.

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
ONE_FLUSH: Final = 20
"""Events that the SDKs send at once unless they are told otherwise (reference, 2.1)."""
MAX_BUCKETS: Final = 50_000
LOOKED_AT: Final = 8
"""Buckets, the longest left alone, among which the fullest goes."""


class Spender(NamedTuple):
    """One that a limit holds for."""

    name: str
    events_per_s: int
    """Above 0."""
    may_owe: bool = True
    """Whether a request may cost more than the bucket holds."""
    burst_s: int = BURST_S
    """Seconds of the rate that a full bucket holds."""

    @property
    def at_once(self) -> int:
        """What a full bucket holds."""
        burst = self.events_per_s * self.burst_s
        return burst if self.may_owe else max(burst, ONE_FLUSH)


@dataclass(slots=True)
class _Bucket:
    events: float
    """What it held at ``filled_at``; below zero after a batch that was larger than the rest."""
    filled_at: float
    owner: Spender

    def fullness(self, now: float) -> float:
        return self.level(self.owner, now) / self.owner.at_once

    def level(self, owner: Spender, now: float) -> float:
        gained = max(0.0, now - self.filled_at) * owner.events_per_s
        return min(self.events + gained, owner.at_once)


class RateLimits:
    """The buckets of one process; ``now`` is any clock that only goes forward."""

    def __init__(self, *, max_buckets: int = MAX_BUCKETS) -> None:
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        """Return how many buckets are held."""
        return len(self._buckets)

    def wait_s(self, spenders: Sequence[Spender], now: float, *, events: int = 1) -> float:
        """Return the seconds until all of them may send a request; 0: now.

        One that may never send so many is told when it may send as many as it ever may.
        """
        return max((self._wait_s(one, events, now) for one in spenders), default=0.0)

    def take(self, spenders: Sequence[Spender], events: int, now: float) -> float:
        """Charge a request to all of them and return 0; or, if one must wait, for how long."""
        wait_s = self.wait_s(spenders, now, events=events)
        if wait_s:
            return wait_s
        for one in spenders:
            self._charge(one, events, now)
        return 0.0

    def _wait_s(self, one: Spender, events: int, now: float) -> float:
        bucket = self._buckets.get(one.name)
        needed = 1 if one.may_owe else events
        if bucket is None and needed <= one.at_once:
            return 0.0
        level = one.at_once if bucket is None else bucket.level(one, now)
        missing = min(needed, one.at_once) - level
        if needed > one.at_once:
            missing = max(missing, 1)
        return max(0.0, missing / one.events_per_s)

    def _charge(self, one: Spender, events: int, now: float) -> None:
        bucket = self._buckets.get(one.name)
        if bucket is None:
            if len(self._buckets) >= self._max_buckets:
                self._forget_one(now)
            bucket = self._buckets[one.name] = _Bucket(one.at_once, now, one)
        else:
            self._buckets.move_to_end(one.name)
        bucket.events = bucket.level(one, now) - events
        bucket.filled_at = now
        bucket.owner = one

    def _forget_one(self, now: float) -> None:
        oldest = islice(self._buckets.items(), LOOKED_AT)
        name, _ = max(oldest, key=lambda item: item[1].fullness(now))
        del self._buckets[name]
