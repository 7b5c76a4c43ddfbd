"""Notes what became of replayed events, beside what was known of them.

An event that the destination took once stays delivered, whatever is said of its repetition. One
that is refused again keeps its one letter, with the new reason. That an event waits is not noted:
it waits in the replay's own lot, not in the worker's.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

from msgspec.structs import replace

from sluice.core.errors import ErrorRecord
from sluice.core.outcomes import Fate, Outcome
from sluice.warehouse import replays
from sluice.warehouse.client import External, Warehouse
from sluice.warehouse.queries import Query
from worker.core.lane import Item
from worker.core.replays import Reasons
from worker.ledger import Ledger


class ReplayLedger:
    """What is still to be written down of one replay, and what was so far."""

    def __init__(self, warehouse: Warehouse, tenant: str, destination: str) -> None:
        self._warehouse = warehouse
        self._tenant = tenant
        self._destination = destination
        self._ledger = Ledger(warehouse, destination)
        self._dead: list[tuple[Item, str, str]] = []
        self._skipped: list[Outcome] = []
        self._records: list[ErrorRecord] = []
        self._flushing = asyncio.Lock()
        self.delivered = 0
        self.filtered = 0
        self.refused = 0
        self.reasons = Reasons()
        """Why events were refused."""

    @property
    def settled(self) -> int:
        """How many events came to an end in this process."""
        return self.delivered + self.filtered + self.refused

    def add(self, fate: Fate, items: Sequence[Item], reason: str = "", detail: str = "") -> None:
        """Note events that were delivered."""
        if fate is Fate.DELIVERED:
            self._ledger.add(fate, items, reason, detail)
            self.delivered += len(items)

    def add_dead(self, item: Item, reason: str, detail: str) -> None:
        """Note that the destination refuses an event for good."""
        self._dead.append((item, reason, detail))
        self.refused += 1
        self.reasons.add(reason, detail)

    def add_unreadable(self) -> None:
        """Count a row that cannot be read; it stays where it is."""
        self.refused += 1
        self.reasons.add("unreadable", "the stored row cannot be read")

    def add_outcome(self, outcome: Outcome) -> None:
        """Note an event that is not for the destination."""
        self._skipped.append(outcome)
        self.filtered += 1

    def add_record(self, record: ErrorRecord) -> None:
        """Note something that the tenant should see among its errors."""
        self._records.append(record)

    async def flush(self) -> None:
        """Write all that was added; on return it is durable.

        Raises:
            WarehouseError: ClickHouse did not take it; everything is still here.
        """
        async with self._flushing:
            await self._compare()
            await self._ledger.flush()

    async def _compare(self) -> None:
        dead, skipped, records = len(self._dead), len(self._skipped), len(self._records)
        if not dead and not skipped and not records:
            return
        ids = {item.event_id for item, _, _ in self._dead[:dead]}
        delivered = {
            event_id
            for (event_id,) in await self._known(
                replays.DELIVERED_BEFORE, ids | {one.event_id for one in self._skipped[:skipped]}
            )
        }
        letters = await self._known(replays.LETTER_ROWS, ids) if ids else []
        rows: dict[str, str] = dict(letters)
        for item, reason, detail in self._dead[:dead]:
            if item.event_id not in delivered:
                row = rows.get(item.event_id)
                same = replace(item, row=row.encode()) if row else item
                self._ledger.add_dead(same, reason, detail)
        for outcome in self._skipped[:skipped]:
            if outcome.event_id not in delivered:
                self._ledger.add_outcome(outcome)
        for record in self._records[:records]:
            if record.event_id not in delivered:
                self._ledger.add_record(record)
        del self._dead[:dead], self._skipped[:skipped], self._records[:records]

    async def _known(self, query: Query, ids: Collection[str]) -> list[tuple[Any, ...]]:
        return await self._warehouse.fetch(
            query,
            external=External(
                name="wanted",
                structure="event_id UUID",
                data="".join(f"{event_id}\n" for event_id in ids).encode(),
            ),
            tenant=self._tenant,
            destination=self._destination,
        )
