"""When a part that died starts again: at once at first, then ever more slowly."""

from dataclasses import dataclass, field
from typing import Final

FIRST_WAIT_S: Final = 0.2
MAX_WAIT_S: Final = 10.0
SETTLED_AFTER_S: Final = 30.0
"""A part that lived this long starts over with the first wait."""


@dataclass(slots=True)
class Restarts:
    """The waits of one part."""

    _next_wait_s: float = field(default=FIRST_WAIT_S, init=False)

    def wait_s(self, *, lived_s: float) -> float:
        """Return how long to wait now that the part died after ``lived_s``."""
        if lived_s >= SETTLED_AFTER_S:
            self._next_wait_s = FIRST_WAIT_S
        wait = self._next_wait_s
        self._next_wait_s = min(2 * wait, MAX_WAIT_S)
        return wait
