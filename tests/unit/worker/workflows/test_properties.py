"""Whatever comes back, a run ends within its bounds, and goes on from JSON as from memory."""

from typing import Final

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.worker.workflows.arazzo import NOW, begun, document, planned, says, shipped
from worker.workflows.core.machine import apply, next_move
from worker.workflows.core.planned import Plan
from worker.workflows.core.state import (
    MAX_RUN_S,
    MAX_VISITS,
    Answer,
    Done,
    Elapsed,
    Event,
    Failed,
    FileBody,
    Lost,
    NoAnswer,
    Send,
    State,
    Stop,
    Wait,
)

TANGLED: Final = """\
workflows:
- workflowId: w
  dependsOn: [first]
  steps:
  - stepId: a
    operationId: listCarts
    outputs: {x: $response.body#/x}
    onSuccess:
    - {name: loop, type: goto, stepId: a, criteria: [{condition: $response.body.x == 1}]}
    - {name: on, type: goto, stepId: b, criteria: [{condition: '!($response.body.x == 1)'}]}
    onFailure:
    - name: helped
      type: retry
      retryAfter: 1
      retryLimit: 3
      workflowId: first
      criteria: [{condition: $statusCode == 401}]
    - name: stepped
      type: retry
      stepId: b
      retryLimit: 2
      criteria: [{condition: $statusCode == 403}]
    - {name: away, type: goto, workflowId: other, criteria: [{condition: $statusCode == 404}]}
    - {name: anyway, type: goto, stepId: b}
  - stepId: b
    operationId: makeCart
    x-sluice-idempotency: {ask: look}
    onFailure: [{name: anyway, type: goto, stepId: a, criteria: [{condition: $statusCode != 400}]}]
    onSuccess: [{name: back, type: goto, stepId: a, criteria: [{condition: $response.body.x == 2}]}]
  - {stepId: c, workflowId: inner, onFailure: [{name: retry, type: retry, retryLimit: 2}]}
  outputs: {x: $steps.a.outputs.x}
- workflowId: first
  failureActions: [{name: more, type: retry, retryAfter: 1, retryLimit: 9}]
  steps: [{stepId: f, operationId: listCarts}]
- workflowId: inner
  steps: [{stepId: i, operationId: makeCart, onFailure: [{name: again, type: goto, stepId: i}]}]
- workflowId: other
  steps:
  - {stepId: o, operationId: listCarts, onSuccess: [{name: home, type: goto, workflowId: w}]}
- workflowId: look
  failureActions: [{name: more, type: retry, retryLimit: 9}]
  steps: [{stepId: l, operationId: listCarts, outputs: {x: $response.body#/done}}]
  outputs: {done: $steps.l.outputs.x}
"""
PLAN: Final = planned(document(TANGLED))
EXPORT: Final = shipped("export-cohort-members")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
BODIES = st.builds(
    lambda more, x, done, status: {**more, "x": x, "done": done, "status": status},
    st.dictionaries(st.sampled_from(["request_id", "async_status", "y"]), JSON, max_size=2),
    st.sampled_from([0, 1, 1, 2, None]),
    st.sampled_from([True, False, None]),
    st.sampled_from(["queued", "complete", "odd"]),
)
CODES = st.sampled_from([*[200] * 9, 202, 302, 400, 401, 403, 404, 429, 500, 503])
"""Mostly what lets a run go on."""
EVENTS: st.SearchStrategy[Answer | NoAnswer | Lost] = st.one_of(
    *[st.builds(lambda code, body: says(code, **body), CODES, BODIES)] * 4,
    st.builds(Answer, status=CODES, body=st.binary(max_size=20)),
    st.builds(
        Answer,
        status=CODES,
        headers=st.just({"content-type": "application/json", "Retry-After": "0"}),
        body=st.binary(max_size=20),
    ),
    st.just(Answer(status=200, body=FileBody(id="f", size_bytes=9, media_type="a/b", sha256="c"))),
    st.builds(
        NoAnswer,
        kind=st.sampled_from(["timeout", "network", "unsendable", "hostile"]),
        detail=st.text(max_size=5),
        was_sent=st.booleans(),
    ),
    st.just(Lost()),
)


def through_json(state: State) -> State:
    return msgspec.json.decode(msgspec.json.encode(state), type=State)


def drive(plan: Plan, state: State, events: list[Answer | NoAnswer | Lost]) -> tuple[State, int]:
    """Answer in a circle until the run ends; return the number of requests too."""
    now, sent = NOW, 0
    while not state.is_over:
        move = next_move(plan, state)
        event: Event
        if isinstance(move, Wait):
            assert now <= move.until <= NOW + MAX_RUN_S
            now, event = move.until, Elapsed()
        else:
            assert isinstance(move, Send)
            event = events[sent % len(events)]
            sent += 1
            now += 0.01
        after = apply(plan, state, event, now)
        again = through_json(after)
        assert again == after
        assert repr(next_move(plan, again)) == repr(next_move(plan, after))
        state = again
    return state, sent


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, min_size=5, max_size=15))
def test_run_ends_within_its_bounds_whatever_is_answered(
    events: list[Answer | NoAnswer | Lost],
) -> None:
    state, _ = drive(PLAN, begun(PLAN), events)
    assert all(visits <= MAX_VISITS for visits in state.visits.values())
    assert isinstance(next_move(PLAN, state), Done | Failed)
    assert state.frames == []


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENTS, min_size=3, max_size=10))
def test_shipped_run_ends_within_its_bounds_whatever_is_answered(
    events: list[Answer | NoAnswer | Lost],
) -> None:
    state, sent = drive(EXPORT, begun(EXPORT, {"cohortId": "c"}, {"basicAuth": "env:B"}), events)
    # Each visit may be tried again five times, and lost twice.
    assert sent <= (MAX_VISITS + 2) * 8
    assert state.is_over


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, min_size=5, max_size=15), st.integers(0, 30))
def test_stop_ends_a_run_wherever_it_is(
    events: list[Answer | NoAnswer | Lost], stop_after: int
) -> None:
    state, now = begun(PLAN), NOW
    for at in range(stop_after):
        move = next_move(PLAN, state)
        if isinstance(move, Wait):
            now = move.until
            state = apply(PLAN, state, Elapsed(), now)
        elif isinstance(move, Send):
            state = apply(PLAN, state, events[at % len(events)], now)
    was_over = state.is_over
    stopped = apply(PLAN, state, Stop(), now)
    assert stopped.is_over
    if not was_over:
        assert stopped.error is not None
        assert stopped.error.type == "sluice.workflow.run/cancel"
