"""Looks one event up without reading a tenant's history.

Where to look follows from what is known of the time: version 7 ids hold it, names that clients gave
are noted in ``event_keys`` for 15 days, and events that were forwarded are in ``outcomes``. Only
what none of these knows is looked for by the index of ids, and among the dead letters.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from sluice.core.event import time_in_id
from sluice.core.outcomes import Fate, Outcome
from sluice.core.receipts import MAX_COPIES, AcceptedCopy, DeadEvent, Findings, StoredEvent
from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import (
    EVENT_LETTERS,
    EVENT_NOTES,
    EVENT_ROWS,
    EVENT_ROWS_ANYWHERE,
)

HOUR_S: Final = 3600
SLACK_S: Final = 60
"""How far apart the time in an id and ``received_at`` may be: both are taken from the clock while
the same request is in hand."""
LAST_HOUR_S: Final = 2**32 - HOUR_S
"""What the table's hours can hold; an id that somebody made up may hold any time."""


async def find_event(warehouse: Warehouse, tenant: str, ids: Sequence[str]) -> Findings:
    """Return what is known of the events with these ids.

    Args:
        warehouse: Where to look.
        tenant: Whose events; others are never found.
        ids: UUIDs, all that one name may stand for.

    Raises:
        WarehouseError: The warehouse refused or did not answer.
    """
    asked: dict[str, Any] = {"tenant": tenant, "ids": list(ids)}
    notes = await warehouse.fetch(EVENT_NOTES, limit=MAX_COPIES, **asked)
    copies = tuple(
        AcceptedCopy(event_id, event_type, received_at)
        for kind, event_id, event_type, *_, received_at in notes
        if kind == "copy"
    )
    outcomes = tuple(_outcome(tenant, rest) for kind, *rest in notes if kind == "outcome")
    since = next((received_at for kind, *_, received_at in notes if kind == "since"), "")
    received = {copy.received_at for copy in copies} | {one.received_at for one in outcomes}
    hours = sorted({*_hours_of_times(received), *_hours_of_ids(ids)})
    rows: Sequence[tuple[Any, ...]] = ()
    if hours:
        bounds: dict[str, Any] = {"hours": hours, "start": hours[0], "end": hours[-1] + HOUR_S}
        rows = await warehouse.fetch(EVENT_ROWS, limit=MAX_COPIES, **asked, **bounds)
    if not rows and not received:
        rows = await warehouse.fetch(EVENT_ROWS_ANYWHERE, limit=MAX_COPIES, **asked)
    stored = tuple(_stored(row, since) for row in rows)
    dead: Sequence[tuple[Any, ...]] = ()
    if not stored:
        dead = await warehouse.fetch(
            EVENT_LETTERS, tenant=tenant, names=list(ids), limit=MAX_COPIES
        )
    return Findings(copies, stored, tuple(DeadEvent(*row) for row in dead), outcomes)


def _stored(row: tuple[Any, ...], since: str) -> StoredEvent:
    event = StoredEvent(*row)
    # Of rows that are older than the column the engine says the present, or the time of a merge.
    return replace(event, stored_at="") if event.received_at < since else event


def _hours_of_times(times: Iterable[str]) -> set[int]:
    seconds = (datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in times)
    return {int(second) // HOUR_S * HOUR_S for second in seconds}


def _hours_of_ids(ids: Iterable[str]) -> set[int]:
    moments = [moment for event_id in ids if (moment := time_in_id(event_id)) is not None]
    return {
        second // HOUR_S * HOUR_S
        for moment in moments
        for second in (int(moment) - SLACK_S, int(moment) + SLACK_S)
        if 0 <= second < LAST_HOUR_S
    }


def _outcome(tenant: str, row: Sequence[Any]) -> Outcome:
    event_id, destination, outcome, reason, detail, at, received_at = row
    return Outcome(tenant, event_id, destination, Fate(outcome), reason, detail, at, received_at)
