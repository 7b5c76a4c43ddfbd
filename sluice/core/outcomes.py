"""What became of an event at a destination: the rows of ``outcomes``."""

from enum import StrEnum

import msgspec


class Fate(StrEnum):
    """The last word on one event at one destination."""

    DELIVERED = "delivered"
    """The destination said that it has it."""
    PARKED = "parked"
    """It waits, durably and in order, until the destination takes it."""
    DEAD = "dead"
    """The destination refuses it for what it holds; it is kept in ``dead_letters``."""
    FILTERED = "filtered"
    """It is not for this destination: the tenant's choice, or the destination's own rules."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """A row of ``outcomes``; of one event and destination the latest ``at`` counts."""

    tenant: str
    event_id: str
    destination: str
    outcome: Fate
    reason: str
    """A stable name, such as ``throttled_user``; empty for what was delivered."""
    detail: str
    """For people, in the destination's own words where it spoke."""
    at: str
    """UTC, ``YYYY-MM-DDTHH:MM:SS.ffffff``."""
    received_at: str
    """Of the event: it decides about partition and retention, as in ``events``."""
