"""Recomputes touched hours from events; never adds to a count (design, decision 8).

Hours are noted in ``touched_hours`` after the rows are stored and before they are acknowledged. A
recomputation is named by a moment of the warehouse's clock that was read before it began, so an
hour is clean when it was not touched at or after the moment of its latest recomputation. A crash
at any point leaves hours that are seen to be stale, here at the next sweep and by readers at once.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from sluice.core.errors import WarehouseError
from sluice.logs import get_logger
from sluice.telemetry import COPIES_DELETED, ROLLUP_SECONDS
from sluice.warehouse import upkeep
from sluice.warehouse.client import Warehouse
from worker.encoding import frames
from worker.waiting import wait_for_event

Hour = tuple[str, str]
"""Tenant and ``YYYY-MM-DDTHH``."""

HOUR_S: Final = 3600
HOURS_AT_ONCE: Final = 500
"""Hours of one statement."""
MIN_PAUSE_S: Final = 0.2
IDLE_SHARE: Final = 9.0
"""Pause after a recomputation, in multiples of its time: it takes a tenth of the time at most.
Readers count an hour live that had to wait for long."""
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

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._touched: set[tuple[str, int]] = set()
        self._sweep_at = 0.0
        self._delete_at: float | None = 0.0

    async def touch(self, hours: Iterable[Hour], *, has_copies: bool = False) -> None:
        """Note that rows of these hours were stored; the rollup follows.

        Args:
            hours: What was stored; may be empty.
            has_copies: Whether later copies were named, which are to be deleted some time.

        Raises:
            WarehouseError: The note may not have been taken.
        """
        rows = [{"tenant": tenant, "hour": f"{hour}:00:00"} for tenant, hour in sorted(hours)]
        if rows:
            await self._warehouse.insert_rows(
                "touched_hours", frames(rows), columns=["tenant", "hour"]
            )
            self._touched.update((row["tenant"], _unix(row["hour"])) for row in rows)
        if has_copies and self._delete_at is None:
            self._delete_at = time.monotonic() + DELETE_S

    async def run(self, stop: asyncio.Event) -> None:
        """Recompute until ``stop``; then once more, so that nothing waits for the next start."""
        while not stop.is_set():
            began = time.monotonic()
            pause_s = MIN_PAUSE_S
            try:
                if await self._pass_over():
                    pause_s = max(pause_s, IDLE_SHARE * (time.monotonic() - began))
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

    async def _recompute(self, hours: Sequence[tuple[str, int]]) -> None:
        # Read before the statement starts: what was stored before this moment is seen by it.
        [(computed_at,)] = await self._warehouse.fetch(upkeep.NOW)
        with ROLLUP_SECONDS.time():
            await self._warehouse.run(
                upkeep.RECOMPUTE,
                tenants=[tenant for tenant, _ in hours],
                hours=[hour for _, hour in hours],
                start=min(hour for _, hour in hours),
                end=max(hour for _, hour in hours) + HOUR_S,
                computed_at=computed_at,
            )


def _unix(hour: str) -> int:
    return int(datetime.fromisoformat(hour).replace(tzinfo=UTC).timestamp())
