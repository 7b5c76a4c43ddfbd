"""When a batch that gathers is handed over, and how long to wait before pulling more."""

from dataclasses import dataclass
from typing import Final

MAX_PAUSE_S: Final = 0.1
"""A pull costs the queue a transaction; between two of them passes at most this long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one batch."""

    max_rows: int
    max_bytes: int
    max_age_s: float

    @property
    def pace_s(self) -> float:
        """Least time between two hand-overs of batches that are not full.

        An event that comes alone goes at once; under a trickle there are two inserts a second.
        """
        return self.max_age_s / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """The state of a batch that gathers."""

    rows: int
    bytes: int
    age_s: float
    """Seconds since its first envelope was pulled."""
    since_last_s: float
    """Seconds since the last hand-over."""
    is_drained: bool
    """The last pull found nothing more."""


def is_full(batch: Gathering, limits: Limits) -> bool:
    """Whether it takes no more."""
    return batch.rows >= limits.max_rows or batch.bytes >= limits.max_bytes


def is_due(batch: Gathering, limits: Limits) -> bool:
    """Whether it is handed over as soon as the destination is free."""
    if not batch.rows:
        return False
    if is_full(batch, limits) or batch.age_s >= limits.max_age_s:
        return True
    return batch.is_drained and batch.since_last_s >= limits.pace_s


def pause_s(batch: Gathering, limits: Limits) -> float:
    """Return how long to let envelopes gather in the queue before the next pull."""
    if not batch.is_drained:
        return 0.0
    return min(MAX_PAUSE_S, max(0.0, limits.pace_s - batch.since_last_s))
