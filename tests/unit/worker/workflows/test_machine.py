"""How a run goes on (reference, cases 26 to 35, and what stands beside them)."""

import orjson
import pytest

from tests.unit.worker.workflows.arazzo import (
    NOW,
    SHOP,
    begun,
    document,
    one_workflow,
    planned,
    refusals,
    run,
    says,
    text_says,
)
from worker.workflows.core.machine import apply, begin, next_move
from worker.workflows.core.state import (
    Answer,
    Done,
    Elapsed,
    Failed,
    Lost,
    NoAnswer,
    Send,
    State,
    StepEnd,
    Stop,
)

LIST = "  - {stepId: a, operationId: listCarts}\n"
MAKE = "  - {stepId: a, operationId: makeCart}\n"
TIMEOUT = NoAnswer(kind="timeout", detail="")
REFUSED = NoAnswer(kind="network", detail="connection refused", was_sent=False)


def step(members: str, operation: str = "listCarts", after: str = "") -> str:
    """One step ``a`` with these members."""
    return f"  - stepId: a\n    operationId: {operation}\n{members}{after}"


def test_steps_run_in_order_and_outputs_keep_their_type() -> None:
    text = one_workflow(
        LIST + "  - {stepId: b, operationId: makeCart, outputs: {id: $response.body#/id}}\n",
        rest="  outputs: {id: $steps.b.outputs.id, none: $steps.b.outputs.id#/x}\n",
    )
    ran = run(planned(text), [says(), says(id=7)])
    assert ran.urls == ["GET https://shop.example/carts", "POST https://shop.example/carts"]
    assert ran.outputs == {"id": 7}
    assert [(one.step_id, one.visit, one.outcome) for one in ran.ended] == [
        ("a", 1, "succeeded"),
        ("b", 1, "succeeded"),
    ]


@pytest.mark.parametrize(
    ("status", "passed"), [(200, True), (204, True), (302, False), (404, False)]
)
def test_step_without_criteria_succeeds_with_2xx(status: int, *, passed: bool) -> None:
    ran = run(planned(one_workflow(LIST)), [Answer(status=status)])
    assert (ran.error is None) is passed


def test_case_26_retry_is_tried_as_often_as_it_says_then_the_next_action() -> None:
    members = (
        "    onFailure:\n"
        "    - {name: again, type: retry, retryAfter: 0.5, retryLimit: 3}\n"
        "    - {name: over, type: end}\n"
    )
    ran = run(planned(one_workflow(step(members))), [says(500)] * 9)
    assert len(ran.requests) == 4
    assert ran.waits == [0.5, 0.5, 0.5]
    assert ran.error is not None
    assert (ran.error.type, ran.error.attribution) == ("sluice.workflow.step/http", "platform")
    assert [one.attempt for one in ran.ended] == [1, 2, 3, 4]


def test_retry_after_of_an_answer_overrules_the_document() -> None:
    members = "    onFailure: [{name: again, type: retry, retryAfter: 5}]\n"
    answers = [says(503, headers={"Retry-After": "9"}), says()]
    ran = run(planned(one_workflow(step(members))), answers)
    assert ran.waits == [9.0]
    assert ran.outputs == {}


def test_retry_after_may_be_a_date() -> None:
    # 1 800 000 000 is 15 January 2027, 08:00:00 UTC.
    later = says(429, headers={"retry-after": "Fri, 15 Jan 2027 08:00:07 GMT"})
    broken = says(429, headers={"retry-after": "soon"})
    ran = run(planned(one_workflow(LIST)), [later, broken, says()])
    assert ran.waits == [7.0, 2.0]


HELPED = """\
workflows:
- workflowId: w
  steps:
  - stepId: a
    operationId: listCarts
    onFailure: [{name: again, type: retry, retryAfter: 4, retryLimit: 2, TARGET}]
  - {stepId: helper, operationId: makeCart}
  outputs: {}
- workflowId: login
  steps:
  - {stepId: b, operationId: makeCart}
"""


