"""Runtime expressions: every form, and what is none."""

import pytest

from sluice.workflows.core.input_problem import MASK
from sluice.workflows.core.pointers import ABSENT
from worker.workflows.core.expressions import (
    Exchange,
    Kept,
    Names,
    Scope,
    evaluate,
    parse_expression,
    why_dangling,
)

SCOPE = Scope(
    inputs={"user.name": Kept(value="ada"), "tags": Kept(value=["x", {"y": 1}]), "nil": Kept()},
    steps={"one": {"out.put": Kept(value={"a/b": {"~": 3}})}},
    workflows={
        "w": {
            "inputs": {"i": Kept(value=1), "list": Kept(value=["a"])},
            "outputs": {"o": Kept(value=2), "deep": Kept(value={"a": {"b": None}})},
        }
    },
    outputs={"nested": Kept(value=True), "list": Kept(value=[{"x": "y"}])},
    exchange=Exchange(
        method="POST",
        url="https://a.example/b?c=d",
        headers={"x-a": "1"},
        query={"c": "d", "page[size]": 5},
        path={"id": 7},
        body={"sent": [1, 2]},
        status=202,
        answer_headers={"content-type": "application/json"},
        answer_body={"items": [{"id": "i0"}], "null": None},
    ),
    self_url="https://docs.example/self",
    sources={"shop": {"url": "shop.yaml", "type": "openapi"}},
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$url", "https://a.example/b?c=d"),
        ("$method", "POST"),
        ("$statusCode", 202),
        ("$self", "https://docs.example/self"),
        ("$request.header.X-A", "1"),
        ("$request.query.c", "d"),
        ("$request.path.id", 7),
        ("$request.body", {"sent": [1, 2]}),
        ("$request.body#/sent/1", 2),
        ("$response.header.Content-Type", "application/json"),
        ("$response.body#/items/0/id", "i0"),
        ("$response.body#/null", None),
        ("$response.body#/items/1", ABSENT),
        ("$response.body#/items/00", ABSENT),
        ("$response.body#/items/-", ABSENT),
        ("$response.body#/zzz/0", ABSENT),
        ("$inputs.user.name", "ada"),
        ("$inputs.tags#/1/y", 1),
        ("$inputs.nil", None),
        ("$inputs.zzz", ABSENT),
        ("$outputs.nested", True),
        ("$steps.one.outputs.out.put", {"a/b": {"~": 3}}),
        ("$steps.one.outputs.out.put#/a~1b/~0", 3),
        ("$steps.two.outputs.x", ABSENT),
        ("$workflows.w.inputs.i", 1),
        ("$workflows.w.outputs.o", 2),
        ("$workflows.w.outputs.zzz", ABSENT),
        ("$outputs.list#/0/x", "y"),
        ("$outputs.list#/1", ABSENT),
        ("$workflows.w.inputs.list#/0", "a"),
        ("$workflows.w.outputs.deep#/a/b", None),
        ("$workflows.w.outputs.deep#/a/c", ABSENT),
        ("$request.query.page[size]", 5),
        ("$request.header.Zzz", ABSENT),
        ("$request.path.zzz", ABSENT),
        ("$response.header.zzz", ABSENT),
        ("$response.body#", {"items": [{"id": "i0"}], "null": None}),
        ("$sourceDescriptions.shop.type", "openapi"),
        ("$sourceDescriptions.shop.url", "shop.yaml"),
        ("$sourceDescriptions.shop.zzz", ABSENT),
    ],
)
def test_expression_keeps_the_type_of_what_it_names(text: str, value: object) -> None:
    parsed = parse_expression(text)
    assert parsed is not None
    found = evaluate(parsed, SCOPE)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$",
        "$5",
        "$set",
        "$.items[*]",
        "$..a",
        "$statusCode ",
        " $statusCode",
        "$statusCodes",
        "$inputs",
        "$inputs.",
        "$inputs.a b",
        "$inputs.a#b",
        "$inputs.a#/~2",
        "$inputs.{a}",
        "$steps.a.b.outputs.c",
        "$steps.a.inputs.c",
        "$response.query.a",
        "$response.bodies",
        "$response.header.a b",
        "$request.query.a{b}",
        "$message.payload",
        "$inputs." + "a" * 3000,
    ],
)
def test_text_that_only_looks_like_an_expression_is_text(text: str) -> None:
    assert parse_expression(text) is None


@pytest.mark.parametrize("text", ["$url", "$statusCode", "$response.body#/a", "$self", "$method"])
def test_expression_is_absent_when_nothing_is_there_yet(text: str) -> None:
    parsed = parse_expression(text)
    assert parsed is not None
    assert evaluate(parsed, Scope()) is ABSENT


def test_secret_is_masked_unless_secrets_are_at_hand() -> None:
    parsed = parse_expression("$inputs.key")
    assert parsed is not None
    inputs = {"key": Kept(secret="env:K")}
    assert evaluate(parsed, Scope(inputs=inputs)) == MASK
    assert evaluate(parsed, Scope(inputs=inputs, secrets={"env:K": "s"})) == "s"
    assert evaluate(parsed, Scope(inputs=inputs, secrets={})) is ABSENT


def test_expression_writes_itself_as_it_was_read() -> None:
    for text in ("$url", "$steps.a.outputs.b#/c", "$workflows.w.inputs.i", "$response.body#/a"):
        assert str(parse_expression(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "$inputs.zzz",
        "$outputs.zzz",
        "$steps.zzz.outputs.a",
        "$steps.one.outputs.zzz",
        "$workflows.zzz.inputs.a",
        "$workflows.w.outputs.a",
        "$sourceDescriptions.zzz.url",
        "$statusCode",
        "$response.body",
    ],
)
def test_name_that_is_not_declared_is_dangling(text: str) -> None:
    names = Names(
        inputs=frozenset({"a"}),
        steps={"one": frozenset({"a"})},
        workflows={"w": (frozenset({"a"}), frozenset({"b"}))},
        has_response=False,
    )
    parsed = parse_expression(text)
    assert parsed is not None
    assert why_dangling(parsed, names)
