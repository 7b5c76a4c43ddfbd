"""Recomputes touched hours from events; never adds to a count (design, decision 8).

Hours are noted in ``touched_hours`` after the rows are stored and before they are acknowledged. A
recomputation is named by a moment of the warehouse's clock that was read before it began, so an
hour is clean when it was not touched at or after the moment of its latest recomputation. A crash
at any point leaves hours that are seen to be stale, here at the next sweep and by readers at once.

An hour with very many events is counted in slots of ten seconds by ``received_at``: which of them
were written to is noted too, only these are read again, and the hour is the sum of its slots. So
what a recomputation costs depends on what arrived lately and not on what the hour holds already.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sluice.core.errors import WarehouseError
from sluice.logs import get_logger
from sluice.telemetry import COPIES_DELETED, ROLLUP_SECONDS
from sluice.warehouse import upkeep
from sluice.warehouse.client import Warehouse
from sluice.warehouse.stats import MANY_EVENTS
from worker.core.rows import HOUR_CHARS
from worker.encoding import frames
from worker.waiting import wait_for_event

Place = tuple[str, str]
"""Tenant and ``YYYY-MM-DDTHH`` or, to say more, ``YYYY-MM-DDTHH:MM:S``, which is a slot."""
Span = tuple[str, int]
"""Tenant and unix seconds of the start."""

SLOT_S: Final = 10
PART_S: Final = 300
"""Slots are summed up to these first, so that summing up an hour reads few rows."""
HOUR_S: Final = 3600
QUARTER_S: Final = 21_600
"""The last 24 hours are three or four of these and few hours more."""
DAY_S: Final = 86_400
HOURS_AT_ONCE: Final = 500
"""Hours, or slots, of one statement."""
HOURS_KNOWN: Final = 10_000
"""Bound on the hours that are remembered to be counted in slots; forgetting one costs a count."""
MIN_PAUSE_S: Final = 0.2
IDLE_SHARE: Final = 4.0
"""Pause after a recomputation, in multiples of its time: it takes a fifth of the time."""
MAX_PAUSE_S: Final = 10.0
"""Bound on that pause. What arrives meanwhile has to be counted all the same, so that a longer one
spares little, and on a machine without rest it would make all stats minutes old."""
SWEEP_S: Final = 30.0
"""How often hours that other workers left stale are looked for."""
DELETE_S: Final = 60.0
"""Stored copies are deleted at most so often: each deletion rewrites parts of the table."""
RETRY_S: Final = 1.0
LAST_S: Final = 2.0
"""Bound on the recomputation before the end; what is left over is found at the next start."""

log: Final = get_logger(__name__)


class Rollups:
    """The rollups that this worker keeps right."""

    def __init__(self, warehouse: Warehouse, *, many_events: int = MANY_EVENTS) -> None:
        self._warehouse = warehouse
        self._many_events = many_events
        self._touched: set[Span] = set()
        self._in_slots: dict[Span, None] = {}
        self._sweep_at = 0.0
        self._delete_at: float | None = 0.0

    async def touch(self, places: Iterable[Place], *, has_copies: bool = False) -> None:
        """Note that rows of these hours or slots were stored; the rollup follows.

        Args:
            places: What was stored, or where something is to be counted anew; may be empty.
            has_copies: Whether later copies were named, which are to be deleted some time.

        Raises:
            WarehouseError: The note may not have been taken.
        """
        touched = sorted({self._noted(place) for place in places})
        if touched:
            rows = [
                {"tenant": tenant, "hour": _text(hour), "slot": slot}
                for tenant, hour, slot in touched
            ]
            await self._warehouse.insert_rows(
                "touched_hours", frames(rows), columns=["tenant", "hour", "slot"]
            )
            self._touched.update((tenant, hour) for tenant, hour, _ in touched)
        if has_copies and self._delete_at is None:
            self._delete_at = time.monotonic() + DELETE_S

    def _noted(self, place: Place) -> tuple[str, int, int]:
        tenant, text = place
        hour = _unix(f"{text[:HOUR_CHARS]}:00:00")
        if len(text) == HOUR_CHARS or (tenant, hour) not in self._in_slots:
            return tenant, hour, 0
        return tenant, hour, 1 + (_unix(f"{text}0") - hour) // SLOT_S

    async def run(self, stop: asyncio.Event) -> None:
        """Recompute until ``stop``; then once more, so that nothing waits for the next start."""
        while not stop.is_set():
            began = time.monotonic()
            pause_s = MIN_PAUSE_S
            try:
                if await self._pass_over():
                    pause_s = pause_after(time.monotonic() - began)
            except WarehouseError as error:
                log.debug("Rollups wait for the warehouse", detail=str(error))
                pause_s = RETRY_S
            await wait_for_event(stop, pause_s)
        try:
            async with asyncio.timeout(LAST_S):
                await self.recompute()
        except (WarehouseError, TimeoutError) as error:
            log.debug("Some hours were left to the next start", detail=str(error))

    async def recompute(self) -> int:
        """Recompute the hours touched since the last time; return how many they were.

        Raises:
            WarehouseError: Some hours were not recomputed; they stay touched.
        """
        hours = sorted(self._touched, key=lambda touched: (touched[1], touched[0]))
        self._touched -= set(hours)
        done = 0
        try:
            for start in range(0, len(hours), HOURS_AT_ONCE):
                await self._recompute(hours[start : start + HOURS_AT_ONCE])
                done = start + HOURS_AT_ONCE
        finally:
            self._touched.update(hours[done:])
        return len(hours)

    async def delete_copies(self) -> None:
        """Delete the stored copies that were named; no total counts them.

        Raises:
            WarehouseError: They may still be there; tried again after a while.
        """
        try:
            [(stored,)] = await self._warehouse.fetch(upkeep.COPIES_STORED)
            if stored:
                await self._warehouse.run(upkeep.DELETE_COPIES)
                COPIES_DELETED.inc(stored)
                log.info("Later copies were deleted", rows=stored)
        except WarehouseError:
            self._delete_at = time.monotonic() + DELETE_S
            raise

    async def _pass_over(self) -> bool:
        now = time.monotonic()
        if now >= self._sweep_at:
            rows = await self._warehouse.fetch(upkeep.STALE_HOURS, limit=HOURS_AT_ONCE)
            self._touched.update((str(tenant), int(hour)) for tenant, hour in rows)
            self._sweep_at = now + SWEEP_S
        did = bool(await self.recompute()) if self._touched else False
        if self._delete_at is not None and now >= self._delete_at:
            self._delete_at = None
            await self.delete_copies()
        return did

    async def _recompute(self, hours: Sequence[Span]) -> None:
        # Read before any statement starts: what was stored before this moment is seen by it.
        [(computed_at,)] = await self._warehouse.fetch(upkeep.NOW)
        found = await self._warehouse.fetch(
            upkeep.HOURS_IN_SLOTS, **_asked(hours), many=self._many_events
        )
        in_slots = {(str(tenant), int(hour)) for tenant, hour in found}
        whole = [hour for hour in hours if hour not in in_slots]
        with ROLLUP_SECONDS.time():
            if whole:
                await self._count_whole(whole, computed_at)
            if in_slots:
                await self._count_in_slots(sorted(in_slots), computed_at)
            days = sorted({(tenant, hour // DAY_S * DAY_S) for tenant, hour in hours})
            await self._sum_up(days, QUARTER_S, of=HOUR_S, within=DAY_S, computed_at=computed_at)
            await self._sum_up(days, DAY_S, of=QUARTER_S, within=DAY_S, computed_at=computed_at)
        self._remember(in_slots)

    def _remember(self, in_slots: Iterable[Span]) -> None:
        """Have the slots of these hours noted from now on."""
        for hour in in_slots:
            self._in_slots[hour] = None
        while len(self._in_slots) > HOURS_KNOWN:
            del self._in_slots[next(iter(self._in_slots))]

    async def _count_whole(self, hours: Sequence[Span], computed_at: str) -> None:
        await self._warehouse.run(
            upkeep.RECOMPUTE,
            **_asked(hours),
            start=min(hour for _, hour in hours),
            end=max(hour for _, hour in hours) + HOUR_S,
            computed_at=computed_at,
        )
        await self._warehouse.run(upkeep.SPANS_OF_HOURS, **_asked(hours))

    async def _count_in_slots(self, hours: Sequence[Span], computed_at: str) -> None:
        """Count the slots that were written to, whoever did, and sum up to hours.

        What is not stale is taken as it is. That is sound because what was touched before
        ``computed_at`` is seen to be so, or is still being noted: then the one who notes it comes
        here behind it, and finds the slot stale; if it dies before, the next sweep does.
        """
        rows = await self._warehouse.fetch(upkeep.STALE_SLOTS, **_asked(hours))
        slots = [(str(tenant), int(start)) for tenant, start in rows]
        for start in range(0, len(slots), HOURS_AT_ONCE):
            some = slots[start : start + HOURS_AT_ONCE]
            await self._warehouse.run(
                upkeep.RECOMPUTE_SLOTS, **_asked(some), computed_at=computed_at
            )
        await self._sum_up(hours, PART_S, of=SLOT_S, within=HOUR_S, computed_at=computed_at)
        await self._sum_up(hours, HOUR_S, of=PART_S, within=HOUR_S, computed_at=computed_at)
        await self._warehouse.run(upkeep.ROLLUPS_OF_SPANS, **_asked(hours))

    async def _sum_up(
        self, places: Sequence[Span], span_s: int, *, of: int, within: int, computed_at: str
    ) -> None:
        await self._warehouse.run(
            upkeep.SUM_UP,
            **_asked(places),
            span_s=span_s,
            part_s=of,
            within_s=within,
            computed_at=computed_at,
        )


def pause_after(took_s: float) -> float:
    """Return how long to rest after a recomputation that took so long, in seconds."""
    return min(max(MIN_PAUSE_S, IDLE_SHARE * took_s), MAX_PAUSE_S)


def _asked(spans: Iterable[Span]) -> dict[str, Any]:
    tenants, starts = zip(*spans, strict=True)
    return {"tenants": list(tenants), "starts": list(starts)}


def _text(unix_s: int) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%S}"


def _unix(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())
