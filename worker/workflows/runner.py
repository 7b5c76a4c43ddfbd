"""Drives one run from where its newest row says it is.

Each turn of the loop writes one row and then does what the row says. So whoever finds the row knows
what may have been done: a row that is acting may have been followed by its act, any other was not.
"""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec

from sluice.core.errors import SluiceError
from sluice.logs import get_logger
from sluice.telemetry import RUNS_ENDED
from sluice.workflows.core.runs import CANCELED, RunError, RunState, run_time
from worker.waiting import wait_for_event
from worker.workflows.core.progress import (
    Book,
    Progress,
    RunRow,
    TaskRow,
    ended_row,
    read_progress,
    write_progress,
)
from worker.workflows.core.state import Elapsed, Failed, Lost, Stop, Wait
from worker.workflows.journal import RowRefusedError
from worker.workflows.lease import Lease
from worker.workflows.program import Act, Finished, Program

MAX_TAKE_OVERS: Final = 30
"""Hosts that claimed a run one after the other and wrote nothing: the run itself ends them."""
OVERTIME_S: Final = 30.0
"""Beyond an act's own time-out, after which it is broken off from outside."""
MAX_MESSAGE_CHARS: Final = 2_000

log: Final = get_logger(__name__)

INTERNAL: Final = RunError(
    "platform",
    "sluice.workflow.worker/internal",
    "Something failed in Sluice itself; the worker's log names it by the id of the run.",
)
UNSTORED: Final = RunError(
    "platform", "sluice.workflow.worker/internal", "The warehouse refuses what the run holds."
)
LOST: Final = RunError(
    "platform",
    "sluice.workflow.worker/lost",
    "Workers were lost again and again before the run went on.",
)


class Programs(Protocol):
    """Where programs come from."""

    async def program_for(self, run: RunRow, digest: str) -> Program[Any] | RunError:
        """Return what a run executes, or why that is not to be had.

        Args:
            run: The run.
            digest: Of what it began with; empty if it has not begun.
        """

    def retention_days(self, run: RunRow) -> int:
        """Return how long a run is kept after it ended."""


class Rows(Protocol):
    """Where rows go; ``Journal`` is the usual one."""

    async def append(self, run: RunRow, tasks: list[TaskRow]) -> None:
        """Return when the rows are durable."""


class QuitError(SluiceError):
    """The host stops: the run is left as its last row says."""


class _BrokenError(SluiceError):
    """A program broke its promise; its run ends."""

    def __init__(self, error: RunError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True, kw_only=True)
class Grip:
    """A run that this host has, and what it was told about it."""

    row: RunRow
    epoch: int
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a person stops the run."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is something new."""
    is_quitting: bool = False

    def ask_to_stop(self) -> None:
        """Tell that a person stops the run."""
        self.stop.set()
        self.wake.set()

    def ask_to_quit(self) -> None:
        """Tell that the host stops."""
        self.is_quitting = True
        self.wake.set()