def test_case_27_retry_with_a_workflow_runs_it_first() -> None:
    made = planned(document(HELPED.replace("TARGET", "workflowId: login")))
    ran = run(made, [says(401), says(), says(), says()])
    assert [one.method for one in ran.requests] == ["GET", "POST", "GET", "POST"]
    assert ran.waits == [4.0]
    assert ran.outputs == {}


def test_retry_with_a_step_runs_it_first_and_comes_back() -> None:
    made = planned(document(HELPED.replace("TARGET", "stepId: helper")))
    ran = run(made, [says(401), says(), says(401), says(), says(), says()])
    assert [one.method for one in ran.requests] == ["GET", "POST", "GET", "POST", "GET", "POST"]
    assert ran.outputs == {}
    assert [(one.step_id, one.visit, one.attempt) for one in ran.ended][:3] == [
        ("a", 1, 1),
        ("helper", 1, 1),
        ("a", 1, 2),
    ]


@pytest.mark.parametrize("target", ["workflowId: login", "stepId: helper"])
def test_run_fails_when_what_runs_before_a_retry_fails(target: str) -> None:
    ran = run(planned(document(HELPED.replace("TARGET", target))), [says(401), says(400)])
    assert ran.error is not None
    assert "400" in ran.error.message


def test_case_28_a_steps_parameter_overrides_the_workflows() -> None:
    text = one_workflow(
        step("    parameters: [{name: b, in: query, value: own}]\n"),
        rest="  parameters: [{name: a, in: query, value: w}, {name: b, in: query, value: w}]\n",
    )
    assert run(planned(text), []).urls == ["GET https://shop.example/carts?a=w&b=own"]


def test_case_29_a_reusable_parameter_takes_another_value() -> None:
    text = one_workflow(
        step(
            "    parameters:\n    - {reference: $components.parameters.size, value: 5}\n"
            "    - {reference: $components.parameters.page}\n"
        ),
        rest="components:\n  parameters:\n    size: {name: size, in: query, value: 1}\n"
        "    page: {name: page, in: query, value: 2}\n",
    )
    assert run(planned(text), []).urls == ["GET https://shop.example/carts?size=5&page=2"]


def test_reusable_actions_are_followed() -> None:
    text = one_workflow(
        step("    onSuccess: [{reference: $components.successActions.stop}]\n")
        + "  - {stepId: b, operationId: makeCart}\n",
        rest="components: {successActions: {stop: {name: stop, type: end}}}\n",
    )
    assert len(run(planned(text), [says(), says()]).requests) == 1


NESTED = """\
workflows:
- workflowId: w
  inputs: {type: object, required: [token], properties: {token: {type: string}}}
  steps:
  - stepId: outer
    workflowId: inner
    parameters:
    - {name: token, value: $inputs.token}
    - {name: n, value: 3}
    successCriteria: [{condition: $statusCode == 200}, {condition: $outputs.made == 7}]
    outputs: {made: $outputs.made, same: $workflows.inner.outputs.made,
      n: $workflows.inner.inputs.n}
  - stepId: after
    operationId: getCart
    parameters: [{name: id, in: path, value: $steps.outer.outputs.made}]
  outputs: {made: $steps.outer.outputs.made, same: $steps.outer.outputs.same,
    n: $steps.outer.outputs.n}
- workflowId: inner
  inputs:
    type: object
    required: [token, n]
    properties: {token: {type: string}, n: {type: integer}, size: {type: integer, default: 9}}
  steps:
  - stepId: make
    operationId: makeCart
    parameters:
    - {name: Authorization, in: header, value: 'Bearer {$inputs.token}'}
    - {name: size, in: query, value: $inputs.size}
    outputs: {id: $response.body#/id}
  outputs: {made: $steps.make.outputs.id}
"""


