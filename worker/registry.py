"""Who else writes keys: workers say that they live, by the warehouse's clock."""

import asyncio
import secrets
import time
from typing import Final

from sluice.core.errors import WarehouseError
from sluice.logs import get_logger
from sluice.warehouse import upkeep
from sluice.warehouse.client import Warehouse
from worker.core.copies import LIVE_S, Other
from worker.encoding import frames
from worker.waiting import wait_for_event

HEARTBEAT_S: Final = 10.0
FRESH_S: Final = LIVE_S / 2
"""While the last sign is younger than this, every other worker takes us for alive."""

log: Final = get_logger(__name__)


class Registry:
    """This worker's entry in ``workers``, and a look at the others'."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.worker_id = secrets.token_hex(8)
        self._warehouse = warehouse
        self._seen_at = -1e9

    @property
    def is_fresh(self) -> bool:
        """Whether others surely take this worker for alive."""
        return time.monotonic() - self._seen_at < FRESH_S

    async def ensure_fresh(self) -> None:
        """Give a sign of life if the last one is getting old.

        Raises:
            WarehouseError: It did not arrive.
        """
        if time.monotonic() - self._seen_at >= HEARTBEAT_S:
            await self._beat()

    async def others(self) -> list[Other]:
        """Return the other workers' last signs.

        Raises:
            WarehouseError: The warehouse refused or did not answer.
        """
        rows = await self._warehouse.fetch(upkeep.OTHER_WORKERS, worker_id=self.worker_id)
        return [Other(str(who), age_ms / 1000, bool(stopped)) for who, age_ms, stopped in rows]

    async def run(self, stop: asyncio.Event) -> None:
        """Give signs of life until ``stop``; a failure is made good before the next batch."""
        while not stop.is_set():
            try:
                await self.ensure_fresh()
            except WarehouseError as error:
                log.debug("A heartbeat failed", detail=str(error))
            await wait_for_event(stop, HEARTBEAT_S / 10)

    async def say_farewell(self) -> None:
        """Tell the others that this worker writes nothing more; call when that is true.

        Raises:
            WarehouseError: It did not arrive; the others wait until we count as dead.
        """
        if self._seen_at > 0:
            await self._insert(is_stopped=True)

    async def _beat(self) -> None:
        before = time.monotonic()
        await self._insert(is_stopped=False)
        self._seen_at = before

    async def _insert(self, *, is_stopped: bool) -> None:
        row = {"worker_id": self.worker_id, "is_stopped": int(is_stopped)}
        await self._warehouse.insert_rows("workers", frames([row]), columns=list(row))