class Runner:
    """One run, as long as this host has it."""

    def __init__(self, grip: Grip, *, programs: Programs, rows: Rows, lease: Lease) -> None:
        self._grip = grip
        self._programs = programs
        self._rows = rows
        self._lease = lease
        # What is not the newest row's own is let go: a thousand runs wait at a time.
        self._row = msgspec.structs.replace(grip.row, program="")
        self._seq = grip.row.seq
        self._retention_days = programs.retention_days(grip.row)
        self._book: Book | None = None

    async def run(self) -> bool:
        """Drive the run until it ends, or the host stops; nothing is raised but cancellation.

        Returns:
            False if not even its end could be written down.
        """
        try:
            await self._drive()
        except QuitError:
            return True
        except _BrokenError as error:
            return await self._end_badly(error.error)
        except RowRefusedError:
            return await self._end_badly(UNSTORED)
        except Exception:
            log.exception("A run failed from inside", run_id=self._row.run_id)
            return await self._end_badly(INTERNAL)
        return True

    async def _end_badly(self, error: RunError) -> bool:
        try:
            await self._end(error, "{}")
        except Exception:
            log.exception("A run could not be ended", run_id=self._row.run_id)
            return False
        return True

    async def _drive(self) -> None:
        row = self._grip.row
        if self._grip.epoch - row.epoch > MAX_TAKE_OVERS:
            await self._end(LOST, "{}")
            return
        if not row.program and self._grip.stop.is_set():
            await self._end(CANCELED, "{}")
            return
        progress = read_progress(row.program) if row.program else None
        program = await self._programs.program_for(row, progress.digest if progress else "")
        if isinstance(program, RunError):
            await self._end(program, "{}")
            return
        self._book = Book(
            row,
            progress or Progress(digest=program.digest),
            execution=program.execution_type,
            retention_days=self._retention_days,
        )
        if progress is None:
            state = program.begin(time.time())
            if isinstance(state, RunError):
                await self._end(state, "{}")
                return
        else:
            state = program.decode(bytes(progress.state).decode())
            if progress.is_acting:
                state = self._applied(program, state, Lost())
        self._grip.row = self._row
        await self._go_on(program, state)

    async def _go_on(self, program: Program[Any], state: Any) -> None:
        """Make one move after the other; each writes a row before it does anything.

        The first of a run that was taken over makes whatever its old host still writes older.
        """
        while True:
            if self._grip.stop.is_set():
                state = self._applied(program, state, Stop())
            move = program.next_move(state)
            if isinstance(move, Finished):
                await self._end(None, msgspec.json.encode(move.outputs).decode())
                return
            if isinstance(move, Failed):
                await self._end(move.error, "{}")
                return
            if self._grip.is_quitting:
                await self._commit(program, state, is_acting=False)
                raise QuitError
            if isinstance(move, Wait):
                await self._commit(program, state, is_acting=False, wait=move)
                state = await self._after_wait(program, state, move)
            else:
                state = await self._after_act(program, state, move)

    async def _after_wait(self, program: Program[Any], state: Any, wait: Wait) -> Any:
        while (left_s := wait.until - time.time()) > 0 and not self._grip.stop.is_set():
            if self._grip.is_quitting:
                raise QuitError
            self._grip.wake.clear()
            await wait_for_event(self._grip.wake, left_s)
        return state if self._grip.stop.is_set() else self._applied(program, state, Elapsed())

    async def _after_act(self, program: Program[Any], state: Any, act: Act) -> Any:
        self._the_book.began(act, datetime.now(UTC))
        await self._commit(program, state, is_acting=True)
        # Another host may have the run by now; if so this task is cancelled meanwhile.
        await self._lease.wait_until_held()
        outcome = await self._performed(program, state, act)
        if isinstance(outcome, RunError):
            raise _BrokenError(outcome)
        if outcome is None:
            await self._commit(program, state, is_acting=False)
            raise QuitError
        return self._applied(program, state, outcome)

    async def _performed(self, program: Program[Any], state: Any, act: Act) -> Any:
        """Return what came of an act; None if it was broken off because the host stops."""
        async with asyncio.TaskGroup() as tasks:
            performing = tasks.create_task(self._perform(program, state, act), name="perform")
            waking = tasks.create_task(self._grip.wake.wait(), name="wake")
            is_told = self._row.state == "stopping"
            while not performing.done():
                await asyncio.wait({performing, waking}, return_when=asyncio.FIRST_COMPLETED)
                if performing.done():
                    break
                self._grip.wake.clear()
                waking = tasks.create_task(self._grip.wake.wait(), name="wake")
                if self._grip.stop.is_set() and not is_told:
                    await self._commit(program, state, is_acting=True)
                    is_told = True
                if self._grip.is_quitting and act.is_repeatable and not performing.done():
                    performing.cancel()
                    await asyncio.wait({performing})
            waking.cancel()
        if performing.cancelled():
            return None if self._grip.is_quitting else INTERNAL
        return performing.result()

    async def _perform(self, program: Program[Any], state: Any, act: Act) -> Any:
        """Perform an act; what a program raises in spite of its promise is a ``RunError``."""
        try:
            async with asyncio.timeout(act.timeout_s + OVERTIME_S):
                return await program.perform(state, act, self._grip.stop)
        except TimeoutError:
            message = f"Step {act.step_id} did not end after {act.timeout_s:g} s"
            return RunError("platform", "sluice.workflow.step/timeout", message)
        except Exception:
            log.exception("A step failed from inside", run_id=self._row.run_id, step=act.step_id)
            return INTERNAL

    def _applied(self, program: Program[Any], state: Any, event: Any) -> Any:
        changed = program.apply(state, event, time.time())
        self._the_book.ended(program.ended(changed), datetime.now(UTC))
        return changed

    @property
    def _the_book(self) -> Book:
        assert self._book is not None  # noqa: S101 - made before the first move
        return self._book

    async def _commit(
        self, program: Program[Any], state: Any, *, is_acting: bool, wait: Wait | None = None
    ) -> None:
        progress = self._the_book.progress(
            program.digest, program.encode(state), is_acting=is_acting
        )
        resume_at = datetime.fromtimestamp(wait.until, UTC) if wait else None
        row = msgspec.structs.replace(
            self._row,
            state=self._state(is_polling=wait is not None and wait.is_poll),
            has_retry=int(self._the_book.has_retry),
            resume_at=run_time(resume_at) if resume_at else None,
        )
        await self._write(row, program=write_progress(progress))

    def _state(self, *, is_polling: bool) -> RunState:
        if self._grip.stop.is_set():
            return "stopping"
        if self._the_book.has_ended_step or is_polling or self._row.state == "in progress":
            return "in progress"
        return "started"

    async def _end(self, error: RunError | None, outputs: str) -> None:
        now = datetime.now(UTC)
        if error is not None and len(error.message) > MAX_MESSAGE_CHARS:
            error = msgspec.structs.replace(error, message=f"{error.message[:MAX_MESSAGE_CHARS]}…")
        row = ended_row(
            self._row,
            error=error,
            outputs=outputs,
            now=now,
            retention_days=self._retention_days,
        )
        if self._book is not None:
            self._book.closed(row.state, error, now)
        await self._write(row)
        RUNS_ENDED.labels(row.state).inc()

    async def _write(self, row: RunRow, *, program: str = "") -> None:
        # The epoch is read last: while the row was made the run may have become ours anew.
        self._seq += 1
        epoch = self._grip.epoch
        tasks = self._book.taken(epoch=epoch, seq=self._seq) if self._book is not None else []
        row = msgspec.structs.replace(row, epoch=epoch, seq=self._seq)
        await self._rows.append(msgspec.structs.replace(row, program=program), tasks)
        self._row = row
