"""Documents that are wrong: each is refused before anything is sent, with its line and its rule."""

from dataclasses import dataclass

import pytest

from sluice.workflows.core.document import parse
from tests.unit.worker.workflows.arazzo import SHOP, document, one_workflow, refusals
from worker.workflows.core.plan import plan
from worker.workflows.core.planned import Plan

GET = "  - {stepId: a, operationId: listCarts}\n"


@dataclass(frozen=True)
class Broken:
    """A document, and the line and rule of what is wrong with it first."""

    text: bytes
    line: int
    rule: str
    shop: bytes | str = SHOP


def step(members: str, **options: str) -> bytes:
    """A document whose one step, at line 8, has these members."""
    return one_workflow(f"  - stepId: a\n    operationId: listCarts\n{members}", **options)


def criterion(text: str, **options: str) -> bytes:
    """A document with one criterion, at line 11."""
    return step(f"    successCriteria:\n    - {{{text}}}\n", **options)


def action(text: str, *, list_name: str = "onSuccess", **options: str) -> bytes:
    """A document with one action, at line 10."""
    return step(f"    {list_name}:\n    - {{{text}}}\n", **options)


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (at, at, b",".join([b"*%c" % (at - 1)] * 10)) for at in b"bcdefgh"
)

BROKEN = {
    "not YAML": Broken(b"arazzo: [1\n", 2, "yaml"),
    "not UTF-8": Broken(b"\xff\xfe\xff", 1, "yaml"),
    "control character": Broken(b"a: \x00", 1, "yaml"),
    "nothing": Broken(b"", 1, "yaml"),
    "two documents": Broken(b"a: 1\n---\nb: 2\n", 2, "yaml"),
    "unknown alias": Broken(b"a: 1\nb: *c\n", 2, "yaml"),
    "alias of itself": Broken(b"a: &a [*a]\n", 1, "too-deep"),
    "aliases that explode": Broken(BOMB, 1, "too-many-values"),
    "too deep": Broken(b"[" * 100 + b"]" * 100, 1, "too-deep"),
    "much too deep": Broken(b"[" * 5000, 1, "too-deep"),
    "too long": Broken(b"#" * 300_000, 1, "too-large"),
    "binary tag": Broken(b"a: 1\nb: !!binary aaaa\n", 2, "yaml-tag"),
    "foreign tag": Broken(b"a: !!python/object:os.system x\n", 1, "yaml-tag"),
    "merge key": Broken(b"a: &a {b: 1}\nc:\n  <<: *a\n", 3, "member-name"),
    "member twice": Broken(b"arazzo: 1.0.1\narazzo: 1.0.1\n", 2, "duplicate-member"),
    "not an object": Broken(b"- 1\n", 1, "type"),
    "other version": Broken(document("workflows: []\n", "2.0.0"), 1, "version"),
    "no workflows": Broken(document("x-a: 1\n"), 1, "missing"),
    "empty workflows": Broken(document("workflows: []\n"), 5, "empty"),
    "no steps": Broken(document("workflows:\n- {workflowId: w, steps: []}\n"), 6, "empty"),
    "misspelt member": Broken(step("    sucessCriteria: []\n"), 10, "member-unknown"),
    "1.1 member in 1.0": Broken(step("    timeout: 5\n"), 10, "member-later"),
    "timeout below zero": Broken(step("    timeout: -1\n", version="1.1.0"), 10, "type"),
    "text where a list is": Broken(step("    parameters: x\n"), 10, "type"),
    "workflow id with a dot": Broken(
        document("workflows:\n- workflowId: a.b\n  steps:\n" + GET), 6, "form"
    ),
    "output name with a blank": Broken(step("    outputs: {a b: $response.body}\n"), 10, "form"),
    "unknown action type": Broken(action("name: x, type: jump"), 11, "word-unknown"),
    "retry on success": Broken(action("name: x, type: retry"), 11, "word-unknown"),
    "reusable object with more": Broken(
        action("reference: $components.successActions.x, x-a: 1"), 11, "member-unknown"
    ),
    "no target": Broken(one_workflow("  - stepId: a\n"), 8, "step-target"),
    "two targets": Broken(step("    workflowId: w\n"), 8, "step-target"),
    "AsyncAPI step": Broken(
        one_workflow("  - {stepId: a, channelPath: x, action: send}\n", version="1.1.0"),
        8,
        "asyncapi",
    ),
    "AsyncAPI source": Broken(
        one_workflow(GET).replace(b"type: openapi", b"type: asyncapi"), 4, "asyncapi"
    ),
    "querystring": Broken(
        step("    parameters:\n    - {name: a, in: querystring, value: x}\n", version="1.1.0"),
        11,
        "querystring",
    ),
    "step id twice": Broken(one_workflow(GET + GET.replace("list", "make")), 9, "duplicate-step"),
    "workflow id twice": Broken(
        document(
            f"workflows:\n- workflowId: w\n  steps:\n{GET}"
            f"- workflowId: w\n  x-a: 1\n  steps:\n{GET}"
        ),
        9,
        "duplicate-workflow",
    ),
    "source twice": Broken(
        one_workflow(GET).replace(b"workflows:", b"- {name: shop, url: b.yaml}\nworkflows:"),
        5,
        "duplicate-source",
    ),
    "parameter twice": Broken(
        step(
            "    parameters:\n    - {name: a, in: query, value: 1}\n"
            "    - {name: a, in: query, value: 2}\n"
        ),
        12,
        "duplicate-parameter",
    ),
    "same item twice": Broken(
        step(
            "    parameters:\n    - {name: a, in: query, value: 1}\n"
            "    - {name: a, in: query, value: 1}\n"
        ),
        12,
        "duplicate-item",
    ),
    "action twice": Broken(
        step("    onSuccess:\n    - {name: x, type: end}\n    - {name: x, type: end, x-a: 1}\n"),
        12,
        "duplicate-action",
    ),
    "goto nowhere": Broken(action("name: x, type: goto, stepId: zzz"), 11, "goto-unknown"),
    "goto without target": Broken(action("name: x, type: goto"), 11, "action-target"),
    "goto unknown workflow": Broken(
        action("name: x, type: goto, workflowId: zzz"), 11, "goto-unknown"
    ),
    "retry with two targets": Broken(
        action("name: x, type: retry, stepId: a, workflowId: w", list_name="onFailure"),
        11,
        "action-target",
    ),
    "action parameters without workflow": Broken(
        action("name: x, type: end, parameters: [{name: a, value: 1}]", version="1.1.0"),
        11,
        "action-target",
    ),
    "reusable action that is not there": Broken(
        action("reference: $components.successActions.x"), 11, "reference-unknown"
    ),
    "dependsOn nowhere": Broken(
        one_workflow(GET, rest="  dependsOn: [zzz]\n"), 9, "depends-unknown"
    ),
    "dependsOn itself": Broken(one_workflow(GET, rest="  dependsOn: [w]\n"), 6, "circle"),
    "step depends on a later one": Broken(
        one_workflow("  - {stepId: a, operationId: listCarts, dependsOn: [a]}\n", version="1.1.0"),
        8,
        "depends-unknown",
    ),
    "workflow inside of itself": Broken(
        one_workflow("  - {stepId: a, workflowId: w}\n"), 6, "circle"
    ),
    "unknown workflow": Broken(
        one_workflow("  - {stepId: a, workflowId: zzz}\n"), 8, "workflow-unknown"
    ),
    "workflow of another document": Broken(
        one_workflow("  - {stepId: a, workflowId: $sourceDescriptions.b.c}\n"),
        8,
        "workflow-unknown",
    ),
    "body for a workflow": Broken(
        document(
            f"workflows:\n- workflowId: v\n  steps:\n{GET}- workflowId: w\n  steps:\n"
            "  - stepId: a\n    workflowId: v\n    requestBody: {payload: 1}\n"
        ),
        13,
        "body-on-workflow",
    ),
    "unknown operation": Broken(
        one_workflow("  - {stepId: a, operationId: zzz}\n"), 8, "operation-unknown"
    ),
    "operation of an unknown source": Broken(
        one_workflow("  - {stepId: a, operationId: $sourceDescriptions.b.getCart}\n"),
        8,
        "operation-unknown",
    ),
    "operation path to nothing": Broken(
        one_workflow(
            "  - {stepId: a, operationPath: '{$sourceDescriptions.shop.url}#/paths/~1x/get'}\n"
        ),
        8,
        "operation-unknown",
    ),
    "operation path of another form": Broken(
        one_workflow("  - {stepId: a, operationPath: /carts}\n"), 8, "operation-unknown"
    ),
    "source that cannot be read": Broken(
        one_workflow(GET), 4, "source-unreadable", "lies outside of the folder of workflows"
    ),
    "source that is no OpenAPI": Broken(one_workflow(GET), 4, "source-type", b"swagger: '2.0'\n"),
    "source that is no YAML": Broken(one_workflow(GET), 4, "yaml", b"a: [\n"),
    "server that is not there": Broken(
        one_workflow(GET),
        8,
        "server-missing",
        SHOP.replace(b"servers:\n- url: https://shop.example\n", b""),
    ),
    "unknown adapter": Broken(
        one_workflow(GET), 8, "adapter-unknown", SHOP + b"x-sluice-adapter: zzz\n"
    ),
    "path parameter that is not given": Broken(
        one_workflow("  - {stepId: a, operationId: getCart}\n"), 8, "parameter-missing"
    ),
    "path parameter that is not in the path": Broken(
        step("    parameters: [{name: zzz, in: path, value: 1}]\n"), 10, "parameter-unknown"
    ),
    "parameter without a place": Broken(
        step("    parameters: [{name: zzz, value: 1}]\n"), 10, "parameter-place"
    ),
    "input that is not declared": Broken(
        step("    parameters: [{name: a, in: query, value: $inputs.zzz}]\n"),
        10,
        "expression-dangling",
    ),
    "output of an unknown step": Broken(
        step("    parameters: [{name: a, in: query, value: $steps.b.outputs.c}]\n"),
        10,
        "expression-dangling",
    ),
    "output that a step does not have": Broken(
        step("    outputs: {c: $response.body}\n    requestBody: {payload: $steps.a.outputs.d}\n"),
        11,
        "expression-dangling",
    ),
    "answer in a request": Broken(
        step("    parameters: [{name: a, in: query, value: $response.body}]\n"),
        10,
        "expression-dangling",
    ),
    "embedded expression that leads nowhere": Broken(
        step("    parameters: [{name: a, in: query, value: 'x-{$inputs.zzz}'}]\n"),
        10,
        "expression-dangling",
    ),
    "output that is no expression": Broken(
        step("    outputs: {c: plain}\n"), 10, "output-expression"
    ),
    "content type that needs text": Broken(
        step("    requestBody: {contentType: image/png, payload: {a: 1}}\n"), 10, "content-type"
    ),
    "replacement by XPath": Broken(
        step("    requestBody: {payload: {}, replacements: [{target: a/b, value: x}]}\n"),
        10,
        "replacement-target",
    ),
    "unknown idempotency": Broken(step("    x-sluice-idempotency: maybe\n"), 10, "idempotency"),
    "idempotency that asks nobody": Broken(
        step("    x-sluice-idempotency: {ask: zzz}\n"), 10, "idempotency"
    ),
    "poll that goes back in time": Broken(step("    x-sluice-poll-seconds: -1\n"), 10, "type"),
    "xpath": Broken(
        criterion("context: $response.body, condition: /a, type: xpath"), 11, "criterion-xpath"
    ),
    "Goessner's JSONPath": Broken(
        criterion(
            "context: $response.body, condition: $.a,"
            " type: {type: jsonpath, version: draft-goessner-dispatch-jsonpath-00}"
        ),
        11,
        "criterion-goessner",
    ),
    "jsonpath without context": Broken(criterion("condition: $.a, type: jsonpath"), 11, "context"),
    "context that is text": Broken(
        criterion("context: body, condition: a, type: regex"), 11, "context"
    ),
    "broken jsonpath": Broken(
        criterion("context: $response.body, condition: '$.a[', type: jsonpath"), 11, "jsonpath"
    ),
    "broken regex": Broken(
        criterion("context: $statusCode, condition: '2[', type: regex"), 11, "regex"
    ),
    "regex with look-around": Broken(
        criterion("context: $statusCode, condition: '(?=2)', type: regex"), 11, "regex"
    ),
    "broken simple condition": Broken(criterion("condition: $statusCode =="), 11, "simple"),
    "simple condition on nothing": Broken(criterion("condition: $foo.bar == 1"), 11, "simple"),
    "simple condition that is deep": Broken(
        criterion("condition: '" + "(" * 60 + "1" + ")" * 60 + "'"), 11, "simple"
    ),
    "adapter that is no text": Broken(
        one_workflow(GET), 8, "adapter-unknown", SHOP + b"x-sluice-adapter: {a: 1}\n"
    ),
    "address that is none": Broken(
        one_workflow(GET), 8, "server-missing", SHOP.replace(b"https://shop.example", b"'http://['")
    ),
    "inputs that require what is no name": Broken(
        one_workflow(GET, rest="  inputs: {type: object, required: [{a: 1}]}\n"), 9, "inputs-schema"
    ),
    "inputs that are no schema": Broken(
        one_workflow(GET, rest="  inputs: {type: 5}\n"), 9, "inputs-schema"
    ),
    "inputs that are text": Broken(one_workflow(GET, rest="  inputs: x\n"), 9, "inputs-schema"),
    "inputs that reach for the web": Broken(
        one_workflow(GET, rest="  inputs: {$ref: 'http://127.0.0.1/x'}\n"), 9, "inputs-schema"
    ),
    "too many workflows": Broken(
        document(
            "workflows:\n"
            + "".join(
                f"- {{workflowId: w{at}, steps: [{{stepId: a, operationId: listCarts}}]}}\n"
                for at in range(51)
            )
        ),
        5,
        "too-many",
    ),
    "too many steps": Broken(
        one_workflow("".join(GET.replace("a,", f"a{at},") for at in range(201))), 7, "too-many"
    ),
    "too many items": Broken(
        step("    parameters: [" + "{name: a, in: query, value: 1}, " * 501 + "]\n"),
        10,
        "too-many",
    ),
    "value for a reusable action": Broken(
        action(
            "reference: $components.successActions.x, value: 1",
            rest="components: {successActions: {x: {name: x, type: end}}}\n",
        ),
        11,
        "reusable-value",
    ),
    "reusable parameter that is not there": Broken(
        step("    parameters: [{reference: $components.parameters.x}]\n"), 10, "reference-unknown"
    ),
    "description without paths": Broken(
        one_workflow(GET), 4, "source-type", b"openapi: 3.1.0\ninfo: {}\n"
    ),
    "text for an object": Broken(
        one_workflow(GET).replace(b'{title: T, version: "1"}', b"x"), 2, "type"
    ),
    "null for text": Broken(one_workflow(GET).replace(b"title: T", b"title: ~"), 2, "type"),
    "selector without an expression": Broken(
        step(
            "    outputs: {c: {context: body, selector: /a, type: jsonpointer}}\n", version="1.1.0"
        ),
        10,
        "context",
    ),
    "selector with a broken query": Broken(
        step(
            "    outputs: {c: {context: $response.body, selector: '$[', type: jsonpath}}\n",
            version="1.1.0",
        ),
        10,
        "jsonpath",
    ),
    "selector by XPath": Broken(
        step(
            "    outputs: {c: {context: $response.body, selector: /a, type: xpath}}\n",
            version="1.1.0",
        ),
        10,
        "selector-type",
    ),
    "strict with a bare expression": Broken(
        step(
            "    parameters: [{name: a, in: query, value: 'x $inputs.b'}]\n",
            inputs="b: {type: string}",
            rest="x-sluice-strict: true\n",
        ),
        11,
        "K1",
    ),
    "strict with a lenient query": Broken(
        criterion(
            "context: $response.body, condition: '$.a > 0', type: jsonpath",
            rest="x-sluice-strict: true\n",
        ),
        11,
        "K3",
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_document_is_refused_with_line_and_rule_when_it_is_wrong(broken: Broken) -> None:
    found = refusals(broken.text, broken.shop)
    assert (broken.line, broken.rule) in {(one.line, one.rule) for one in found}, [
        str(one) for one in found
    ]
    assert all(one.reason and one.column >= 1 for one in found)


def test_every_reason_is_given_at_once() -> None:
    text = step(
        "    parameters: [{name: a, in: query, value: $inputs.zzz}]\n"
        "    successCriteria: [{condition: '=='}]\n"
    )
    assert [one.rule for one in refusals(text)] == ["expression-dangling", "simple"]


def test_a_refusal_says_line_column_reason_rule_and_place() -> None:
    (one,) = refusals(step("    sucessCriteria: []\n"))
    assert str(one) == (
        "10:5 is not a member of a step; extensions begin with x- [member-unknown]"
        " at /workflows/0/steps/0/sucessCriteria"
    )


def test_same_operation_in_two_sources_needs_its_source_named() -> None:
    two = b"- {name: shop, url: shop.yaml, type: openapi}\n- {name: other, url: b.yaml}\n"
    text = one_workflow(GET).replace(two[: two.index(b"\n") + 1], two)
    for operation, is_refused in (
        ("listCarts", True),
        ("$sourceDescriptions.other.listCarts", False),
    ):
        read = parse(text.replace(b"operationId: listCarts", f"operationId: {operation}".encode()))
        assert not isinstance(read, tuple)
        made = plan(read, {"shop": SHOP, "other": SHOP})
        assert isinstance(made, Plan) is not is_refused


def test_at_most_a_hundred_refusals_are_kept() -> None:
    assert len(refusals(step("".join(f"    bad{at}: 1\n" for at in range(300))))) == 100
