"""Which of many lines alike is written, with the number of those left out since the last. Pure."""

from typing import Final

MAX_KEYS: Final = 10_000


class Repeats:
    """What was said when, by a key; of one key too many, the one said longest ago is forgotten."""

    def __init__(self, *, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._said: dict[str, tuple[float, int]] = {}

    def due(self, key: str, *, now: float, every_s: float) -> int | None:
        """Return how many were left out where it is to be said now; None, and count it, else.

        Args:
            key: What it is about.
            now: Seconds of a clock that never goes back.
            every_s: How long after the last one nothing is said.
        """
        said_at, left_out = self._said.get(key, (float("-inf"), 0))
        if now < said_at + every_s:
            self._said[key] = (said_at, left_out + 1)
            return None
        self._said.pop(key, None)  # it goes to the end, as the one said last
        self._said[key] = (now, 0)
        if len(self._said) > self._max_keys:
            del self._said[next(iter(self._said))]
        return left_out