def test_case_30_a_step_runs_a_nested_workflow_with_its_own_inputs_and_outputs() -> None:
    ran = run(planned(document(NESTED)), [says(id=7), says()], None, {"token": "env:BASIC"})
    assert ran.urls == [
        "POST https://shop.example/carts?size=9",
        "GET https://shop.example/carts/7",
    ]
    assert ran.requests[0].headers == (("Authorization", "Bearer QTpC"),)
    assert ran.outputs == {"made": 7, "same": 7, "n": 3}
    assert "QTpC" not in repr(ran.state)
    assert [one.step_id for one in ran.ended] == ["make", "outer", "after"]


def test_failure_inside_of_a_nested_workflow_is_the_failure_of_its_step() -> None:
    text = NESTED.replace(
        "    outputs: {made: $outputs.made,",
        "    onFailure: [{name: go, type: goto, stepId: last}]\n    outputs: {made: $outputs.made,",
    ).replace(
        "  outputs: {made: $steps",
        "  - {stepId: last, operationId: dropCart,"
        " parameters: [{name: id, in: path, value: x}]}\n  outputs: {made: $steps",
        1,
    )
    ran = run(planned(document(text)), [says(400), says()], None, {"token": "env:BASIC"})
    assert [one.method for one in ran.requests] == ["POST", "DELETE"]
    assert ran.outputs == {}


def test_nested_workflow_does_not_begin_with_inputs_that_it_does_not_take() -> None:
    text = NESTED.replace("{name: n, value: 3}", "{name: n, value: three}")
    ran = run(planned(document(text)), [], None, {"token": "env:BASIC"})
    assert ran.requests == []
    assert ran.error is not None
    assert ran.error.type == "sluice.workflow.run/inputs"
    assert "three" not in ran.error.message


def test_secret_is_handed_on_whole_or_not_at_all() -> None:
    text = NESTED.replace(
        "value: $inputs.token}\n    - {name: n", "value: 'x-{$inputs.token}'}\n    - {name: n"
    )
    assert [one.rule for one in refusals(document(text))] == ["secret-in-text"]


def test_case_31_replacements_set_parts_of_a_payload() -> None:
    members = (
        "    requestBody:\n      payload: {a: {b: 1, c: [1, 2]}, d: 4}\n"
        "      replacements:\n"
        "      - {target: /a/b, value: new}\n      - {target: /a/c/1, value: $inputs.n}\n"
        "      - {target: /a/c/-, value: {x: 1}}\n      - {target: /e, value: made}\n"
        "      - {target: /d, value: $inputs.gone}\n"
    )
    text = one_workflow(step(members, "makeCart"), inputs="n: {}, gone: {}")
    (request,) = run(planned(text), [], {"n": 9}).requests
    assert orjson.loads(request.body or b"") == {
        "a": {"b": "new", "c": [1, 9, {"x": 1}]},
        "d": 4,
        "e": "made",
    }
    assert request.headers == (("Content-Type", "application/json"),)


def test_replacement_that_leads_to_nothing_fails_the_step() -> None:
    members = "    requestBody: {payload: {}, replacements: [{target: /a/b, value: x}]}\n"
    ran = run(planned(one_workflow(step(members, "makeCart"))), [])
    assert ran.requests == []
    assert ran.error is not None
    assert "/a/b" in ran.error.message


def test_case_32_an_output_name_may_hold_dots() -> None:
    text = one_workflow(
        step("    outputs: {my.id: $response.body#/id, my: $response.body}\n")
        + "  - {stepId: b, operationId: getCart,"
        " parameters: [{name: id, in: path, value: 'x-$steps.a.outputs.my.id.y'}]}\n"
    )
    assert run(planned(text), [says(id=7)]).urls[1] == "GET https://shop.example/carts/x-7.y"


def test_case_33_a_body_that_is_not_the_json_it_says_is_shown() -> None:
    members = "    successCriteria: [{condition: $response.body.id == 1}]\n"
    html = text_says("<html>" + "x" * 500, "application/json")
    ran = run(planned(one_workflow(step(members))), [html])
    assert ran.error is not None
    assert ran.error.type == "sluice.workflow.step/criteria"
    assert "<html>" in ran.error.message
    assert len(ran.error.message) < 400


