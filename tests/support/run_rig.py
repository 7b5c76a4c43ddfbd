"""Hosts of runs in the test's process, over a real engine and a real queue."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluice.core.envelope import encode, seal
from sluice.queue import open_queue
from sluice.queue.protocol import Queue
from sluice.settings import Settings, load_settings
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse
from sluice.warehouse.migrate import migrate
from sluice.warehouse.queries import Query
from sluice.workflows.core.runs import ENDED, Command, Run, Start, Stop, new_run_id, run_time
from tests.support.poll import poll_until
from tests.support.scripted_runs import ScriptedPrograms, Step, effects_of, script
from worker.consumer import Consumer
from worker.core.batches import Limits
from worker.destinations.workflows import WorkflowsDestination
from worker.workflows.core.progress import RunRow
from worker.workflows.host import SUBSCRIPTION, Host, HostOptions
from worker.workflows.journal import Journal
from worker.workflows.lease import Lease
from worker.workflows.programs import open_programs
from worker.workflows.runner import Programs
from worker.workflows.store import Store

TENANT = "acme"
QUICK = HostOptions(look_s=0.01, hosts_every_s=0.1, scan_every_s=0.5, stops_every_s=0.1, gate_s=1.0)
LIMITS = Limits(max_rows=1_000, max_bytes=10**7, max_age_s=0.05)


def new_run(*steps: Step, **members: Any) -> Run:
    """Return a run of a script that is to be started."""
    moment = datetime.now(UTC)
    given: dict[str, Any] = {
        "tenant": TENANT,
        "run_id": new_run_id(moment, uuid.uuid4().hex),
        "config_id": "og-script",
        "type": "arazzo.script",
        "name": "A script",
        "workflow_id": "script",
        "source": "api",
        "created_at": run_time(moment),
        "inputs": script(*steps),
    }
    return Run(**(given | members))


@dataclass(slots=True)
class RunningHost:
    """A worker's half that has runs."""

    host: Host
    destination: WorkflowsDestination
    stop: asyncio.Event


@dataclass(slots=True)
class RunRig:
    """One database, one queue, and as many hosts as a test starts."""

    settings: Settings
    queue: Queue
    warehouse: Warehouse
    store: Store
    effects: Path

    async def publish(self, *commands: Command) -> None:
        """Publish commands."""
        envelopes = [
            seal(rows, envelope_id=str(uuid.uuid4())) for rows in encode("commands", commands)
        ]
        await self.queue.publish("commands", envelopes)

    async def start(self, *runs: Run) -> None:
        """Ask for runs."""
        await self.publish(*(Start(run) for run in runs))

    async def ask_to_stop(self, run: Run) -> None:
        """Ask for a run's stop."""
        asked_at = run_time(datetime.now(UTC))
        await self.publish(Stop(tenant=run.tenant, run_id=run.run_id, asked_at=asked_at))

    @asynccontextmanager
    async def worker(
        self,
        *,
        lease_s: float = 1.0,
        options: HostOptions = QUICK,
        programs: Programs | None = None,
        settings: Settings | None = None,
        lease: Lease | None = None,
    ) -> AsyncIterator[RunningHost]:
        """Run a host and the consumer of its commands inside the block."""
        stop, drained = asyncio.Event(), asyncio.Event()
        async with Warehouse(settings or self.settings) as warehouse:
            store = Store(warehouse)
            programs = programs or ScriptedPrograms(self.effects)
            host = Host(
                store=store,
                journal=Journal(warehouse),
                programs=programs,
                queue=self.queue,
                lease=lease or Lease(store, lease_s=lease_s),
                options=options,
            )
            destination = WorkflowsDestination(warehouse, store, host, programs=programs)
            consumer = Consumer(self.queue, destination, subscription=SUBSCRIPTION, limits=LIMITS)
            async with asyncio.TaskGroup() as tasks:
                consuming = tasks.create_task(consumer.run(stop))
                tasks.create_task(destination.upkeep(drained))
                yield RunningHost(host, destination, stop)
                stop.set()
                await consuming
                drained.set()

    async def row(self, run: Run) -> RunRow | None:
        """Return the newest row of a run."""
        rows = await self.store.rows([(run.tenant, run.run_id)])
        return rows[0] if rows else None

    async def ended(self, run: Run, *, within_s: float = 30) -> RunRow:
        """Return the last row of a run as soon as it has ended."""

        async def last() -> RunRow | None:
            row = await self.row(run)
            return row if row is not None and row.state in ENDED else None

        return await poll_until(last, within_s=within_s, what=f"{run.run_id} has ended")

    async def in_state(self, run: Run, *states: str, within_s: float = 30) -> RunRow:
        """Return the newest row of a run as soon as it is in one of the states."""

        async def found() -> RunRow | None:
            row = await self.row(run)
            return row if row is not None and row.state in states else None

        return await poll_until(found, within_s=within_s, what=f"{run.run_id} is {states}")

    def done(self, run: Run) -> list[str]:
        """Return the steps that were done, as often as they were."""
        return effects_of(self.effects, run.run_id)

    async def rows(self, sql: str, **params: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT."""
        return await self.warehouse.fetch(Query("test", sql), **params)

    async def tasks(self, run: Run) -> list[tuple[Any, ...]]:
        """Return step, state, attempt and error of the visits of steps, in order."""
        return await self.rows(
            "SELECT step_id, state, attempt, error_type FROM workflow_tasks FINAL"
            " WHERE run_id = {run_id:String} ORDER BY position",
            run_id=run.run_id,
        )


@asynccontextmanager
async def open_run_rig(folder: Path, engine_url: str, **overrides: object) -> AsyncIterator[RunRig]:
    """Open a rig over a database of its own."""
    database = f"t{uuid.uuid4().hex[:12]}"
    url = engine_url.rsplit("/", 1)[0] + f"/{database}"
    settings = load_settings(**{"data_dir": folder, "warehouse_url": url, **overrides})
    async with open_queue(settings) as queue, Warehouse(settings) as warehouse:
        await migrate(warehouse)
        yield RunRig(settings, queue, warehouse, Store(warehouse), folder / "effects")


@asynccontextmanager
async def open_host(
    rig: RunRig, *, lease_s: float, is_scripted: bool
) -> AsyncIterator[RunningHost]:
    """Run a host of scripts, or of what the tenants have configured, inside the block."""
    if is_scripted:
        async with rig.worker(lease_s=lease_s) as host:
            yield host
        return
    tenants = TenantsFile(rig.settings.tenants_path)
    lease = Lease(rig.store, lease_s=lease_s)
    async with (
        open_programs(
            rig.settings, tenants=tenants, store=rig.store, queue=rig.queue, lease=lease
        ) as programs,
        rig.worker(programs=programs, lease=lease) as host,
    ):
        yield host
