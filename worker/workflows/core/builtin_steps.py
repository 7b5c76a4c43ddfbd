"""A run of a built-in type: one step after the other, each until it says that it is done.

What fails at the platform (warehouse, queue, network, disk, a time-out) is tried again after waits
that grow; what a step says of itself ends the run. A worker that died in a step is followed by one
that calls the step again, which every built-in step allows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec

from sluice.workflows.core.runs import CANCELED, LEGAL_DAYS, RunError
from worker.workflows.core.state import MAX_LOST, Elapsed, Failed, Lost, StepEnd, Stop, Wait

MAX_ATTEMPTS: Final = 10
"""Of one step, counted anew when it gets further."""
FIRST_WAIT_S: Final = 1.0
MAX_WAIT_S: Final = 120.0
MAX_AGAIN_S: Final = 6 * 3600.0
MAX_RUN_S: Final = LEGAL_DAYS * 86_400.0
"""A run may wait for another system for as long as the law gives it."""


class State(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How far a run of a built-in type is."""

    started_at: float
    now: float
    inputs: dict[str, Any] = {}
    step: str = ""
    """The current one; by its name, so that a newer version of the type goes on where it may."""
    attempt: int = 1
    failures: int = 0
    lost: int = 0
    outputs: dict[str, dict[str, Any]] = {}
    """By step."""
    memory: dict[str, Any] = {}
    """Of the current step."""
    resume_at: float | None = None
    is_polling: bool = False
    is_done: bool = False
    error: RunError | None = None
    ended: tuple[StepEnd, ...] = ()


@dataclass(frozen=True, slots=True)
class Did:
    """The step is done."""

    outputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Later:
    """The step is to be called again."""

    after_s: float
    memory: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shaken:
    """The platform failed the step."""

    detail: str
    is_timeout: bool = False


@dataclass(frozen=True, slots=True)
class Broke:
    """The step said that it cannot be done."""

    error: RunError


Event = Did | Later | Shaken | Broke | Elapsed | Lost | Stop


def begin(steps: Sequence[str], inputs: Mapping[str, Any], now: float) -> State:
    """Return the first state of a run."""
    return State(started_at=now, now=now, inputs=dict(inputs), step=steps[0])


def next_wait(state: State) -> Wait | Failed | None:
    """Return what is to be waited for, or how the run failed; None: a step is to be called."""
    if state.error is not None:
        return Failed(state.error)
    if state.resume_at is not None:
        return Wait(state.resume_at, is_poll=state.is_polling)
    return None


def apply(type_name: str, steps: Sequence[str], state: State, event: Event, now: float) -> State:
    """Return the state after something happened; a run that is over stays as it is."""
    if state.error is not None or state.is_done:
        return msgspec.structs.replace(state, ended=())
    now = max(now, state.now)
    state = msgspec.structs.replace(state, now=now, ended=(), resume_at=None, is_polling=False)
    changed = _after(type_name, steps, state, event)
    is_over = changed.error is not None or changed.is_done
    if not is_over and now - state.started_at >= MAX_RUN_S:
        days = MAX_RUN_S / 86_400
        message = f"The run took longer than {days:g} days, at step {changed.step}"
        return _failed(
            type_name, state, RunError("platform", "sluice.workflow.run/deadline", message)
        )
    return changed


def _after(type_name: str, steps: Sequence[str], state: State, event: Event) -> State:
    match event:
        case Stop():
            return msgspec.structs.replace(state, error=CANCELED)
        case Elapsed():
            return state
        case Lost():
            return _lost(type_name, state)
        case Did():
            return _did(type_name, steps, state, event.outputs)
        case Later():
            return msgspec.structs.replace(
                state,
                failures=0,
                lost=0,
                memory=dict(event.memory),
                resume_at=state.now + min(max(event.after_s, 0.0), MAX_AGAIN_S),
                is_polling=True,
            )
        case Shaken():
            return _shaken(type_name, state, event)
        case Broke():
            return _failed(type_name, state, event.error)


def _did(type_name: str, steps: Sequence[str], state: State, outputs: Mapping[str, Any]) -> State:
    place = steps.index(state.step) + 1
    is_last = place == len(steps)
    return msgspec.structs.replace(
        state,
        outputs={**state.outputs, state.step: dict(outputs)},
        ended=(StepEnd(type_name, state.step, 1, state.attempt, "succeeded"),),
        step=state.step if is_last else steps[place],
        is_done=is_last,
        attempt=1,
        failures=0,
        lost=0,
        memory={},
    )


def _lost(type_name: str, state: State) -> State:
    lost = state.lost + 1
    if lost >= MAX_LOST:
        message = f"Workers were lost {lost} times in step {state.step}"
        return _failed(
            type_name, state, RunError("platform", "sluice.workflow.worker/lost", message)
        )
    return msgspec.structs.replace(state, lost=lost, attempt=state.attempt + 1)


def _shaken(type_name: str, state: State, event: Shaken) -> State:
    failures = state.failures + 1
    rule = "timeout" if event.is_timeout else "failed"
    error = RunError(
        "platform", f"sluice.workflow.step/{rule}", f"Step {state.step}: {event.detail}"
    )
    if failures >= MAX_ATTEMPTS:
        return _failed(type_name, state, error)
    wait_s = min(MAX_WAIT_S, FIRST_WAIT_S * float(1 << min(failures - 1, 10)))
    return msgspec.structs.replace(
        state,
        failures=failures,
        lost=0,
        attempt=state.attempt + 1,
        resume_at=state.now + wait_s * _spread(f"{state.started_at}/{state.step}/{failures}"),
        ended=(StepEnd(type_name, state.step, 1, state.attempt, "up for retry", error=error),),
    )


def _failed(type_name: str, state: State, error: RunError) -> State:
    end = StepEnd(type_name, state.step, 1, state.attempt, "failed", error=error)
    return msgspec.structs.replace(state, error=error, ended=(end,), memory={})


def _spread(name: str) -> float:
    """Return a factor near 1, so that runs that failed together do not come back together."""
    return 0.75 + 0.25 * int.from_bytes(sha256(name.encode()).digest()[:4]) / 2**32