def test_case_35_a_selector_takes_its_value() -> None:
    text = one_workflow(
        step(
            "    outputs:\n      id: {context: $response.body, selector: '$.c[?@.ok].id',"
            " type: jsonpath}\n"
        ),
        rest="  outputs: {id: $steps.a.outputs.id}\n",
        version="1.1.0",
    )
    ran = run(planned(text), [says(c=[{"id": 1}, {"id": 2, "ok": True}])])
    assert ran.outputs == {"id": 2}


def test_goto_skips_steps_and_end_ends() -> None:
    text = one_workflow(
        step("    onSuccess: [{name: x, type: goto, stepId: c}]\n")
        + "  - {stepId: b, operationId: makeCart}\n"
        + "  - {stepId: c, operationId: listCarts, onSuccess: [{name: y, type: end}]}\n"
        + "  - {stepId: d, operationId: makeCart}\n"
    )
    ran = run(planned(text), [says()] * 4)
    assert [one.method for one in ran.requests] == ["GET", "GET"]
    assert ran.waits == []


def test_goto_to_a_workflow_does_not_come_back() -> None:
    text = document(
        "workflows:\n- workflowId: w\n  inputs: {type: object, properties: {n: {}}}\n  steps:\n"
        + step("    onSuccess: [{name: x, type: goto, workflowId: v}]\n")
        + "  - {stepId: b, operationId: makeCart}\n"
        "- workflowId: v\n  inputs: {type: object, properties: {n: {}}}\n  steps:\n"
        "  - {stepId: z, operationId: getCart,\n"
        "     parameters: [{name: id, in: path, value: $inputs.n}]}\n"
        "  outputs: {n: $inputs.n}\n"
    )
    ran = run(planned(text), [says()] * 4, {"n": 5})
    assert ran.urls[1:] == ["GET https://shop.example/carts/5"]
    assert ran.outputs == {"n": 5}


def test_workflows_that_send_a_run_to_and_fro_are_polite_and_end() -> None:
    text = document(
        "workflows:\n- workflowId: w\n  steps:\n"
        + step("    onSuccess: [{name: x, type: goto, workflowId: v}]\n")
        + "- workflowId: v\n  steps:\n"
        + step("    onSuccess: [{name: x, type: goto, workflowId: w}]\n")
    )
    ran = run(planned(text), [says()] * 2000)
    assert ran.error is not None
    assert ran.error.type == "sluice.workflow.step/loop-limit"
    assert len(ran.waits) > 100


DEPENDING = """\
workflows:
- workflowId: w
  dependsOn: [x, y]
  inputs: {type: object, properties: {n: {}}}
  steps:
  - {stepId: a, operationId: listCarts}
  outputs: {from: $workflows.y.outputs.id}
- workflowId: x
  dependsOn: [y]
  steps:
  - {stepId: b, operationId: makeCart, parameters: [{name: at, in: query, value: x}]}
- workflowId: y
  inputs: {type: object, required: [n], properties: {n: {}}}
  steps:
  - stepId: c
    operationId: makeCart
    parameters: [{name: at, in: query, value: $inputs.n}]
    outputs: {id: $response.body#/id}
  outputs: {id: $steps.c.outputs.id}
"""


def test_workflows_that_others_depend_on_run_first_and_once() -> None:
    text = DEPENDING.replace(
        "  dependsOn: [y]\n  steps",
        "  dependsOn: [y]\n  inputs: {type: object, properties: {n: {}}}\n  steps",
    )
    ran = run(planned(document(text)), [says(id=1), says(), says()], {"n": "yy"})
    assert [one.url.partition("?")[2] for one in ran.requests] == ["at=yy", "at=x", ""]
    assert ran.outputs == {"from": 1}


