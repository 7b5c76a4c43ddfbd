"""The machine: which request comes next, and what an answer makes of a run.

``apply`` takes a run from one place where something outside has to happen (a request, a wait) to
the next, or to its end. In between it goes from move to move; each is a function that returns the
one after it, so depth does not grow with the length of a run.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import orjson

from sluice.core.depth import depth_of
from sluice.workflows.core.input_problem import InputProblem
from sluice.workflows.core.runs import CANCELED, RunError
from worker.workflows.core.calls import MAX_REDIRECTS, encode
from worker.workflows.core.expressions import Kept, TooMuchError
from worker.workflows.core.hearing import MAX_BODY_DEPTH
from worker.workflows.core.planned import Plan
from worker.workflows.core.rendering import current_step, rendered
from worker.workflows.core.running import Run
from worker.workflows.core.state import (
    MAX_RUN_S,
    Done,
    Elapsed,
    Event,
    Failed,
    Frame,
    Move,
    Send,
    State,
    Stop,
    Wait,
)

MAX_MOVES: Final = 20_000
"""Inside of one transition; a document within its bounds stays far below."""


def begin(
    plan: Plan,
    inputs: Mapping[str, object],
    secrets: Mapping[str, str],
    *,
    run_id: str,
    now: float,
) -> State | tuple[InputProblem, ...]:
    """Return the first state of a run, or what is wrong with its inputs.

    Args:
        plan: What is run.
        inputs: Values of the inputs that are not secret.
        secrets: References of the others, such as ``env:AMPLITUDE_KEY``: kept, shown, never read.
        run_id: Names the run; ids of idempotent requests are made from it.
        now: Unix seconds.
    """
    schema = plan.workflows[plan.root].schema
    if not _is_json(inputs):
        return (InputProblem("", "is no JSON, too deep, or has whole numbers beyond 64 bits"),)
    values = schema.filled(inputs)
    problems = schema.problems(values, frozenset(secrets))
    if problems:
        return problems
    kept = {name: Kept(value=value) for name, value in values.items()}
    kept |= {name: Kept(secret=reference) for name, reference in secrets.items()}
    state = State(run_id=run_id, digest=plan.digest, started_at=now, now=now)
    state.frames.append(Frame(workflow_id=plan.root, purpose="root", inputs=kept))
    _go(Run(plan, state).arrive, state=state)
    return _settled(state)


def next_move(plan: Plan, state: State) -> Move:
    """Return what has to happen for the run to go on, or how it ended."""
    _check(plan, state)
    if state.error is not None:
        return Failed(state.error)
    if state.outputs is not None:
        return Done(state.outputs)
    if state.resume_at is not None:
        return Wait(state.resume_at, is_poll=state.on_resume == "arrive")
    frame, step = state.frames[-1], current_step(plan, state)
    request = encode(rendered(plan, state).call)
    is_read = request.method in ("GET", "HEAD")
    left = max(state.started_at + MAX_RUN_S - state.now, 1.0)
    return Send(
        workflow_id=frame.workflow_id,
        step_id=step.id,
        visit=frame.visit,
        attempt=frame.attempt,
        request=request,
        timeout_s=min(step.timeout_s, left),
        max_redirects=0 if step.wants_redirect or not is_read else MAX_REDIRECTS,
        may_leave_origin=step.call is not None and step.call.operation.may_redirect,
        is_repeatable=step.call is not None and step.call.repeat.is_safe,
    )


def apply(plan: Plan, state: State, event: Event, now: float) -> State:
    """Return the state after something happened. A run that is over stays as it is.

    Args:
        plan: The plan that the state belongs to.
        state: Left as it is.
        event: ``Elapsed`` after a ``Wait``; ``Answer``, ``NoAnswer`` or ``Lost`` after a ``Send``;
            ``Stop`` at any time between two of these.
        now: Unix seconds; time does not go back.

    Raises:
        ValueError: The event does not belong to the state's next move, or the plan to the state.
    """
    _check(plan, state)
    if state.is_over:
        return state
    changed = _copy(state)
    changed.now = max(now, state.now)
    changed.ended = []
    run = Run(plan, changed)
    if isinstance(event, Stop):
        changed.error = CANCELED
    elif isinstance(event, Elapsed) is not (state.resume_at is not None):
        raise ValueError("the event does not belong to the state")
    elif isinstance(event, Elapsed):
        _go(run.resume, state=changed)
    else:
        _go(lambda: run.heard(event), state=changed)
    if not changed.is_over and changed.now - changed.started_at >= MAX_RUN_S:
        changed.error = _over_time(plan, changed)
    return _settled(changed)


def _is_json(inputs: Mapping[str, object]) -> bool:
    try:
        text = orjson.dumps(dict(inputs))
    except orjson.JSONEncodeError:
        return False
    return depth_of(text) <= MAX_BODY_DEPTH


def _settled(state: State) -> State:
    """Drop what a run that is over does not need."""
    if state.is_over:
        state.frames, state.resume_at, state.memory = [], None, {}
    return state


def _check(plan: Plan, state: State) -> None:
    if plan.digest != state.digest:
        raise ValueError("the plan is not the one that the run was begun with")


Thunk = Callable[[], object]


def _go(move: Thunk, *, state: State) -> None:
    """Go from move to move; values that grow without end, and moves, end the run."""
    following: object = move
    try:
        for _ in range(MAX_MOVES):
            if not callable(following):
                return
            following = following()
    except TooMuchError as error:
        message = f"The run keeps too much: {error}"
    else:
        message = f"The run made {MAX_MOVES:,} moves without a request"
    state.error = RunError("customer", "sluice.workflow.config/document", message)


def _over_time(plan: Plan, state: State) -> RunError:
    step = current_step(plan, state)
    hours = MAX_RUN_S / 3600
    if state.frames[-1].visit > 1 or (state.resume_at and state.on_resume == "arrive"):
        message = f"Step {step.id} was still being repeated after {hours:g} h"
        return RunError("customer", "sluice.workflow.step/loop-limit", message)
    message = f"The run took longer than {hours:g} h, at step {step.id}"
    return RunError("platform", "sluice.workflow.run/deadline", message)


def _copy(state: State) -> State:
    """Return a copy whose own parts can be changed; values inside are shared and never changed."""
    return msgspec.structs.replace(
        state,
        frames=[
            msgspec.structs.replace(frame, retries=dict(frame.retries), outputs=dict(frame.outputs))
            for frame in state.frames
        ],
        visits=dict(state.visits),
        results=dict(state.results),
        memory=dict(state.memory),
    )
