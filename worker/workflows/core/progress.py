"""How far a run is, as its rows say it: the newest row is all that is needed to go on.

A row of a run holds the program's state and whether an attempt was begun whose answer is not known.
A row of a task is one visit of a step. Rows of one transition share epoch and seq.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol

import msgspec

from sluice.workflows.core.runs import ENDED, Run, RunError, RunState, TaskState, run_time
from worker.workflows.core.people import kept_inputs
from worker.workflows.core.state import StepEnd

MAX_DAYS: Final = 60
"""A run lives no longer, so a task's row that is kept for so much more outlives its run's."""
NEVER: Final = "2106-01-01T00:00:00"
Execution = Literal["arazzo", "builtin"]


class Attempt(Protocol):
    """What a program calls an ``Act``, as far as rows say it."""

    @property
    def workflow_id(self) -> str:
        """Of the step."""

    @property
    def step_id(self) -> str:
        """The step."""

    @property
    def visit(self) -> int:
        """Of the step."""

    @property
    def attempt(self) -> int:
        """Of the visit."""

    @property
    def timeout_s(self) -> float:
        """Of the attempt."""


class RunRow(Run, frozen=True, kw_only=True):
    """A row of ``workflow_runs``."""

    program: str = ""
    """``Progress`` as JSON; empty in the row that asked for the run."""
    resume_at: str | None = None
    epoch: int = 0
    seq: int = 0
    expires_at: str = NEVER


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``workflow_tasks``."""

    tenant: str
    run_id: str
    task_instance_id: str
    position: int
    workflow_id: str
    step_id: str
    visit: int
    attempt: int
    state: TaskState
    execution_type: Execution
    created_at: str
    started_at: str | None
    ended_at: str | None
    state_changed_at: str
    timeout_ms: int
    http_status: int = 0
    error_attribution: str = ""
    error_type: str = ""
    error_message: str = ""
    epoch: int = 0
    seq: int = 0
    expires_at: str = NEVER


class OpenTask(msgspec.Struct, frozen=True, omit_defaults=True):
    """A visit that has begun and not ended."""

    workflow_id: str
    step_id: str
    visit: int
    position: int
    started_at: str
    attempt: int
    timeout_ms: int