def test_run_fails_when_a_workflow_that_it_depends_on_cannot_begin() -> None:
    ran = run(planned(document(DEPENDING)), [], {"n": "yy"})
    assert ran.error is not None
    assert ran.error.type == "sluice.workflow.run/inputs"


GATE = """\
  - stepId: a
    operationId: listCarts
    onSuccess:
    - {name: x, type: goto, stepId: TARGET, criteria: [{condition: $response.body.ok == true}]}
  - {stepId: b, operationId: makeCart}
  - {stepId: c, operationId: makeCart}
"""


def test_gate_to_the_next_step_fails_and_a_detour_falls_through() -> None:
    gate = run(planned(one_workflow(GATE.replace("TARGET", "b"))), [says(ok=False)] * 3)
    assert gate.error is not None
    assert gate.error.type == "sluice.workflow.step/no-action"
    detour = run(planned(one_workflow(GATE.replace("TARGET", "c"))), [says(ok=False)] * 3)
    assert len(detour.requests) == 3
    strict = one_workflow(GATE.replace("TARGET", "b"), rest="x-sluice-strict: true\n")
    assert len(run(planned(strict), [says(ok=False)] * 3).requests) == 3


def test_actions_of_the_workflow_are_for_all_steps_and_overridden_by_name() -> None:
    text = one_workflow(
        step("    onFailure: [{name: x, type: end}]\n")
        + "  - {stepId: b, operationId: listCarts}\n",
        rest="  failureActions: [{name: x, type: retry, retryAfter: 3, retryLimit: 2}]\n"
        "  successActions: [{name: y, type: end, criteria: [{condition: $statusCode == 204}]}]\n",
    )
    made = planned(text)
    assert run(made, [says(404)] * 3).waits == []
    assert run(made, [says(), says(404), says(404), says(404)]).waits == [3.0, 3.0]
    assert len(run(made, [Answer(status=204)]).requests) == 1


def test_executor_retries_five_times_on_its_own() -> None:
    ran = run(planned(one_workflow(LIST)), [says(503), TIMEOUT, REFUSED, *[says(500)] * 9])
    assert ran.waits == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert ran.error is not None
    assert ran.error.attribution == "platform"


def test_what_may_not_be_repeated_is_not_retried_unless_it_never_left() -> None:
    made = planned(one_workflow(MAKE))
    assert len(run(made, [says(503), says()]).requests) == 1
    timed_out = run(made, [TIMEOUT, says()])
    assert timed_out.error is not None
    assert (timed_out.error.type, timed_out.error.attribution) == (
        "sluice.workflow.step/timeout",
        "platform",
    )
    assert run(made, [REFUSED, says()]).outputs == {}


@pytest.mark.parametrize(
    ("said", "is_repeatable"),
    [("safe", True), ("unsafe", False), ("{header: Idempotency-Key}", True)],
)
def test_document_says_what_may_be_repeated(said: str, *, is_repeatable: bool) -> None:
    made = planned(one_workflow(step(f"    x-sluice-idempotency: {said}\n", "makeCart")))
    move = next_move(made, begun(made))
    assert isinstance(move, Send)
    assert move.is_repeatable is is_repeatable
    ran = run(made, [says(503), says()])
    assert len(ran.requests) == (2 if is_repeatable else 1)
    assert len({one.headers for one in ran.requests}) == 1


def test_idempotency_key_is_another_one_in_another_visit() -> None:
    members = (
        "    x-sluice-idempotency: {header: Key}\n"
        "    onSuccess: [{name: x, type: goto, stepId: a}]\n"
    )
    ran = run(planned(one_workflow(step(members, "makeCart"))), [says(503), says(), says()])
    keys = [dict(one.headers)["Key"] for one in ran.requests]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_lost_request_that_may_not_be_repeated_fails_the_run() -> None:
    ran = run(planned(one_workflow(MAKE)), [Lost(), says()])
    assert ran.error is not None
    assert (ran.error.type, ran.error.attribution) == ("sluice.workflow.worker/lost", "platform")
    assert len(ran.requests) == 1


