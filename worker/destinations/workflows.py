"""Commands as they come from the queue: runs to start and to stop; and the host that drives runs.

A command is written down and acknowledged at once, whatever the runs are doing, so the queue stays
short and a stop gets through. Writing it again changes nothing: the row that asks for a run is
older than any other of that run.

A request that comes twice (a client's retry, a webhook's redelivery) has one key and two runs: the
second run is not begun. Of two such commands that reach two workers within the same moment both may
begin; what a run sends is named after its own inputs, and schedules have one run for one time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import msgspec

from sluice.core.envelope import EnvelopeError, split, unseal
from sluice.core.errors import WarehouseError
from sluice.logs import get_logger
from sluice.queue import open_queue
from sluice.queue.protocol import Delivery
from sluice.settings import Settings
from sluice.telemetry import RUN_COMMANDS
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse
from sluice.warehouse.migrate import migrate
from sluice.workflows.core.runs import Command, Run, RunError, Start, Stop
from worker.core.refusals import is_about_rows
from worker.delivery import Destination, RetryLaterError, Waiting
from worker.waiting import wait_for_event
from worker.workflows.core.progress import Key, RunRow, ended_row, key_of
from worker.workflows.host import SUBSCRIPTION, Host, HostOptions
from worker.workflows.journal import Journal
from worker.workflows.lease import Lease
from worker.workflows.programs import open_programs
from worker.workflows.retention import Retention
from worker.workflows.runner import Programs
from worker.workflows.schedules import Schedules
from worker.workflows.store import DUPLICATE, Store, created_of, new_row

SCHEMA_RETRY_S: Final = 0.2
SAME_KEY_FOR: Final = timedelta(hours=24)
Upkeep = Callable[[asyncio.Event], Awaitable[None]]
T = TypeVar("T")

_COMMAND: Final = msgspec.json.Decoder(Command)

log: Final = get_logger(__name__)


class WorkflowsDestination:
    """The runs of workflows as a destination of commands."""

    def __init__(
        self,
        warehouse: Warehouse,
        store: Store,
        host: Host,
        *,
        programs: Programs,
        beside: Sequence[Upkeep] = (),
    ) -> None:
        self._warehouse = warehouse
        self._store = store
        self._host = host
        self._programs = programs
        self._beside = beside
        self._is_migrated = False
        self._migrating = asyncio.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether the tables of runs are there."""
        return self._is_migrated

    @property
    def parked_events(self) -> int:
        """None: a command is a row at once, or stays in the queue."""
        return 0

    @property
    def troubles(self) -> Sequence[str]:
        """Nothing that the breaker does not say: what is wrong with a run stands in the run."""
        return ()

    @property
    def freshness(self) -> None:
        """Not measured: a run says itself when it was asked for and when it began."""

    def waiting_of(self, _tenant: str) -> Waiting:
        """Return that nothing waits but what the queue holds."""
        return Waiting()

    async def start(self, stop: asyncio.Event) -> None:
        """Nothing is needed; the schema is made beside the first deliveries."""

    def prepare(self, delivery: Delivery) -> list[Command]:
        """Return the commands of an envelope; what is none is dropped. Called in a thread."""
        try:
            rows = split(unseal(delivery.envelope))
        except EnvelopeError as error:
            _drop(str(error), delivery.envelope.count)
            return []
        found: list[Command] = []
        for row in rows:
            try:
                command = _COMMAND.decode(row)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                _drop(str(error))
                continue
            run_id = command.run.run_id if isinstance(command, Start) else command.run_id
            if created_of(run_id) is None:
                _drop("its run has no id of a run")
                continue
            found.append(command)
        return found

    async def deliver(self, batch: Sequence[list[Command]]) -> None:
        """Write commands down and tell the host.

        Raises:
            RetryLaterError: The warehouse does not take them now.
        """
        commands = [command for some in batch for command in some]
        starts = [command for command in commands if isinstance(command, Start)]
        stops = [command for command in commands if isinstance(command, Stop)]
        try:
            await self._ensure_schema()
            rows = await self._rows_of(starts)
            rows = await self._taken(rows, self._store.add_runs)
            stops = await self._taken(stops, self._store.add_stops)
        except WarehouseError as error:
            self._is_migrated = False
            raise RetryLaterError(str(error)) from error
        begun = [key_of(row) for row in rows if row.state == "scheduled"]
        RUN_COMMANDS.labels("started").inc(len(begun))
        RUN_COMMANDS.labels("stopped").inc(len(stops))
        self._host.offer(begun)
        self._host.ask_to_stop([(stop.tenant, stop.run_id) for stop in stops])

    async def commit(self) -> None:
        """Nothing is left to do: what was delivered is durable."""

    async def upkeep(self, stop: asyncio.Event) -> None:
        """Drive runs until ``stop``."""
        await self._wait_for_schema(stop)
        if stop.is_set():
            return
        async with asyncio.TaskGroup() as tasks:
            for one in self._beside:
                tasks.create_task(_forever(one, stop))
            await self._host.run(stop)

    async def _rows_of(self, starts: Sequence[Start]) -> list[RunRow]:
        """Return the rows to write: of runs to begin, and of those that another one stands for."""
        keyed = [(one.run.tenant, one.run.request_key) for one in starts if one.run.request_key]
        begun = await self._store.runs_of(keyed)
        rows: dict[Key, RunRow] = {}
        for start in starts:
            run = start.run
            row = new_row(run)
            if run.request_key:
                same = begun.setdefault((run.tenant, run.request_key), [])
                known = first_of(run, same)
                if known == run.run_id:
                    same.append(run.run_id)
                else:
                    RUN_COMMANDS.labels("duplicate").inc()
                    if run.source != "api":
                        continue
                    row = self._duplicate(row, known)
            rows[key_of(run)] = row
        return list(rows.values())

    def _duplicate(self, row: RunRow, known: str) -> RunRow:
        message = f"The same request had started the run {known} already."
        created = datetime.fromisoformat(row.created_at).replace(tzinfo=UTC)
        return ended_row(
            row,
            error=RunError("customer", DUPLICATE, message),
            outputs="{}",
            now=created,
            retention_days=self._programs.retention_days(row),
        )

    async def _taken(
        self, items: Sequence[T], write: Callable[[Sequence[T]], Awaitable[None]]
    ) -> list[T]:
        """Write items; return those that ClickHouse took. One that it cannot take is dropped."""
        try:
            await write(items)
        except WarehouseError as error:
            if not is_about_rows(error.code):
                raise
            if len(items) == 1:
                _drop(str(error))
                return []
            return [one for item in items for one in await self._taken([item], write)]
        return list(items)

    async def _wait_for_schema(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._ensure_schema()
            except WarehouseError as error:
                log.debug("The schema waits for the warehouse", detail=str(error))
                await wait_for_event(stop, SCHEMA_RETRY_S)
            else:
                return

    async def _ensure_schema(self) -> None:
        if self._is_migrated:
            return
        async with self._migrating:
            if not self._is_migrated:
                await migrate(self._warehouse)
                self._is_migrated = True


def first_of(run: Run, begun: Sequence[str]) -> str:
    """Return the run that stands for a request: itself, or one that the same request began.

    A client's key means the same run for a day, as the edge has it; a shop's or a schedule's is
    used once.
    """
    created = created_of(run.run_id)
    for one in begun:
        earlier = created_of(one)
        if run.source != "api" or (
            created is not None and earlier is not None and created - earlier <= SAME_KEY_FOR
        ):
            return one
    return run.run_id


async def _forever(upkeep: Upkeep, stop: asyncio.Event) -> None:
    """Run what goes on beside the runs; its failure must not end them."""
    while not stop.is_set():
        try:
            await upkeep(stop)
        except Exception:
            log.exception("An upkeep of workflow runs failed")
            await wait_for_event(stop, SCHEMA_RETRY_S * 50)


def _drop(reason: str, count: int = 1) -> None:
    RUN_COMMANDS.labels("dropped").inc(count)
    log.error("A command was dropped", reason=reason[:500], commands=count)


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[WorkflowsDestination]:
    tenants = TenantsFile(settings.tenants_path, may_be_broken=True)
    warehouse = Warehouse(settings)
    store = Store(warehouse)
    lease = Lease(store)
    async with (
        warehouse,
        open_queue(settings) as queue,
        open_programs(settings, tenants=tenants, store=store, queue=queue, lease=lease) as programs,
    ):
        host = Host(
            store=store,
            journal=Journal(warehouse),
            programs=programs,
            queue=queue,
            lease=lease,
            options=HostOptions(stop_timeout_s=settings.stop_timeout_s),
        )
        schedules = Schedules(
            store=store, tenants=tenants, catalogue=programs.catalogue, queue=queue
        )
        retention = Retention(store, programs.tools.files)
        yield WorkflowsDestination(
            warehouse,
            store,
            host,
            programs=programs,
            beside=(tenants.run, schedules.run, retention.run),
        )


DESTINATION: Final = Destination(subscription=SUBSCRIPTION, open=_open)