class Progress(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a row holds beside the run's own columns."""

    digest: str
    """Of what is executed."""
    state: msgspec.Raw = msgspec.Raw(b"null")
    """The program's own."""
    is_acting: bool = False
    """An attempt was begun; what came of it is in a later row, if at all."""
    has_ended_step: bool = False
    positions: int = 0
    """How many visits there were."""
    open: dict[str, OpenTask] = {}
    """By task id; few, since a run does one thing at a time."""


_PROGRESS: Final = msgspec.json.Decoder(Progress)


def read_progress(text: str) -> Progress:
    """Return what a row's ``program`` says.

    Raises:
        ValueError: It says nothing of the kind.
    """
    progress = _PROGRESS.decode(text)
    # A Raw is a view of the whole text; its copy lets go of it.
    return msgspec.structs.replace(progress, state=progress.state.copy())


def write_progress(progress: Progress) -> str:
    """Return the text that ``read_progress`` reads."""
    return msgspec.json.encode(progress).decode()


def task_id(run_id: str, workflow_id: str, step_id: str, visit: int) -> str:
    """Return the id of a visit: the same, whoever writes it down."""
    return f"{run_id}/{workflow_id}/{step_id}#{visit}"


def expiry(moment: datetime, days: int) -> str:
    """Return until when something is kept that ended at a moment."""
    until = moment.astimezone(UTC) + timedelta(days=days)
    return until.replace(tzinfo=None).isoformat(timespec="seconds")


class Book:
    """The tasks of one run between two rows: told what happens, it knows what to write down.

    Args:
        run: Whose tasks they are.
        execution: What executes it.
        retention_days: How long the run is kept after it ended.
    """

    def __init__(
        self, run: Run, progress: Progress, *, execution: Execution, retention_days: int
    ) -> None:
        self._run = run
        self._execution: Execution = execution
        self._kept_days = retention_days + MAX_DAYS
        self._open = dict(progress.open)
        self._positions = progress.positions
        self._has_ended_step = progress.has_ended_step
        self._changed: dict[str, TaskRow] = {}
        self._waiting: set[str] = set()

    @property
    def has_ended_step(self) -> bool:
        """Whether a step of the run has ended."""
        return self._has_ended_step

    @property
    def has_retry(self) -> bool:
        """Whether a step is up for retry."""
        return bool(self._waiting)

    def began(self, act: Attempt, now: datetime) -> None:
        """Note that an attempt begins."""
        key = task_id(self._run.run_id, act.workflow_id, act.step_id, act.visit)
        known = self._open.get(key)
        task = OpenTask(
            workflow_id=act.workflow_id,
            step_id=act.step_id,
            visit=act.visit,
            position=known.position if known else self._next_position(),
            started_at=known.started_at if known else run_time(now),
            attempt=act.attempt,
            timeout_ms=int(act.timeout_s * 1000),
        )
        self._open[key] = task
        self._waiting.discard(key)
        self._note(key, task, "running", now)

    def ended(self, ends: Iterable[StepEnd], now: datetime) -> None:
        """Note what a transition did to visits of steps."""
        for end in ends:
            key = task_id(self._run.run_id, end.workflow_id, end.step_id, end.visit)
            task = self._open.get(key) or OpenTask(
                workflow_id=end.workflow_id,
                step_id=end.step_id,
                visit=end.visit,
                position=self._next_position(),
                started_at=run_time(now),
                attempt=end.attempt,
                timeout_ms=0,
            )
            if end.outcome == "up for retry":
                self._open[key] = task
                self._waiting.add(key)
            else:
                self._open.pop(key, None)
                self._waiting.discard(key)
                self._has_ended_step = True
            self._note(key, task, end.outcome, now, status=end.status or 0, error=end.error)

    def closed(self, state: RunState, error: RunError | None, now: datetime) -> None:
        """Note that the run ended: what is still open ends as it did."""
        outcome: TaskState = "canceled" if state == "canceled" else "failed"
        for key, task in self._open.items():
            self._note(key, task, outcome, now, error=None if state == "canceled" else error)
        self._open.clear()
        self._waiting.clear()

    def taken(self, *, epoch: int, seq: int) -> list[TaskRow]:
        """Return the rows of the tasks that changed since the last call."""
        rows = [
            msgspec.structs.replace(row, epoch=epoch, seq=seq) for row in self._changed.values()
        ]
        self._changed.clear()
        return rows

    def progress(self, digest: str, state: str, *, is_acting: bool) -> Progress:
        """Return what the run's row says of how far it is."""
        return Progress(
            digest=digest,
            state=msgspec.Raw(state.encode()),
            is_acting=is_acting,
            has_ended_step=self._has_ended_step,
            positions=self._positions,
            open=dict(self._open),
        )

    def _next_position(self) -> int:
        self._positions += 1
        return self._positions - 1

    def _note(
        self,
        key: str,
        task: OpenTask,
        state: TaskState,
        now: datetime,
        *,
        status: int = 0,
        error: RunError | None = None,
    ) -> None:
        is_over = state not in ("running", "up for retry")
        self._changed[key] = TaskRow(
            tenant=self._run.tenant,
            run_id=self._run.run_id,
            task_instance_id=key,
            position=task.position,
            workflow_id=task.workflow_id,
            step_id=task.step_id,
            visit=task.visit,
            attempt=task.attempt,
            state=state,
            execution_type=self._execution,
            created_at=task.started_at,
            started_at=task.started_at,
            ended_at=run_time(now) if is_over else None,
            state_changed_at=run_time(now),
            timeout_ms=task.timeout_ms,
            http_status=status,
            error_attribution=error.attribution if error else "",
            error_type=error.type if error else "",
            error_message=error.message if error else "",
            expires_at=expiry(now, self._kept_days),
        )


def ended_row(
    row: RunRow,
    *,
    error: RunError | None,
    outputs: str,
    now: datetime,
    retention_days: int,
) -> RunRow:
    """Return the last row of a run; what was needed to go on is dropped, and who was meant."""
    state: RunState = "succeeded"
    if error is not None:
        state = "canceled" if error.type.endswith("/cancel") else "failed"
    return msgspec.structs.replace(
        row,
        state=state,
        ended_at=run_time(now),
        error_attribution=error.attribution if error else "",
        error_type=error.type if error else "",
        error_message=error.message if error else "",
        inputs=kept_inputs(row.type, row.inputs),
        outputs=outputs,
        has_retry=0,
        program="",
        resume_at=None,
        expires_at=expiry(now, retention_days),
    )


def is_over(row: Run) -> bool:
    """Whether nothing more happens to a run."""
    return row.state in ENDED


Key = tuple[str, str]
"""Tenant and id of a run."""


def key_of(run: Run) -> Key:
    """Return what names a run."""
    return run.tenant, run.run_id


def rows_by_key(rows: Sequence[RunRow]) -> Mapping[Key, RunRow]:
    """Return rows by the runs that they are of."""
    return {key_of(row): row for row in rows}