def test_step_on_which_workers_are_lost_again_and_again_fails_the_run() -> None:
    ran = run(planned(one_workflow(LIST)), [Lost()] * 5)
    assert len(ran.requests) == 3
    assert ran.error is not None
    assert ran.error.type == "sluice.workflow.worker/lost"


ASKING = """\
workflows:
- workflowId: w
  steps:
  - stepId: make
    operationId: makeCart
    x-sluice-idempotency: {ask: look}
    outputs: {id: $response.body#/id}
  outputs: {id: $steps.make.outputs.id}
- workflowId: look
  steps:
  - stepId: find
    operationId: listCarts
    outputs: {there: $response.body#/there, cart: $response.body#/cart}
  outputs: {done: $steps.find.outputs.there, body: $steps.find.outputs.cart}
"""


@pytest.mark.parametrize("event", [Lost(), TIMEOUT])
def test_request_whose_fate_is_unknown_is_asked_about(event: Lost | NoAnswer) -> None:
    made = planned(document(ASKING))
    there = run(made, [event, says(there=True, cart={"id": 7})])
    assert [one.method for one in there.requests] == ["POST", "GET"]
    assert there.outputs == {"id": 7}
    absent = run(made, [event, says(there=False), says(id=8)])
    assert [one.method for one in absent.requests] == ["POST", "GET", "POST"]
    assert absent.outputs == {"id": 8}
    unknown = run(made, [event, says(there="perhaps")])
    assert unknown.error is not None
    assert unknown.error.type == "sluice.workflow.worker/lost"


def test_run_ends_at_its_deadline() -> None:
    made = planned(one_workflow(LIST))
    ended = apply(made, begun(made), says(500), NOW + 7300)
    move = next_move(made, ended)
    assert isinstance(move, Failed)
    assert (move.error.type, move.error.attribution) == ("sluice.workflow.run/deadline", "platform")
    late = apply(made, begun(made), says(), NOW + 7300)
    assert isinstance(next_move(made, late), Done)


def test_timeout_of_a_step_and_of_the_run_bound_a_request() -> None:
    made = planned(one_workflow(step("    timeout: 1500\n"), version="1.1.0"))
    move = next_move(made, begun(made))
    assert isinstance(move, Send)
    assert move.timeout_s == 1.5
    assert (move.workflow_id, move.step_id, move.visit, move.attempt) == ("w", "a", 1, 1)
    assert move.max_redirects == 5


def test_stop_before_the_first_request_ends_the_run() -> None:
    made = planned(one_workflow(LIST))
    stopped = apply(made, begun(made), Stop(), NOW)
    assert stopped.error is not None
    assert stopped.frames == []


def test_event_that_does_not_belong_to_the_state_is_a_mistake_of_the_caller() -> None:
    made = planned(one_workflow(LIST))
    with pytest.raises(ValueError, match="event"):
        apply(made, begun(made), Elapsed(), NOW)
    waiting = apply(made, begun(made), says(503), NOW)
    for event in (says(), Lost(), TIMEOUT):
        with pytest.raises(ValueError, match="event"):
            apply(made, waiting, event, NOW)


def test_apply_leaves_the_state_that_it_was_given_alone() -> None:
    made = planned(
        one_workflow(step("    outputs: {id: $response.body#/id}\n") + MAKE.replace("a,", "b,"))
    )
    state = begun(made)
    before = repr(state)
    apply(made, state, says(id=1), NOW)
    assert repr(state) == before


def test_step_end_says_what_failed() -> None:
    ran = run(planned(one_workflow(LIST)), [says(404)])
    assert ran.ended == [
        StepEnd(
            workflow_id="w",
            step_id="a",
            visit=1,
            attempt=1,
            outcome="failed",
            status=404,
            error=ran.error,
        )
    ]


