"""Built-in types go from step to step, wait, try again, and end."""

import pytest

from sluice.workflows.core.runs import CANCELED, RunError
from worker.workflows.core.builtin_steps import (
    MAX_AGAIN_S,
    MAX_ATTEMPTS,
    MAX_RUN_S,
    Broke,
    Did,
    Event,
    Later,
    Shaken,
    State,
    apply,
    begin,
    next_wait,
)
from worker.workflows.core.state import Elapsed, Failed, Lost, Stop, Wait

STEPS = ("read", "write")


def after(*events: Event, state: State | None = None) -> State:
    state = state or begin(STEPS, {"a": 1}, 100.0)
    for event in events:
        state = apply("replay", STEPS, state, event, state.now + 1)
    return state


def test_steps_follow_each_other_and_the_last_ends_the_run() -> None:
    state = after(Did({"rows": 3}))
    assert (state.step, state.outputs, state.is_done) == ("write", {"read": {"rows": 3}}, False)
    assert [(one.step_id, one.outcome) for one in state.ended] == [("read", "succeeded")]
    state = after(Did({"rows": 3}), Did({"sent": 3}))
    assert state.is_done
    assert state.outputs["write"] == {"sent": 3}
    assert after(Stop(), state=state).error is None, "a run that is over stays as it is"


def test_step_that_asks_is_called_again_with_its_memory_after_a_while() -> None:
    state = after(Later(5.0, {"job": "j"}))
    assert next_wait(state) == Wait(106.0, is_poll=True)
    assert state.ended == ()
    state = after(Elapsed(), state=state)
    assert (next_wait(state), state.memory, state.attempt) == (None, {"job": "j"}, 1)
    assert after(Did({}), state=state).memory == {}
    long = after(Later(1e9, {}))
    assert long.resume_at == 101.0 + MAX_AGAIN_S


def test_platform_failures_are_tried_again_with_growing_waits_and_then_end_the_run() -> None:
    state = begin(STEPS, {}, 0.0)
    waits = []
    for _ in range(MAX_ATTEMPTS - 1):
        state = apply("replay", STEPS, state, Shaken("the queue is away"), state.now)
        waiting = next_wait(state)
        assert isinstance(waiting, Wait)
        assert not waiting.is_poll
        assert state.ended[0].outcome == "up for retry"
        waits.append(waiting.until - state.now)
        state = apply("replay", STEPS, state, Elapsed(), waiting.until)
    assert waits[:7] == sorted(waits[:7])
    assert 240 < sum(waits) < 660
    state = apply("replay", STEPS, state, Shaken("the queue is away"), state.now)
    assert state.error is not None
    assert (state.error.attribution, state.error.type) == (
        "platform",
        "sluice.workflow.step/failed",
    )
    assert "the queue is away" in state.error.message


def test_step_that_gets_further_has_all_its_tries_again() -> None:
    state = after(*[one for _ in range(8) for one in (Shaken("x"), Elapsed())])
    assert state.failures == 8
    assert after(Later(1.0, {}), state=state).failures == 0


def test_time_out_says_so() -> None:
    state = after(*[one for _ in range(9) for one in (Shaken("x", is_timeout=True), Elapsed())])
    state = after(Shaken("x", is_timeout=True), state=state)
    assert state.error is not None
    assert state.error.type == "sluice.workflow.step/timeout"


def test_lost_workers_are_forgiven_twice_at_one_step() -> None:
    state = after(Lost(), Lost())
    assert next_wait(state) is None
    assert state.attempt == 3
    assert isinstance(next_wait(after(Lost(), state=state)), Failed)
    assert after(Did({}), Lost(), state=state).error is None
    error = after(Lost(), state=state).error
    assert error is not None
    assert error.type == "sluice.workflow.worker/lost"


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (Stop(), CANCELED),
        (
            Broke(RunError("customer", "sluice.workflow.step/failed", "no such person")),
            RunError("customer", "sluice.workflow.step/failed", "no such person"),
        ),
    ],
)
def test_stop_and_what_a_step_says_of_itself_end_the_run(event: Event, error: RunError) -> None:
    state = after(event)
    assert next_wait(state) == Failed(error)


def test_run_ends_after_its_longest_time() -> None:
    state = begin(STEPS, {}, 0.0)
    late = apply("erase", STEPS, state, Later(60.0, {}), MAX_RUN_S)
    assert late.error is not None
    assert late.error.type == "sluice.workflow.run/deadline"
    done = apply("erase", ("read",), begin(("read",), {}, 0.0), Did({}), MAX_RUN_S)
    assert done.is_done
