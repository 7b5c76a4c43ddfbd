"""How fast a store fills, measured, and when it is full at that rate: its time to loss."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

WINDOW_S: Final = 30.0
"""How far back the rate looks."""
SAMPLE_EVERY_S: Final = 1.0
MAX_SAMPLES: Final = 64
"""More than a window holds."""


class Filling:
    """The bytes of a store over a recent window."""

    def __init__(self) -> None:
        self._levels: deque[tuple[float, int]] = deque(maxlen=MAX_SAMPLES)

    def note(self, stored_bytes: int, *, now: float) -> None:
        """Take a reading, by a clock that never goes back; of those within a second the last."""
        levels = self._levels
        if len(levels) > 1 and now - levels[-2][0] < SAMPLE_EVERY_S:
            levels.pop()
        levels.append((now, stored_bytes))
        # One reading from before the window stays: the level at the window's beginning.
        while len(levels) > 2 and levels[1][0] <= now - WINDOW_S:
            levels.popleft()

    def time_to_full_s(self, max_bytes: int) -> float:
        """Return the seconds until it is full; infinite while it does not grow."""
        return time_to_full_s(self._levels, max_bytes)


def time_to_full_s(levels: Sequence[tuple[float, int]], max_bytes: int) -> float:
    """Return the seconds until a level reaches its bound; infinite while it does not rise.

    Args:
        levels: Seconds of any clock with the bytes stored then, oldest first.
        max_bytes: The bound.
    """
    if not levels:
        return math.inf
    (first_at, first), (last_at, last) = levels[0], levels[-1]
    if last <= first or last_at <= first_at:
        return math.inf
    return max(0.0, (max_bytes - last) / ((last - first) / (last_at - first_at)))