def test_path_parameter_without_a_value_fails_before_anything_is_sent() -> None:
    text = one_workflow(
        "  - {stepId: a, operationId: getCart,"
        " parameters: [{name: id, in: path, value: $inputs.id}]}\n",
        inputs="id: {type: string}",
    )
    ran = run(planned(text), [])
    assert ran.requests == []
    assert ran.error is not None
    assert ran.error.message == "Step a was not sent: the path parameter id has no value"


def test_poll_waits_as_long_as_the_document_says() -> None:
    members = (
        "    x-sluice-poll-seconds: 7\n"
        "    onSuccess: [{name: x, type: goto, stepId: a,"
        " criteria: [{condition: $response.body.go == true}]}]\n"
    )
    answers = [says(go=True), says(go=True, headers={"Retry-After": "3"}), says(go=False)]
    ran = run(planned(one_workflow(step(members))), answers)
    assert ran.waits == [7.0, 3.0]
    assert ran.outputs == {}


def test_credentials_of_the_description_come_from_the_input_of_their_name() -> None:
    shop = SHOP + (
        b"security: [{basicAuth: [], apiKey: []}]\ncomponents:\n  securitySchemes:\n"
        b"    basicAuth: {type: http, scheme: basic}\n"
        b"    apiKey: {type: apiKey, in: query, name: key}\n"
    )
    text = one_workflow(LIST, inputs="basicAuth: {}, apiKey: {}")
    (request,) = run(
        planned(text, shop), [], None, {"basicAuth": "env:BASIC", "apiKey": "env:KEY"}
    ).requests
    assert request.url.endswith("/carts?key=k-1")
    assert request.headers == (("Authorization", "Basic QTpC"),)
    own = step("    parameters: [{name: authorization, in: header, value: mine}]\n")
    (request,) = run(planned(one_workflow(own, inputs="basicAuth: {}"), shop), []).requests
    assert request.headers == (("authorization", "mine"),)


BOMB = step(
    "    requestBody: {payload: {a: $steps.a.outputs.sent, b: $steps.a.outputs.sent, c: GROW}}\n"
    "    outputs: {sent: $request.body}\n"
    "    onSuccess: [{name: x, type: goto, stepId: a}]\n",
    "makeCart",
)


@pytest.mark.parametrize("grow", ["x" * 1000, "x"], ids=["wide", "doubled"])
def test_values_that_grow_with_each_visit_end_the_run(grow: str) -> None:
    ran = run(planned(one_workflow(BOMB.replace("GROW", grow))), [says()] * 100)
    assert ran.error is not None
    assert (ran.error.type, ran.error.attribution) == (
        "sluice.workflow.config/document",
        "customer",
    )
    assert len(ran.requests) < 30


def test_values_that_are_nested_deeper_with_each_visit_end_the_run() -> None:
    text = BOMB.replace("b: $steps.a.outputs.sent, c: GROW", "c: 1").replace(
        "    onSuccess", "    x-sluice-poll-seconds: 0\n    onSuccess"
    )
    ran = run(planned(one_workflow(text)), [says()] * 300)
    assert ran.error is not None
    assert "too deep" in ran.error.message


def test_value_that_is_named_a_thousand_times_is_not_sent() -> None:
    items = ", ".join(["'{$inputs.big}!'"] * 1000)
    members = f"    requestBody: {{payload: [{items}]}}\n"
    made = planned(one_workflow(step(members, "makeCart"), inputs="big: {}"))
    ran = run(made, [], {"big": "x" * 60_000})
    assert ran.requests == []
    assert ran.error is not None
    assert ran.error.message == "Step a was not sent: its values are larger than 10,485,760 bytes"


