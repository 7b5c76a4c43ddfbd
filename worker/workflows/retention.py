"""Removes what is not kept of runs: files of those that expired, and rows that name people.

The other rows end by the tables' own TTL.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from sluice.core.errors import WarehouseError
from sluice.logs import get_logger
from sluice.workflows.files import RunFiles
from worker.waiting import wait_for_event
from worker.workflows.core.progress import Key
from worker.workflows.store import Store, created_of

EVERY_S: Final = 3_600.0
PEOPLE_EVERY_S: Final = 15.0
"""How often rows are looked for that name people whose run has ended."""
YOUNG: Final = timedelta(days=2)
"""A run that was created since may not be in the warehouse yet."""
BATCH: Final = 1_000

log: Final = get_logger(__name__)


class Retention:
    """The files of runs, looked over now and then."""

    def __init__(self, store: Store, files: RunFiles, *, every_s: float = EVERY_S) -> None:
        self._store = store
        self._files = files
        self._every_s = every_s

    async def run(self, stop: asyncio.Event) -> None:
        """Look them over until ``stop``."""
        next_at = time.monotonic() + self._every_s
        while not stop.is_set():
            await wait_for_event(stop, min(PEOPLE_EVERY_S, self._every_s))
            if stop.is_set():
                return
            try:
                await self._store.forget_people()
                if time.monotonic() >= next_at:
                    next_at = time.monotonic() + self._every_s
                    await self.remove_expired(datetime.now(UTC))
            except (WarehouseError, OSError) as error:
                log.warning("What is not kept of runs could not be removed", detail=str(error))

    async def remove_expired(self, now: datetime) -> int:
        """Remove the files of runs that are over; return of how many runs."""
        removed = 0
        old = [key for key in await self._files.runs() if _is_old(key, now)]
        for start in range(0, len(old), BATCH):
            keys = old[start : start + BATCH]
            kept = await self._store.kept_among(keys)
            for tenant, run_id in keys:
                if (tenant, run_id) not in kept:
                    await self._files.remove(tenant, run_id)
                    removed += 1
        if removed:
            log.info("Files of old runs were removed", runs=removed)
        return removed


def _is_old(key: Key, now: datetime) -> bool:
    created = created_of(key[1])
    return created is not None and now - created > YOUNG
