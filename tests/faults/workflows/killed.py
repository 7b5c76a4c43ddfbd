"""A worker that has runs, and kills itself at the n-th place where something begins or ends.

``python -m tests.faults.workflows.killed``: reads one line of JSON (``Order``) when all is loaded,
says ``ready`` before and notes each place in a file. The product knows nothing of it: its parts are
wrapped from outside.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import uvloop

from sluice.queue import open_queue
from sluice.settings import Settings, load_settings
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse
from sluice.workflows.core.runs import Run, RunError
from tests.support.run_rig import LIMITS, QUICK
from tests.support.scripted_runs import ScriptedPrograms
from worker.consumer import Consumer
from worker.destinations.workflows import WorkflowsDestination
from worker.workflows.core.progress import Key, RunRow, TaskRow
from worker.workflows.host import SUBSCRIPTION, Host
from worker.workflows.journal import Journal
from worker.workflows.lease import Lease
from worker.workflows.program import Act, Program, ProgramMove
from worker.workflows.programs import open_programs
from worker.workflows.runner import Programs
from worker.workflows.store import Store


class Order(msgspec.Struct, kw_only=True):
    """What the worker is told."""

    settings: dict[str, str]
    kill_at: int
    """0: never."""
    places: str
    """File of the places that were passed, one a line."""
    effects: str = ""
    """Of scripted runs; empty: what the tenants have configured is run."""
    lease_s: float = 0.6


class Places:
    """Counts the places where something begins or ends; at one of them the process dies."""

    def __init__(self, file: Path, kill_at: int) -> None:
        self._file = file
        self._kill_at = kill_at
        self._passed = 0

    def passed(self, name: str) -> None:
        """Note a place, and die there if it is the one."""
        self._passed += 1
        handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, f"{name}\n".encode())
        os.close(handle)
        if self._passed == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


class KilledRows:
    """A journal with a place before and after every transition."""

    def __init__(self, journal: Journal, places: Places) -> None:
        self._journal = journal
        self._places = places

    async def append(self, run: RunRow, tasks: list[TaskRow]) -> None:
        """Write a transition down."""
        name = f"row {run.state}" + (f" ({tasks[-1].step_id} {tasks[-1].state})" if tasks else "")
        self._places.passed(f"before {name}")
        await self._journal.append(run, tasks)
        self._places.passed(f"after {name}")


class KilledStore(Store):
    """A store with a place before and after every claim and command that is written down."""

    def __init__(self, warehouse: Warehouse, places: Places) -> None:
        super().__init__(warehouse)
        self._places = places

    async def claim(
        self, epochs: Mapping[Key, int], host_id: str, *, is_yielded: bool = False
    ) -> None:
        """Claim runs, or yield them."""
        if epochs:
            self._places.passed("before the claim")
        await super().claim(epochs, host_id, is_yielded=is_yielded)
        if epochs:
            self._places.passed("after the claim")

    async def add_runs(self, runs: Sequence[RunRow]) -> None:
        """Note runs that were asked for."""
        self._places.passed("before row scheduled")
        await super().add_runs(runs)
        self._places.passed("after row scheduled")

    async def keep_document(self, digest: str, texts: Mapping[str, bytes]) -> None:
        """Keep the texts that a run began with."""
        self._places.passed("before the document")
        await super().keep_document(digest, texts)
        self._places.passed("after the document")


class KilledProgram:
    """A program with a place before and after everything that it performs."""

    def __init__(self, program: Program[Any], places: Places) -> None:
        self._program = program
        self._places = places
        self.execution_type: Literal["arazzo", "builtin"] = program.execution_type
        self.digest = program.digest

    def begin(self, now: float) -> Any:
        """See ``Program``."""
        return self._program.begin(now)

    def encode(self, state: Any) -> str:
        """See ``Program``."""
        return self._program.encode(state)

    def decode(self, text: str) -> Any:
        """See ``Program``."""
        return self._program.decode(text)

    def next_move(self, state: Any) -> ProgramMove:
        """See ``Program``."""
        return self._program.next_move(state)

    async def perform(self, state: Any, act: Act, stop: asyncio.Event) -> Any:
        """See ``Program``."""
        self._places.passed(f"before {act.step_id}")
        outcome = await self._program.perform(state, act, stop)
        self._places.passed(f"after {act.step_id}")
        return outcome

    def apply(self, state: Any, event: Any, now: float) -> Any:
        """See ``Program``."""
        return self._program.apply(state, event, now)

    def ended(self, state: Any) -> Any:
        """See ``Program``."""
        return self._program.ended(state)


class KilledPrograms:
    """Programs whose every act has its places."""

    def __init__(self, programs: Programs, places: Places) -> None:
        self._programs = programs
        self._places = places

    def retention_days(self, run: Run) -> int:
        """Return how long a run is kept."""
        return self._programs.retention_days(RunRow(**msgspec.structs.asdict(run)))

    async def program_for(self, run: RunRow, digest: str) -> Program[Any] | RunError:
        """Return a program that may be killed."""
        program = await self._programs.program_for(run, digest)
        return program if isinstance(program, RunError) else KilledProgram(program, self._places)


async def _serve(settings: Settings, order: Order) -> None:
    places = Places(Path(order.places), order.kill_at)
    async with open_queue(settings) as queue, Warehouse(settings) as warehouse:
        store = KilledStore(warehouse, places)
        lease = Lease(store, lease_s=order.lease_s)
        tenants = TenantsFile(settings.tenants_path, may_be_broken=True)
        async with open_programs(
            settings, tenants=tenants, store=store, queue=queue, lease=lease
        ) as made:
            programs: Programs = made
            if order.effects:
                programs = ScriptedPrograms(Path(order.effects), lambda: lease.is_held)
            journal = Journal(warehouse)
            host = Host(
                store=store,
                journal=journal,
                programs=KilledPrograms(programs, places),
                queue=queue,
                lease=lease,
                options=QUICK,
                rows=KilledRows(journal, places),
            )
            destination = WorkflowsDestination(warehouse, store, host, programs=programs)
            consumer = Consumer(queue, destination, subscription=SUBSCRIPTION, limits=LIMITS)
            async with asyncio.TaskGroup() as tasks:
                never = asyncio.Event()
                tasks.create_task(consumer.run(never))
                tasks.create_task(destination.upkeep(never))


def main() -> None:
    """Wait for the order, then be a worker."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    settings = load_settings(**order.settings)
    uvloop.run(_serve(settings, order))


if __name__ == "__main__":
    main()