def test_cookies_are_sent_together_and_cannot_be_broken_out_of() -> None:
    members = (
        "    parameters:\n    - {name: a, in: cookie, value: 1}\n"
        "    - {name: b, in: cookie, value: $inputs.b}\n"
    )
    made = planned(one_workflow(step(members), inputs="b: {}"))
    assert run(made, [], {"b": "x"}).requests[0].headers == (("Cookie", "a=1; b=x"),)
    assert run(made, []).requests[0].headers == (("Cookie", "a=1"),)
    broken = run(made, [], {"b": "x; admin=1"})
    assert broken.requests == []
    assert broken.error is not None
    assert "admin" not in broken.error.message


def test_text_payload_with_a_missing_value_is_not_sent() -> None:
    members = "    requestBody: {contentType: text/plain, payload: 'x {$inputs.b}'}\n"
    ran = run(planned(one_workflow(step(members, "makeCart"), inputs="b: {}")), [])
    assert ran.error is not None
    assert "payload" in ran.error.message


def test_answer_that_the_shell_refused_fails_the_step() -> None:
    hostile = NoAnswer(kind="hostile", detail="it redirects to a private address")
    ran = run(planned(one_workflow(LIST)), [hostile])
    assert ran.error is not None
    assert ran.error.attribution == "customer"
    assert "private address" in ran.error.message


def test_criterion_of_a_step_that_runs_a_workflow_may_fail_it() -> None:
    ran = run(planned(document(NESTED)), [says(id=8)], None, {"token": "env:BASIC"})
    assert ran.error is not None
    assert ran.error.type == "sluice.workflow.step/criteria"
    assert "$outputs.made == 7" in ran.error.message


def test_goto_to_a_workflow_that_does_not_take_the_inputs_fails() -> None:
    text = document(
        "workflows:\n- workflowId: w\n  steps:\n"
        + step("    onSuccess: [{name: x, type: goto, workflowId: v}]\n")
        + "- workflowId: v\n  inputs: {type: object, required: [n]}\n  steps:\n"
        + LIST
    )
    ran = run(planned(text), [says()])
    assert ran.error is not None
    assert ran.error.type == "sluice.workflow.run/inputs"


def test_undecidable_criterion_fails_its_step_and_says_why() -> None:
    members = (
        "    successCriteria:\n"
        "    - {context: $response.body, condition: '^{$response.body#/p}', type: regex}\n"
    )
    ran = run(planned(one_workflow(step(members))), [says(p="(")])
    assert ran.error is not None
    assert "not a regular expression" in ran.error.message


def test_inputs_that_are_no_json_are_refused() -> None:
    made = planned(one_workflow(LIST, inputs="a: {}"))
    deep: object = 1
    for _ in range(70):
        deep = [deep]
    for value in (1 << 70, deep, object()):
        assert not isinstance(begin(made, {"a": value}, {}, run_id="r", now=NOW), State)


def test_header_that_is_not_utf_8_does_not_break_the_state() -> None:
    text = one_workflow(step("    outputs: {h: $response.header.X}\n"))
    answer = Answer(status=200, headers={"X": "caf\udce9"})
    assert run(planned(text), [answer]).outputs == {}


def test_retries_are_counted_anew_at_each_visit() -> None:
    members = (
        "    onFailure: [{name: again, type: retry, retryAfter: 1}]\n"
        "    onSuccess: [{name: x, type: goto, stepId: a}]\n"
    )
    answers = [says(500), says(), says(500), says(), says(500), says(500)]
    ran = run(planned(one_workflow(step(members))), answers)
    assert len(ran.requests) == 6
    assert ran.error is not None


def test_clock_that_goes_back_changes_no_wait() -> None:
    made = planned(one_workflow(LIST))
    waiting = apply(made, begun(made), says(503), NOW - 50)
    assert waiting.resume_at == NOW + 1


@pytest.mark.parametrize("event", [REFUSED, NoAnswer(kind="unsendable", detail="a line break")])
def test_request_that_never_left_is_not_asked_about(event: NoAnswer) -> None:
    ran = run(planned(document(ASKING)), [event, says(id=7)])
    assert "GET" not in [one.method for one in ran.requests]
