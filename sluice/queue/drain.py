"""How fast the queue empties, measured, and what that means for whoever has to come back."""

from collections import deque
from typing import Final

WINDOW_S: Final = 10.0
"""How far back the rate looks."""
SAMPLE_EVERY_S: Final = 0.25
MIN_RETRY_S: Final = 1.0
MAX_RETRY_S: Final = 30.0


class DrainRate:
    """Bytes freed per second over a recent window, from a count that only grows."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._noted_at: float | None = None

    def note(self, freed_bytes: int, *, now: float) -> None:
        """Take a reading of the count; readings closer than a quarter second are merged."""
        samples = self._samples
        if samples and (now < samples[-1][0] or freed_bytes < samples[-1][1]):
            samples.clear()  # the clock was set back, or the file is another one
        if len(samples) > 1 and now - samples[-2][0] < SAMPLE_EVERY_S:
            samples.pop()
        samples.append((now, freed_bytes))
        self._noted_at = now
        self._forget(now)

    def is_due(self, *, now: float) -> bool:
        """Whether a new reading would tell more than the last; any thread may ask."""
        noted_at = self._noted_at
        return noted_at is None or not 0 <= now - noted_at < SAMPLE_EVERY_S

    def bytes_per_s(self, *, now: float) -> float:
        """Return the rate; 0 where nothing was freed or too little is known."""
        self._forget(now)
        if not self._samples:
            return 0.0
        first_at, first = self._samples[0]
        elapsed = now - first_at
        return (self._samples[-1][1] - first) / elapsed if elapsed > 0 else 0.0

    def retry_after_s(self, needed_bytes: int, *, now: float) -> float:
        """Return in how many seconds there is likely room for ``needed_bytes`` more."""
        rate = self.bytes_per_s(now=now)
        if rate <= 0:
            return MAX_RETRY_S
        return min(max(needed_bytes / rate, MIN_RETRY_S), MAX_RETRY_S)

    def _forget(self, now: float) -> None:
        # One sample from before the window stays: the count at the window's beginning.
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - WINDOW_S:
            samples.popleft()
