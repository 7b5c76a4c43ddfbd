"""Values with expressions in them (rules K1, K2, K12)."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.workflows.core.pointers import ABSENT
from sluice.workflows.core.refusals import Problems
from worker.workflows.core.expressions import Exchange, Kept, Names, Scope
from worker.workflows.core.templates import Compiler, fill

NAMES = Names(
    inputs=frozenset({"a", "ab", "a.b", "gone", "obj", "n"}),
    steps={"one": frozenset({"x", "x.y"})},
)
INPUTS = {
    "a": Kept(value="A"),
    "ab": Kept(value="AB"),
    "a.b": Kept(value="A.B"),
    "obj": Kept(value={"k": [1, 'q"']}),
    "n": Kept(value=5),
}
SCOPE = Scope(inputs=INPUTS, steps={"one": {"x": Kept(value="X"), "x.y": Kept(value=True)}})


def filled(value: object, scope: Scope = SCOPE, *, has_selectors: bool = False) -> object:
    problems = Problems({})
    compiler = Compiler(NAMES, problems, has_selectors=has_selectors)
    template = compiler.compile(value, ())
    assert problems.refusals == []
    return fill(template, scope)


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("plain", "plain"),
        (7, 7),
        (None, None),
        ("$inputs.n", 5),
        ("$inputs.obj", {"k": [1, 'q"']}),
        ("x $inputs.a y", "x A y"),
        ("x $inputs.abc y", "x ABc y"),
        ("x $inputs.a.b.c y", "x A.B.c y"),
        ("x $inputs.zzz y", "x $inputs.zzz y"),
        ("$steps.one.outputs.x.y!", "true!"),
        ("$steps.two.outputs.x!", "$steps.two.outputs.x!"),
        ("{$inputs.a}-{$inputs.n}", "A-5"),
        ("{$inputs.a} $inputs.n", "A $inputs.n"),
        ("{$inputs.obj}!", '{"k":[1,"q\\""]}!'),
        ("{$inputs.a b}", "{$inputs.a b}"),
        ("{$set}", "{$set}"),
        ("$.items[*]", "$.items[*]"),
        ("{a}", "{a}"),
        ("{$inputs.gone}!", ABSENT),
        ("$inputs.gone", ABSENT),
        ({"m": "$inputs.gone", "k": "$inputs.n"}, {"k": 5}),
        (["$inputs.gone", "$inputs.n", 1], [None, 5, 1]),
        ({"deep": [{"m": "v$inputs.n"}]}, {"deep": [{"m": "v5"}]}),
        ('{"m":$inputs.obj,"s":"$inputs.a"}', '{"m":{"k":[1,"q\\""]},"s":"A"}'),
        ('{"n":$inputs.a}', '{"n":"A"}'),
        ('["x","$inputs.obj"]', '["x","{\\"k\\":[1,\\"q\\\\\\"\\"]}"]'),
        ("{not json $inputs.obj", '{not json {"k":[1,"q\\""]}'),
    ],
)
def test_value_is_filled_in(value: object, result: object) -> None:
    assert filled(value) == result


def test_replaced_text_is_never_looked_at_again() -> None:
    scope = Scope(inputs={"a": Kept(value="$inputs.n {$inputs.n}"), "n": Kept(value=5)})
    assert filled("x $inputs.a", scope) == "x $inputs.n {$inputs.n}"
    assert filled("x {$inputs.a}", scope) == "x $inputs.n {$inputs.n}"


@given(st.text())
def test_no_text_breaks_out_of_a_json_template(text: str) -> None:
    scope = Scope(inputs={"a": Kept(value=text), "n": Kept(value=text)})
    result = filled('{"s":"<$inputs.a>","v":$inputs.n,"end":1}', scope)
    assert isinstance(result, str)
    assert orjson.loads(result) == {"s": f"<{text}>", "v": text, "end": 1}


@pytest.mark.parametrize(
    ("selector", "kind", "result"),
    [
        ("/items/0/id", "jsonpointer", 1),
        ("/zzz", "jsonpointer", ABSENT),
        ("$.items[1].id", "jsonpath", 2),
        ("$.items[*].id", "jsonpath", [1, 2]),
        ("$.items[?@.id == 2]", "jsonpath", {"id": 2}),
        ("$.zzz", "jsonpath", ABSENT),
    ],
)
def test_selector_takes_a_part_of_a_value(selector: str, kind: str, result: object) -> None:
    body = {"items": [{"id": 1}, {"id": 2}]}
    scope = Scope(exchange=Exchange(answer_body=body))
    value = {"context": "$response.body", "selector": selector, "type": kind}
    assert filled(value, scope, has_selectors=True) == result


def test_selector_is_plain_data_before_version_1_1() -> None:
    value = {"context": "x", "selector": "y", "type": "z"}
    assert filled(value) == value
