"""What is known of one event, as it was found: what a receipt is made of."""

from dataclasses import dataclass
from typing import Final

from sluice.core.outcomes import Outcome

MAX_COPIES: Final = 1_000
"""How many copies of one event are looked at; a client that sent more is not told how many."""


@dataclass(frozen=True, slots=True)
class AcceptedCopy:
    """One accepted copy of an event that a client named, as ``event_keys`` notes it."""

    event_id: str
    event_type: str
    received_at: str
    """UTC, ``YYYY-MM-DDTHH:MM:SS.ffffff``, as all times here."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One row of ``events``, without its payload."""

    event_id: str
    event_type: str
    user_id: str
    source: str
    occurred_at: str
    received_at: str
    stored_at: str
    """Empty where the row is older than the column."""


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """An event that the warehouse could not take, as far as its row can be read."""

    event_id: str
    event_type: str
    user_id: str
    source: str
    occurred_at: str
    received_at: str
    """Whatever the row says: it may be what was wrong with it."""
    reason: str
    dead_at: str


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was found of the events that one id may mean."""

    copies: tuple[AcceptedCopy, ...] = ()
    stored: tuple[StoredEvent, ...] = ()
    dead: tuple[DeadEvent, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
