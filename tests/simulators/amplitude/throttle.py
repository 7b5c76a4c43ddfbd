"""How fast and how much one user or device may send.

Rates are means over a window (30 s, as the Batch API says; HTTP V2 says only "a short window"):
a leaky bucket per id that holds ``threshold x window`` events. Of a request that is refused nothing
counts, so that the events of the others may be sent again at once. The daily quota counts events in
the last 24 whole hours and moves hourly.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Final

EPS_THRESHOLD: Final = 30
WINDOW_S: Final = 30.0
DAILY_QUOTA: Final = 500_000
HOUR_S: Final = 3600
QUOTA_HOURS: Final = 24
ROUNDING_S: Final = 1e-5
"""Levels are differences of times of day, which are exact to less than this."""
SWEEP_AT: Final = 100_000
"""At how many ids those that have been idle are forgotten first."""


class Limits:
    """The limits of one kind of id (users, or devices) in one project."""

    def __init__(self) -> None:
        """Start with nobody seen."""
        self.throttled: dict[str, tuple[float, int]] = {}
        """Throttled by order: until when, and the rate that is shown."""
        self.over_quota: dict[str, tuple[float, int]] = {}
        """Over the daily quota by order: until when, and the count that is shown."""
        self._empty_at: dict[str, float] = {}
        self._sweep_at = SWEEP_AT
        self._hours: deque[tuple[int, Counter[str]]] = deque()
        self._today: Counter[str] = Counter()

    def too_fast(
        self, counts: Mapping[str, int], *, threshold: int | None, window_s: float, now: float
    ) -> dict[str, int]:
        """Return the rate of each id that would be above the threshold with these events."""
        found = _held(self.throttled, counts, now)
        if threshold is None:
            return found
        empty_at = self._empty_at
        for one, count in counts.items():
            level_s = max(empty_at.get(one, 0.0) - now, 0.0) + count / threshold
            if level_s > window_s + ROUNDING_S:
                found.setdefault(one, math.ceil((level_s - ROUNDING_S) * threshold / window_s))
        return found

    def too_many(
        self, counts: Mapping[str, int], *, quota: int | None, now: float
    ) -> dict[str, int]:
        """Return the count of the day of each id that would be above the quota."""
        found = _held(self.over_quota, counts, now)
        if quota is None:
            return found
        self._forget_hours(now)
        today = self._today
        for one, count in counts.items():
            if today.get(one, 0) + count > quota:
                found.setdefault(one, today.get(one, 0) + count)
        return found

    def count(
        self, counts: Mapping[str, int], *, threshold: int | None, is_counted: bool, now: float
    ) -> None:
        """Note events that were taken."""
        if threshold is not None:
            empty_at = self._empty_at
            for one, count in counts.items():
                empty_at[one] = max(empty_at.get(one, 0.0), now) + count / threshold
            if len(empty_at) > self._sweep_at:
                self._empty_at = {one: at for one, at in empty_at.items() if at > now}
                self._sweep_at = max(SWEEP_AT, 2 * len(self._empty_at))
        if is_counted:
            hour = int(now // HOUR_S)
            if not self._hours or self._hours[-1][0] != hour:
                self._hours.append((hour, Counter()))
            self._hours[-1][1].update(counts)
            self._today.update(counts)

    def release(self, ids: Iterable[str] | None) -> None:
        """Forget that these (or all) were throttled or over quota, and how fast they were."""
        for held in (self.throttled, self.over_quota, self._empty_at):
            for one in list(held) if ids is None else ids:
                held.pop(one, None)

    def _forget_hours(self, now: float) -> None:
        oldest = int(now // HOUR_S) - QUOTA_HOURS
        while self._hours and self._hours[0][0] <= oldest:
            _, gone = self._hours.popleft()
            self._today.subtract(gone)
            self._today = +self._today


def _held(
    held: dict[str, tuple[float, int]], counts: Mapping[str, int], now: float
) -> dict[str, int]:
    found = {}
    for one in held.keys() & counts.keys() if held else ():
        until, shown = held[one]
        if until > now:
            found[one] = shown
        else:
            del held[one]
    return found
