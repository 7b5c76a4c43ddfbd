"""Group commit of transitions: ``append`` returns when the rows are durable.

While one insert is under way the next rows gather, so a thousand runs that move at once cost a few
inserts, and a lone one waits for its own only. Rows of tasks go first: a run's row says that what
it speaks of is there. Rows may be written twice or late; their version puts them where they belong.

Bounds: a run waits for its row, so no more rows wait than runs are driven; one insert takes
``MAX_ENTRIES`` of them and about ``MAX_BYTES``.
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sluice.core.errors import SluiceError, WarehouseError
from sluice.core.retry import backoff_s
from sluice.logs import get_logger
from sluice.telemetry import RUN_TRANSITIONS
from sluice.warehouse.client import Warehouse
from worker.core.refusals import is_about_rows
from worker.encoding import frames
from worker.workflows.core.progress import RunRow, TaskRow

MAX_ENTRIES: Final = 500
MAX_BYTES: Final = 8 * 1024 * 1024
BACKOFF_S: Final = (0.1, 2.0)

log: Final = get_logger(__name__)


class RowRefusedError(SluiceError):
    """ClickHouse does not take a row for what it holds; it never will."""


@dataclass(slots=True)
class _Entry:
    run: RunRow
    tasks: Sequence[TaskRow]
    done: asyncio.Future[None]

    @property
    def size(self) -> int:
        return len(self.run.program) + len(self.run.inputs) + len(self.run.outputs)


class Journal:
    """The one writer of transitions of a process; ``run`` belongs in a task of its owner."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._waiting: deque[_Entry] = deque()
        self._has_work = asyncio.Event()

    async def append(self, run: RunRow, tasks: Sequence[TaskRow]) -> None:
        """Write down where a run is; durable on return, tried until the caller gives up.

        Raises:
            RowRefusedError: ClickHouse refuses the rows for what they hold.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Entry(run, tasks, done))
        self._has_work.set()
        await done

    async def run(self) -> None:
        """Write until cancelled; what then waits is not written."""
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._waiting:
                await self._write_group(self._next_group())

    def _next_group(self) -> list[_Entry]:
        group: list[_Entry] = []
        size = 0
        while self._waiting and len(group) < MAX_ENTRIES and size < MAX_BYTES:
            entry = self._waiting.popleft()
            if not entry.done.done():
                group.append(entry)
                size += entry.size
        return group

    async def _write_group(self, group: list[_Entry]) -> None:
        failures = 0
        while group := [entry for entry in group if not entry.done.done()]:
            try:
                await self._write(group)
            except WarehouseError as error:
                if is_about_rows(error.code):
                    await self._write_alone(group, error)
                    return
                failures += 1
                log.warning(
                    "Transitions wait for the warehouse", detail=str(error), rows=len(group)
                )
                base_s, cap_s = BACKOFF_S
                jitter = random.random()  # noqa: S311 - spreads load, keeps no secret
                await asyncio.sleep(backoff_s(failures, base_s=base_s, cap_s=cap_s, jitter=jitter))
            else:
                _settle(group)

    async def _write_alone(self, group: list[_Entry], error: WarehouseError) -> None:
        """Part the rows that are refused from the others."""
        if len(group) > 1:
            for entry in group:
                await self._write_group([entry])
            return
        log.error("A transition was refused", run_id=group[0].run.run_id, detail=str(error))
        if not group[0].done.done():
            group[0].done.set_exception(RowRefusedError(str(error)))

    async def _write(self, group: Sequence[_Entry]) -> None:
        tasks = [task for entry in group for task in entry.tasks]
        if tasks:
            await self._insert("workflow_tasks", tasks, TaskRow.__struct_fields__)
        await self._insert(
            "workflow_runs", [entry.run for entry in group], RunRow.__struct_fields__
        )

    async def _insert(
        self, table: str, rows: Sequence[RunRow | TaskRow], columns: Sequence[str]
    ) -> None:
        data = await asyncio.to_thread(frames, rows)
        await self._warehouse.insert_rows(table, data, columns=list(columns))


def _settle(group: Sequence[_Entry]) -> None:
    for entry in group:
        if not entry.done.done():
            entry.done.set_result(None)
    RUN_TRANSITIONS.inc(len(group))
