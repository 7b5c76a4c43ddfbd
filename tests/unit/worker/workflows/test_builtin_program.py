"""What steps of built-in types return and raise becomes what the run knows."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, cast

import aiohttp
import pytest

from sluice.core.errors import QueueUnavailableError, WarehouseError, WarehouseUnavailableError
from sluice.workflows.core.runs import CANCELED, RunError
from tests.support.run_rig import new_run
from worker.workflows.builtin import (
    Again,
    Builtin,
    BuiltinStep,
    Context,
    Step,
    StepError,
    StoppedError,
    Tools,
)
from worker.workflows.builtin_program import BuiltinProgram
from worker.workflows.core.builtin_steps import Broke, Did, Later, Shaken, State
from worker.workflows.core.state import Elapsed, Failed, Stop, Wait
from worker.workflows.program import Act, Finished


def program(*steps: Step, timeout_s: float = 5.0) -> BuiltinProgram:
    """A program of these steps, ``s0`` and on."""
    made = tuple(
        BuiltinStep(id=f"s{at}", do=step, timeout_s=timeout_s) for at, step in enumerate(steps)
    )
    # The steps of these tests take none of the tools.
    tools = cast("Tools", None)
    return BuiltinProgram(
        Builtin(type="t", steps=made), run=new_run(), inputs={"a": 1}, tools=tools
    )


def raising(error: BaseException) -> Step:
    """A step that raises."""

    async def do(_context: Context) -> Mapping[str, Any]:
        raise error

    return do


async def outcome_of(made: BuiltinProgram, stop: asyncio.Event | None = None) -> Any:
    """What came of the first step."""
    state = made.begin(time.time())
    assert isinstance(state, State)
    act = made.next_move(state)
    assert isinstance(act, Act)
    assert act.is_repeatable
    return await made.perform(state, act, stop or asyncio.Event())


async def test_steps_get_what_came_before_and_the_last_gives_the_outputs_of_the_run() -> None:
    seen: list[Context] = []

    async def first(context: Context) -> Mapping[str, Any] | Again:
        seen.append(context)
        if not context.memory:
            return Again(after_s=0.0, memory={"job": ["j"]})
        return {"rows": (1, 2)}

    async def second(context: Context) -> Mapping[str, Any]:
        seen.append(context)
        return {"sum": sum(context.outputs["s0"]["rows"])}

    made = program(first, second)
    state: Any = made.begin(100.0)
    while not isinstance(move := made.next_move(state), Finished):
        assert not isinstance(move, Failed)
        if isinstance(move, Wait):
            event: Any = Elapsed()
        else:
            event = await made.perform(state, move, asyncio.Event())
        state = made.decode(made.encode(made.apply(state, event, 101.0)))
    assert move.outputs == {"sum": 3}
    assert [one.memory for one in seen] == [{}, {"job": ["j"]}, {}]
    assert {one.started_at for one in seen} == {100.0}
    assert seen[0].inputs == {"a": 1}


@pytest.mark.parametrize(
    "error",
    [
        WarehouseUnavailableError("the warehouse did not answer: http://user:pass@host"),
        WarehouseError("refused", code=497),
        QueueUnavailableError("away"),
        aiohttp.ClientConnectionError("http://secret@host"),
        OSError(28, "No space left"),
        TimeoutError(),
    ],
)
async def test_platform_failures_are_tried_again_and_told_without_addresses(
    error: Exception,
) -> None:
    outcome = await outcome_of(program(raising(error)))
    assert isinstance(outcome, Shaken)
    assert not outcome.is_timeout
    assert "host" not in outcome.detail


async def test_step_that_takes_too_long_timed_out() -> None:
    async def slow(_context: Context) -> Mapping[str, Any]:
        await asyncio.sleep(60)
        return {}

    outcome = await outcome_of(program(slow, timeout_s=0.01))
    assert isinstance(outcome, Shaken)
    assert outcome.is_timeout


async def test_step_says_that_it_failed_and_whose_fault_it_is() -> None:
    error = StepError("There is no such person.", rule="person_unknown")
    assert await outcome_of(program(raising(error))) == Broke(
        RunError("customer", "sluice.workflow.step/person_unknown", "There is no such person.")
    )


async def test_step_that_sees_the_stop_ends_as_stopped() -> None:
    async def patient(context: Context) -> Mapping[str, Any]:
        await context.stop.wait()
        raise StoppedError("stopped")

    stop = asyncio.Event()
    stop.set()
    made = program(patient)
    outcome = await outcome_of(made, stop)
    assert outcome == Stop()
    state = made.begin(0.0)
    assert isinstance(state, State)
    assert made.next_move(made.apply(state, outcome, 1.0)) == Failed(CANCELED)


async def test_what_a_step_returns_is_what_is_read_again() -> None:
    async def done(_context: Context) -> Mapping[str, Any]:
        return {"rows": (1, 2)}

    async def later(_context: Context) -> Again:
        return Again(after_s=3.0, memory={"at": 1})

    assert await outcome_of(program(done)) == Did({"rows": [1, 2]})
    assert await outcome_of(program(later)) == Later(3.0, {"at": 1})


def test_state_of_a_step_that_is_no_more_is_refused() -> None:
    made = program(raising(OSError()))
    text = made.encode(State(started_at=0.0, now=0.0, step="gone"))
    with pytest.raises(ValueError, match="has no step gone"):
        made.decode(text)
