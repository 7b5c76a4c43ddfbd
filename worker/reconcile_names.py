"""Names the events of the hours that do not agree, one by one."""

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from sluice.warehouse import ledgers
from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import Query
from worker.core.reconciling import (
    NAMED,
    Difference,
    Differences,
    Span,
    Terms,
    hour_span,
    hour_text,
)
from worker.reconcile_counts import all_rows, slices_of

IDS_AT_ONCE: Final = 500
MISSING: Final = "missing"
TWICE: Final = "stored_twice"
NOT_ACCEPTED: Final = "stored_not_accepted"
WITHOUT_OUTCOME: Final = "without_outcome"


class Names:
    """Names differences of one tenant.

    Args:
        warehouse: Where it is read.
        tenant: Whose.
        found: Where they are added.
    """

    def __init__(self, warehouse: Warehouse, tenant: str, found: Differences) -> None:
        self._warehouse = warehouse
        self._tenant = tenant
        self._found = found

    async def hour(self, terms: Terms) -> None:
        """Name what differs between what was accepted in an hour and what is stored of it.

        Raises:
            WarehouseError: It cannot be read.
        """
        span = hour_span(terms.hour)
        before = self._found.counts.get(MISSING, 0)
        if terms.accepted is not None:
            await self._missing_made(span)
        if terms.has_keys:
            await self._missing_named(span)
        surplus = await self._surplus_of(span, terms)
        await self._name_surplus(surplus)
        named = self._found.counts.get(MISSING, 0) - before
        left = terms.difference - named + self._too_many(surplus)
        if terms.accepted is not None and left > 0:
            await self._unnamed(terms, left)

    async def without_outcome(
        self, span: Span, destination: str, *, silent: Collection[int]
    ) -> None:
        """Name stored events of which a destination said nothing, silent hours apart."""
        for since in span.hours:
            if since in silent:
                continue
            rows = await self._rows(
                ledgers.WITHOUT_FATE, hour_span(since), destination=destination, slices=1, slice=0
            )
            for row in rows:
                self._found.add(
                    _of(WITHOUT_OUTCOME, row, destination=destination, seen_in=["events"])
                )

    async def outcomes_without_event(self, span: Span, destination: str, *, slices: int) -> None:
        """Name events that a destination was given and that are not stored."""
        for part in range(slices):
            rows = await self._rows(
                ledgers.FATES_WITHOUT_EVENT,
                span,
                destination=destination,
                slices=slices,
                slice=part,
            )
            for row in rows:
                one = _of(MISSING, row, seen_in=[f"outcomes ({destination}: {row['fate']})"])
                self._found.add(one)

    async def rollups(self, span: Span, stale: set[int]) -> list[int]:
        """Name hours and types whose rollup is not what the events say; return the hours."""
        rows = await self._rows(ledgers.ROLLUPS, span, slices=1, slice=0)
        hours: set[int] = set()
        for row in rows:
            if row["hour"] in stale:
                continue
            hours.add(row["hour"])
            said = f"the rollup says {row['rolled_events']:,}, the events {row['raw_events']:,}"
            self._found.add(
                Difference(
                    kind="rollup_differs",
                    hour=hour_text(row["hour"]),
                    event_type=row["event_type"],
                    events=abs(row["rolled_events"] - row["raw_events"]),
                    detail=said,
                )
            )
        return sorted(hours)

    async def copies_of(self, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return all stored rows of some events, by id."""
        found: dict[str, list[dict[str, Any]]] = {}
        for start in range(0, len(ids), IDS_AT_ONCE):
            part = list(ids[start : start + IDS_AT_ONCE])
            rows = await all_rows(self._warehouse, ledgers.COPIES_OF, tenant=self._tenant, ids=part)
            for row in rows:
                found.setdefault(row["id"], []).append(row)
        return found

    async def _missing_made(self, span: Span) -> None:
        for row in await self._rows(ledgers.MISSING_MADE, span, slices=1, slice=0):
            event_id = str(UUID(int=(int(row["upper"]) << 64) | int(row["lower"])))
            one = _of(MISSING, {"id": event_id}, seen_in=["accepted"], hour=span.hours[0])
            one.envelope_id = row["envelope_id"]
            self._found.add(one)

    async def _missing_named(self, span: Span) -> None:
        slices = await slices_of(self._warehouse, self._tenant, span)
        for part in range(slices):
            rows = await self._rows(ledgers.MISSING_NAMED, span, slices=slices, slice=part)
            for row in rows:
                self._found.add(_of(MISSING, row, seen_in=["event_keys"]))

    async def _surplus_of(self, span: Span, terms: Terms) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        if terms.accepted is not None:
            rows += await self._rows(ledgers.SURPLUS_MADE, span, slices=1, slice=0)
        if terms.has_keys:
            slices = await slices_of(self._warehouse, self._tenant, span)
            for part in range(slices):
                rows += await self._rows(ledgers.SURPLUS_NAMED, span, slices=slices, slice=part)
        return rows

    async def _name_surplus(self, surplus: Sequence[dict[str, Any]]) -> None:
        copies = await self.copies_of(sorted({row["id"] for row in surplus}))
        for row in surplus:
            stored = copies.get(row["id"], [])
            one = _of(TWICE if len(stored) > 1 else NOT_ACCEPTED, row, seen_in=["events"])
            if len(stored) > 1:
                places = [f"{copy['event_type']} at {copy['received']}Z" for copy in stored[:10]]
                one.detail = f"stored as {', '.join(places)}"
            self._found.add(one)

    @staticmethod
    def _too_many(surplus: Sequence[dict[str, Any]]) -> int:
        """Return how many rows of an hour are more than what was accepted."""
        # Of what is stored twice in one hour both rows are here, and one of them is right.
        ids = [row["id"] for row in surplus]
        both = {event_id for event_id in ids if ids.count(event_id) > 1}
        return len(ids) - len(both)

    async def _unnamed(self, terms: Terms, events: int) -> None:
        rows = await self._rows(ledgers.ENVELOPES_OF_NAMED, hour_span(terms.hour), slices=1)
        self._found.add(
            Difference(
                kind="missing_unnamed",
                hour=hour_text(terms.hour),
                envelopes=[row["envelope_id"] for row in rows],
                events=events,
                detail="nothing holds the ids of these events any more",
            )
        )

    async def _rows(self, query: Query, span: Span, **given: object) -> list[dict[str, Any]]:
        return await all_rows(
            self._warehouse,
            query,
            tenant=self._tenant,
            limit=NAMED + 1,
            **span.texts,
            **given,
        )


def _of(
    kind: str,
    row: dict[str, Any],
    *,
    seen_in: list[str],
    destination: str = "",
    hour: int | None = None,
) -> Difference:
    received = row.get("received", "")
    return Difference(
        kind=kind,
        hour=hour_text(hour) if hour is not None else f"{received[:13]}:00:00Z",
        event_id=row["id"],
        event_type=row.get("event_type", ""),
        received_at=f"{received}Z" if received else "",
        destination=destination,
        seen_in=seen_in,
    )
