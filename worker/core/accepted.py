"""What an envelope says was accepted: the rows of the table ``accepted``.

A function of the envelope, so that a redelivery writes the same. Ids that the edge made count up
within a request, so that a batch is one run of ids; ids that clients named are in ``event_keys``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol
from uuid import UUID

import msgspec
import numpy as np

from sluice.core.event import is_derived
from worker.core.keyfilter import halves_of_text

Run = tuple[int, int, int]
"""Upper half of the ids, lower half of the first, how many count up from it."""
Place = tuple[str, str]
"""Tenant and hour of ``received_at``, as ``YYYY-MM-DDTHH``."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant had accepted in one hour, of one envelope."""

    tenant: str
    hour: str
    events: int
    named: int
    """How many of them a client named."""
    repeats: int
    """How many of those are the same as another of this envelope in id, type and time."""
    runs: Sequence[Run]
    """The ids of the others."""


class AcceptedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``accepted``."""

    tenant: str
    hour: str
    envelope_id: str
    events: int
    named: int
    repeats: int
    left_out: int
    runs: Sequence[Run]


class Seen(Protocol):
    """What is to be known of an event."""

    @property
    def event_id(self) -> str:
        """Its id, as the row has it."""

    @property
    def event_type(self) -> str:
        """Its type."""

    @property
    def received_at(self) -> str:
        """When it was accepted."""


def share_of(place: Place, events: Sequence[Seen], named: Sequence[Seen] | None = None) -> Share:
    """Return what was accepted in one place; ``named``, if known, are those that a client named."""
    if named is None:
        named = [one for one in events if one.event_id[14:15] and is_derived(one.event_id)]
    names = {event.event_id for event in named}
    repeats = 0
    if len(names) < len(named):
        copies = {(event.event_id, event.event_type, event.received_at) for event in named}
        repeats = len(named) - len(copies)
    made: Sequence[str] = ()
    if len(named) < len(events):
        made = [event.event_id for event in events]
        if names:
            made = [event_id for event_id in made if event_id not in names]
    tenant, hour = place
    return Share(
        tenant=tenant,
        hour=hour,
        events=len(events),
        named=len(named),
        repeats=repeats,
        runs=runs_of(made),
    )


def runs_of(ids: Sequence[str]) -> list[Run]:
    """Return ids as runs, in order; what is no UUID is left out."""
    if not ids:
        return []
    try:
        halves = halves_of_text(ids)
    except ValueError:
        return runs_of([one for one in ids if _is_uuid(one)])
    upper, lower = halves[:, 0], halves[:, 1]
    goes_on = (upper[1:] == upper[:-1]) & (lower[1:] == lower[:-1] + np.uint64(1))
    starts = np.concatenate(([0], np.flatnonzero(~goes_on) + 1))
    counts = np.diff(np.append(starts, len(ids)))
    return list(zip(upper[starts].tolist(), lower[starts].tolist(), counts.tolist(), strict=True))


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def accepted_rows(
    envelope_id: str, shares: Iterable[Share], left_out: Mapping[Place, int]
) -> list[AcceptedRow]:
    """Return the rows of one envelope.

    Args:
        envelope_id: Its id.
        shares: What it holds.
        left_out: How many of its rows were recognised as copies, by tenant and hour.
    """
    return [
        AcceptedRow(
            tenant=one.tenant,
            hour=f"{one.hour}:00:00",
            envelope_id=envelope_id,
            events=one.events,
            named=one.named,
            repeats=one.repeats,
            left_out=left_out.get((one.tenant, one.hour), 0),
            runs=one.runs,
        )
        for one in shares
    ]
