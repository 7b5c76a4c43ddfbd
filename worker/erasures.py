"""What this worker knows of people who were erased; never older than ``FRESH_S`` when it counts.

The order that lets nothing come back: an erase run notes its erasures first; each worker reads
them once a second, and stores or sends nothing unless it has read them within ``FRESH_S``; the run
waits for longer than that and an insert may take, and deletes only then.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from sluice.core.envelope import Envelope, EnvelopeError, unseal
from sluice.core.errors import WarehouseError, WarehouseUnavailableError
from sluice.logs import get_logger
from sluice.warehouse.client import Warehouse
from sluice.warehouse.erasures import NOTED
from worker.core.erasures import Erased, EventOf
from worker.waiting import wait_for_event

EVERY_S: Final = 1.0
FRESH_S: Final = 5.0
AGAIN_S: Final = 300
"""Rows are read again for so long after they were noted: a statement that notes visitors has the
moment at which it began, and is seen when it ends, up to ``TIMEOUTS_S["upkeep"]`` later."""
NO_TABLE: Final = frozenset({60, 81})
"""UNKNOWN_TABLE and UNKNOWN_DATABASE."""

log: Final = get_logger(__name__)


class Erasures:
    """The erasures in the warehouse, followed.

    Args:
        warehouse: Where they are noted.
        on_new: Called after new ones were read.
    """

    def __init__(self, warehouse: Warehouse, on_new: Callable[[], None] | None = None) -> None:
        self.known = Erased()
        self._warehouse = warehouse
        self._on_new = on_new
        self._read_at = -1e9
        self._noted_until = 0
        self._reading = asyncio.Lock()

    async def ensure_fresh(self) -> None:
        """Read them if that was not done lately; call before anything is stored or sent.

        Raises:
            WarehouseError: They cannot be read: nothing may be stored or sent now.
        """
        if time.monotonic() - self._read_at < FRESH_S:
            return
        async with self._reading:
            if time.monotonic() - self._read_at >= FRESH_S:
                await self._read()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow them until ``stop``."""
        while not stop.is_set():
            try:
                async with self._reading:
                    await self._read()
            except WarehouseError as error:
                log.debug("Erasures cannot be read", detail=str(error))
            await wait_for_event(stop, EVERY_S)

    async def _read(self) -> None:
        before = time.monotonic()
        try:
            rows = await self._warehouse.fetch(NOTED, since=max(0, self._noted_until - AGAIN_S))
        except WarehouseUnavailableError:
            raise
        except WarehouseError as error:
            # Before the first migration there is no table, and nobody was erased.
            if error.code not in NO_TABLE:
                raise
            rows = []
        is_new = False
        for tenant, what, digest, cut_off, noted_at in rows:
            is_new |= self.known.add(str(tenant), str(what), str(digest), str(cut_off))
            self._noted_until = max(self._noted_until, int(noted_at))
        self._read_at = before
        if is_new and self._on_new is not None:
            self._on_new()


async def erased_rows(known: Erased, envelopes: Sequence[Envelope]) -> list[dict[int, EventOf]]:
    """Return which rows of each envelope are left out, by their positions."""
    return await asyncio.to_thread(lambda: [_rows(known, one) for one in envelopes])


def _rows(known: Erased, envelope: Envelope) -> dict[int, EventOf]:
    try:
        return known.among(unseal(envelope))
    except EnvelopeError:
        return {}
