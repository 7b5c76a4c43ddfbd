"""Removes what runs must not leave.

Files of runs that are not kept any more, whose rows end by the tables' own TTL; and rows that name
a person though the run has ended.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from sluice.core.errors import WarehouseError
from sluice.core.workflows import TYPES
from sluice.workflows.files import RunFiles
from worker.waiting import wait_for_event
from worker.workflows import builtins
from worker.workflows.core.progress import Key
from worker.workflows.store import Store, created_of

EVERY_S: Final = 3_600.0
YOUNG: Final = timedelta(days=2)
"""A run that was created since may not be in the warehouse yet."""
BATCH: Final = 1_000

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Retention:
    """The files of runs, looked over now and then."""

    def __init__(self, store: Store, files: RunFiles, *, every_s: float = EVERY_S) -> None:
        self._store = store
        self._files = files
        self._every_s = every_s

    async def run(self, stop: asyncio.Event) -> None:
        """Look them over until ``stop``."""
        while not stop.is_set():
            try:
                await self.forget_persons()
                await self.remove_expired(datetime.now(UTC))
            except (WarehouseError, OSError) as error:
                log.warning("What old runs left could not be removed", detail=str(error))
            await wait_for_event(stop, self._every_s)

    async def forget_persons(self) -> None:
        """Delete what a worker did not come to delete that died, or a command that came again.

        Raises:
            WarehouseError: Call again.
        """
        for key, version in await self._store.unforgotten(forgetful()):
            await self._store.forget(key, version)

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


def forgetful() -> list[str]:
    """Return the types of runs whose inputs are not kept when they have ended."""
    known = [builtin for name in TYPES if (builtin := builtins.load(name)) is not None]
    return [builtin.type for builtin in known if builtin.redact is not None]


def _is_old(key: Key, now: datetime) -> bool:
    created = created_of(key[1])
    return created is not None and now - created > YOUNG
