"""Runs whose steps are a script, and leave a line in a file: what was done can be counted."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from sluice.workflows.core.runs import CANCELED, Run, RunError
from worker.workflows.core.progress import RunRow
from worker.workflows.core.state import Elapsed, Failed, Lost, StepEnd, Stop, Wait
from worker.workflows.program import Act, Finished, Program, ProgramMove

WORKFLOW: Final = "script"
MAX_LOST: Final = 3


class Step(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a step does: leaves a line, takes its time, waits after."""

    takes_s: float = 0.0
    wait_s: float = 0.0
    is_safe: bool = False
    ends_early: bool = False
    """At a stop."""
    fails: str = ""
    raises: bool = False


class State(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Where a script is."""

    at: int = 0
    attempt: int = 1
    lost: int = 0
    asks: bool = False
    resume_at: float | None = None
    error: RunError | None = None
    ended: tuple[StepEnd, ...] = ()


class ScriptedProgram:
    """A run of a script, which stands in the inputs as ``{"steps": [...]}``.

    Args:
        run: The run.
        effects: The file of lines; each is one call, as somebody outside would count it.
        may_send: Asked before a line is left, as an HTTP client asks before it sends.
    """

    execution_type: Literal["arazzo", "builtin"] = "arazzo"
    digest = "script"

    def __init__(
        self, run: Run, effects: Path, may_send: Callable[[], bool] = lambda: True
    ) -> None:
        self._run = run
        self._may_send = may_send
        self._effects = effects
        given = msgspec.json.decode(run.inputs)
        self._steps = msgspec.convert(given["steps"], type=list[Step])

    def begin(self, now: float) -> State | RunError:
        """Return the first state."""
        if not self._steps:
            return RunError("customer", "sluice.workflow.run/inputs", "There are no steps")
        return State()

    def encode(self, state: State) -> str:
        """Return a state as JSON text."""
        return msgspec.json.encode(state).decode()

    def decode(self, text: str) -> State:
        """Return the state that a text holds."""
        return msgspec.json.decode(text, type=State)

    def next_move(self, state: State) -> ProgramMove:
        """Return what has to happen."""
        if state.error is not None:
            return Failed(state.error)
        if state.resume_at is not None:
            return Wait(state.resume_at, is_poll=True)
        if state.at == len(self._steps):
            return Finished({"steps": state.at})
        return Act(
            workflow_id=WORKFLOW,
            step_id=f"s{state.at}",
            visit=1,
            attempt=state.attempt,
            timeout_s=30.0,
            is_repeatable=self._steps[state.at].is_safe,
        )

    async def perform(self, state: State, act: Act, stop: asyncio.Event) -> Any:
        """Leave a line, or look whether it was left."""
        step = self._steps[state.at]
        if state.asks:
            return "done" if act.step_id in effects_of(self._effects, self._run.run_id) else "open"
        if step.raises:
            raise ValueError("a mistake of the program, with a secret in it")
        if step.ends_early:
            try:
                async with asyncio.timeout(step.takes_s):
                    await stop.wait()
            except TimeoutError:
                pass
            else:
                return Stop()
        else:
            await asyncio.sleep(step.takes_s)
        if not self._may_send():
            return "open"
        leave(self._effects, self._run.run_id, act.step_id)
        return "failed" if step.fails else "done"

    def apply(self, state: State, event: Any, now: float) -> State:
        """Return the state after something happened."""
        if state.error is not None or state.at == len(self._steps):
            return msgspec.structs.replace(state, ended=())
        state = msgspec.structs.replace(state, ended=(), resume_at=None)
        match event:
            case Stop():
                return msgspec.structs.replace(state, error=CANCELED)
            case Elapsed():
                return state
            case Lost():
                return self._lost(state)
            case "open":
                return msgspec.structs.replace(state, asks=False, attempt=state.attempt + 1)
            case "failed":
                error = RunError(
                    "customer", "sluice.workflow.step/http", self._steps[state.at].fails
                )
                end = StepEnd(WORKFLOW, f"s{state.at}", 1, state.attempt, "failed", 400, error)
                return msgspec.structs.replace(state, error=error, ended=(end,))
            case _:
                wait_s = self._steps[state.at].wait_s
                end = StepEnd(WORKFLOW, f"s{state.at}", 1, state.attempt, "succeeded", 200)
                return State(
                    at=state.at + 1, resume_at=now + wait_s if wait_s else None, ended=(end,)
                )

    def ended(self, state: State) -> Sequence[StepEnd]:
        """Return what the last transition ended."""
        return state.ended

    def _lost(self, state: State) -> State:
        lost = state.lost + 1
        if lost >= MAX_LOST:
            error = RunError("platform", "sluice.workflow.worker/lost", "Lost again and again")
            return msgspec.structs.replace(state, error=error)
        return msgspec.structs.replace(
            state,
            lost=lost,
            asks=not self._steps[state.at].is_safe,
            attempt=state.attempt + 1,
        )


class ScriptedPrograms:
    """Makes scripted programs of all runs."""

    def __init__(self, effects: Path, may_send: Callable[[], bool] = lambda: True) -> None:
        self._effects = effects
        self._may_send = may_send

    def retention_days(self, run: Run) -> int:
        """Return how long a run is kept."""
        return 30

    async def program_for(self, run: RunRow, digest: str) -> Program[Any] | RunError:
        """Return the program of a run."""
        return ScriptedProgram(run, self._effects, self._may_send)


def leave(effects: Path, run_id: str, step_id: str) -> None:
    """Leave a line that says that a step was done."""
    handle = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{run_id} {step_id} {os.getpid()}\n".encode())
    finally:
        os.close(handle)


def effects_of(effects: Path, run_id: str) -> list[str]:
    """Return the steps of a run that were done, as often as they were."""
    if not effects.exists():
        return []
    lines = (line.split() for line in effects.read_text().splitlines())
    return [step for run, step, _ in lines if run == run_id]


def script(*steps: Step) -> str:
    """Return the inputs of a run with these steps."""
    members: Mapping[str, object] = {"steps": list(steps)}
    return msgspec.json.encode(members).decode()
