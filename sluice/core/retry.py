"""When to try again: backoff with jitter, and the circuit breaker as a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MAX_DOUBLINGS: Final = 16
"""Keeps the power below within range after any number of failures."""


class State(StrEnum):
    """What a circuit breaker lets through."""

    CLOSED = "closed"
    """Everything: the dependency answers."""
    OPEN = "open"
    """Nothing until it has cooled."""
    HALF_OPEN = "half_open"
    """One probe, whose outcome decides."""


class Signal(StrEnum):
    """What may change the state."""

    TRIPPED = "tripped"
    """Failures in a row reached the limit."""
    COOLED = "cooled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


BREAKER: Final[Mapping[tuple[State, Signal], State]] = {
    (State.CLOSED, Signal.TRIPPED): State.OPEN,
    (State.OPEN, Signal.COOLED): State.HALF_OPEN,
    (State.HALF_OPEN, Signal.SUCCEEDED): State.CLOSED,
    (State.HALF_OPEN, Signal.FAILED): State.OPEN,
}
"""An absent pair changes nothing."""


def backoff_s(failures: int, *, base_s: float, cap_s: float, jitter: float) -> float:
    """Return how long to wait after that many failures in a row.

    Args:
        failures: 1 after the first failure.
        base_s: Upper bound of the first wait; it doubles with each failure.
        cap_s: Upper bound of every wait.
        jitter: A random number from [0, 1): the wait lies in the upper half of its bound, so that
            many clients neither come back at once nor hammer.
    """
    doublings = min(max(failures - 1, 0), MAX_DOUBLINGS)
    bound = min(cap_s, base_s * float(1 << doublings))
    return bound * (0.5 + jitter / 2)


@dataclass(slots=True, kw_only=True)
class Breaker:
    """A circuit breaker: counts failures in a row and says how long to leave a dependency alone.

    The caller asks ``wait_s`` before each try and reports its outcome.
    """

    trip_after: int = 3
    """Failures in a row that open it."""
    base_s: float = 0.1
    cap_s: float = 5.0
    state: State = field(default=State.CLOSED, init=False)
    failures: int = field(default=0, init=False)
    _not_before: float = field(default=0.0, init=False)

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next try; at 0 an open breaker lets one probe pass."""
        wait = max(0.0, self._not_before - now)
        if not wait:
            self._signal(Signal.COOLED)
        return wait

    def succeeded(self) -> None:
        """Note that a try succeeded."""
        self.failures = 0
        self._not_before = 0.0
        self._signal(Signal.SUCCEEDED)

    def failed(self, now: float, *, jitter: float) -> None:
        """Note that a try failed at ``now``; ``jitter`` is a random number from [0, 1)."""
        self.failures += 1
        self._not_before = now + backoff_s(
            self.failures, base_s=self.base_s, cap_s=self.cap_s, jitter=jitter
        )
        self._signal(Signal.FAILED)
        if self.failures >= self.trip_after:
            self._signal(Signal.TRIPPED)

    def _signal(self, signal: Signal) -> None:
        self.state = BREAKER.get((self.state, signal), self.state)
