"""Writes down what became of forwarded events: outcomes, dead letters, error records.

What was added stays here until ClickHouse has it, so that a failure is made good by calling
``flush`` again; the caller acknowledges or forgets an event only after that.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from sluice.core.errors import ErrorRecord, WarehouseError
from sluice.core.event import format_ts
from sluice.core.outcomes import Fate, Outcome
from sluice.logs import get_logger
from sluice.telemetry import OUTCOMES
from sluice.warehouse.client import Warehouse
from sluice.warehouse.migrate import migrate
from worker.core.lane import Item
from worker.core.letters import Letter, letter_of_row, record_of
from worker.encoding import frames

log: Final = get_logger(__name__)


class Notes(Protocol):
    """Where the fates of forwarded events are noted; ``Ledger`` is the usual one."""

    def add(self, fate: Fate, items: Sequence[Item], reason: str = "", detail: str = "") -> None:
        """Note the same fate of several events."""

    def add_dead(self, item: Item, reason: str, detail: str) -> None:
        """Note that the destination refuses an event for good."""

    def add_outcome(self, outcome: Outcome) -> None:
        """Note the fate of one event."""

    def add_record(self, record: ErrorRecord) -> None:
        """Note something that the tenant should see among its errors."""

    async def flush(self) -> None:
        """Make all that was added durable."""


class Ledger:
    """What is still to be written down of one destination."""

    def __init__(self, warehouse: Warehouse, destination: str) -> None:
        self._warehouse = warehouse
        self._destination = destination
        self._outcomes: list[Outcome] = []
        self._letters: list[Letter] = []
        self._records: list[ErrorRecord] = []
        self._is_migrated = False
        self._writing = asyncio.Lock()

    def add(
        self, fate: Fate, items: Sequence[Item], reason: str = "", detail: str = "", at: str = ""
    ) -> None:
        """Note the same fate of several events, as of now or of ``at``."""
        at = at or now_text()
        self._outcomes += [
            Outcome(
                item.tenant,
                item.event_id,
                self._destination,
                fate,
                reason,
                detail,
                at,
                item.received_at,
            )
            for item in items
        ]
        OUTCOMES.labels(self._destination, fate).inc(len(items))

    def add_dead(self, item: Item, reason: str, detail: str) -> None:
        """Note that the destination refuses an event for good; it is kept as a dead letter."""
        self.add(Fate.DEAD, [item], reason, detail)
        letter = letter_of_row(
            item.row,
            reason=detail or reason,
            envelope_id="",
            attempt=1,
            destination=self._destination,
        )
        self._letters.append(letter)
        record = record_of(letter, item.row, seen_at=now_text())
        if record is not None:
            self._records.append(record)

    def add_outcome(self, outcome: Outcome) -> None:
        """Note the fate of one event."""
        self._outcomes.append(outcome)
        OUTCOMES.labels(self._destination, outcome.outcome).inc()

    def add_record(self, record: ErrorRecord) -> None:
        """Note something that the tenant should see among its errors."""
        self._records.append(record)

    async def flush(self) -> None:
        """Write all that was added; on return it is durable.

        Raises:
            WarehouseError: ClickHouse did not take it; everything is still here.
        """
        async with self._writing:
            await self._ensure_schema()
            await self._write("dead_letters", self._letters, list(Letter.__struct_fields__))
            await self._write("errors", self._records)
            await self._write("outcomes", self._outcomes)

    async def _write(
        self,
        table: str,
        rows: list[object] | list[Letter] | list[ErrorRecord] | list[Outcome],
        columns: Sequence[str] | None = None,
    ) -> None:
        count = len(rows)
        if not count:
            return
        data = await asyncio.to_thread(frames, rows[:count])
        try:
            await self._warehouse.insert_rows(table, data, columns=columns)
        except WarehouseError:
            self._is_migrated = False
            raise
        del rows[:count]

    async def _ensure_schema(self) -> None:
        if not self._is_migrated and (self._outcomes or self._letters or self._records):
            await migrate(self._warehouse)
            self._is_migrated = True


def now_text() -> str:
    """Return the present time as rows carry it."""
    return format_ts(datetime.now(UTC))
