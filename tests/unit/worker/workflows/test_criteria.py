"""Criteria: simple, regex, JSONPath and its lenient form."""

import pytest

from sluice.workflows.core.document import Criterion
from sluice.workflows.core.refusals import Problems
from tests.unit.worker.workflows.arazzo import one_workflow, planned, run, says
from worker.workflows.core.criteria import Verdict, compile_criteria, decide
from worker.workflows.core.expressions import Exchange, Kept, Names, Scope
from worker.workflows.core.simple import parse_condition
from worker.workflows.core.templates import Compiler

NAMES = Names(
    inputs=frozenset({"user", "user.x", "limit", "word", "quote", "pattern"}),
    steps={"one": frozenset({"list"})},
    outputs=frozenset({"o"}),
)
BODY = {
    "a": "X",
    "n": 5,
    "zero": 0,
    "empty": "",
    "yes": True,
    "no": False,
    "nil": None,
    "text": "12",
    "items": [{"id": "A"}, {"id": "b"}],
    "status": "complete",
    "events_ingested": 1,
}
SCOPE = Scope(
    inputs={
        "user": Kept(value={"id": 7}),
        "user.x": Kept(value="dotted"),
        "limit": Kept(value=3),
        "word": Kept(value="complete"),
        "quote": Kept(value='" || @ == "complete'),
        "pattern": Kept(value="comp.*"),
    },
    steps={"one": {"list": Kept(value=[10, 20])}},
    outputs={"o": Kept(value="out")},
    exchange=Exchange(
        method="GET",
        status=200,
        answer_headers={"content-type": "application/json"},
        answer_body=BODY,
    ),
)


def verdict(
    condition: str, kind: str = "simple", context: str | None = None, scope: Scope = SCOPE
) -> Verdict:
    problems = Problems({})
    criterion = Criterion(condition=condition, context=context, type=kind, path=())
    tests = compile_criteria((criterion,), Compiler(NAMES, problems))
    assert problems.refusals == [], [str(one) for one in problems.refusals]
    return decide(tests[0], scope)


@pytest.mark.parametrize(
    "condition",
    [
        "$statusCode == 200",
        "$statusCode>=200&&$statusCode<300",
        "$statusCode == 200 && ($response.body.a == 'x' || !$response.body.b)",
        "$response.header.Content-Type == 'application/json'",
        "$response.body.items[0].id == 'a'",
        "$response.body#/items/1/id == 'B'",
        "$response.body.text == 12",
        "$response.body.text > 11.5",
        "$response.body.nil == null",
        "$response.body.a != null",
        "$response.body.no == false",
        "!$response.body.no",
        "!$response.body.zzz",
        "!!$response.body.yes",
        "$response.body.zero",
        "$response.body.empty",
        "$response.body.items",
        "true",
        "!null",
        "1 == 1.0",
        "-1 < 0",
        "1e3 == 1000",
        "'it''s' == 'IT''S'",
        "\"a\" == 'A'",
        "'b' > 'A'",
        "$inputs.user.id == 7",
        "$inputs.user.x == 'dotted'",
        "$inputs.user#/id == 7",
        "$steps.one.outputs.list[1] == 20",
        "$outputs.o == 'OUT'",
        "$method == 'get'",
        "false || true && true",
        "true || true && false",
        "1 < 2 == true",
        "$response.body.a == 'x' == true",
        "( ( true ) )",
    ],
)
def test_simple_condition_holds(condition: str) -> None:
    assert verdict(condition).passed


@pytest.mark.parametrize(
    "condition",
    [
        "$statusCode == 201",
        "$statusCode != 200",
        "$response.body.zzz == 1",
        "$response.body.zzz != 1",
        "$response.body.zzz < 1",
        "$response.body.zzz",
        "$response.body.items[9].id == 'a'",
        "$response.body.nil",
        "$response.body.no",
        "$response.body.nil == 0",
        "$response.body.nil < 1",
        "$response.body.yes == 1",
        "$response.body.yes == 'true'",
        "$response.body.items > 1",
        "$response.body.a > 1",
        "'10' < '9' == false && false",
        "false && true || false",
        "null",
        "false",
        "!true",
    ],
)
def test_simple_condition_does_not_hold(condition: str) -> None:
    assert not verdict(condition).passed


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "==",
        "1 ==",
        "1 1",
        "(1",
        "1)",
        "$foo",
        "$inputs.zzz",
        "yes",
        "'open",
        "1 = 1",
        "1 & 1",
        "$response.body..a",
        "$response.body.items[a]",
        "'" + "x" * 3000 + "'",
        "!" * 100 + "true",
        "01",
        "a.b",
    ],
)
def test_simple_condition_is_refused_when_it_is_none(condition: str) -> None:
    assert isinstance(parse_condition(condition, NAMES), str)


def test_double_quotes_are_taken_with_a_warning() -> None:
    problems = Problems({})
    criterion = Criterion(condition='"a" == "A"', context=None, type="simple", path=())
    compile_criteria((criterion,), Compiler(NAMES, problems))
    assert [one.rule for one in problems.warnings] == ["double-quotes"]


@pytest.mark.parametrize(
    ("pattern", "context", "passed"),
    [
        ("^2\\d{2}$", "$statusCode", True),
        ("omp", "$response.body.status", True),
        ("^omp", "$response.body.status", False),
        ("COMP", "$response.body.status", False),
        ("(?i)COMP", "$response.body.status", True),
        ("id", "$response.body.items", True),
        ("true", "$response.body.yes", True),
        (".*", "$response.body.zzz", False),
        (".*", "$response.body.nil", False),
        ("^{$inputs.pattern}$", "$response.body.status", True),
        ("(a*)*b", "$response.body.status", False),
    ],
)
def test_regex_searches_its_context(pattern: str, context: str, *, passed: bool) -> None:
    assert verdict(pattern, "regex", context).passed is passed


def test_catastrophic_pattern_takes_no_time() -> None:
    scope = Scope(exchange=Exchange(answer_body="a" * 200_000))
    assert not verdict("^(a+)+$|^(a|a)*b$", "regex", "$response.body#/x", scope).passed
    assert not verdict("^(a|aa)+$b", "regex", "$response.body", scope).passed
    query = "$[?search(@, '^(a+)+b$')]"
    within = Scope(exchange=Exchange(answer_body=["a" * 200_000]))
    assert not verdict(query, "jsonpath", "$response.body", within).passed


def test_late_pattern_that_is_none_fails_and_says_why() -> None:
    scope = Scope(
        inputs={"pattern": Kept(value="(")}, exchange=Exchange(answer_body={"status": "x"})
    )
    found = verdict("^{$inputs.pattern}", "regex", "$response.body.status", scope)
    assert not found.passed
    assert "not a regular expression" in (found.trouble or "")


@pytest.mark.parametrize(
    ("query", "passed"),
    [
        ("$.items[*]", True),
        ("$.zzz", False),
        ("$.nil", True),
        ("$.items[?@.id == 'A']", True),
        ("$.items[?@.id == 'a']", False),
        ("$[?@.status == 'complete']", False),
        ("$.items[?length(@.id) == 1]", True),
        ("$.items[?match(@.id, '[A-Z]')]", True),
        ("$.items[?match(@.id, 'AB')]", False),
        ("$.items[?search(@.id, '^b')]", True),
        ("$[?count(@.*) > 1]", True),
        ("$.items[-1:]", True),
        ("$..id", True),
    ],
)
def test_query_passes_when_it_finds_a_node(query: str, *, passed: bool) -> None:
    assert verdict(query, "jsonpath", "$response.body").passed is passed


@pytest.mark.parametrize(
    ("condition", "passed"),
    [
        ("$.events_ingested > 0", True),
        ("$.events_ingested > 1", False),
        ('$.status == "complete"', True),
        ('$.status == "Complete"', False),
        ('$.status == "queued" || $.status == "complete"', True),
        ('$.zzz == "queued"', False),
        ("$.a > 0", False),
        ('$.status == "$"', False),
        ("$.status == '$.n' || $.n == 5", True),
        ('!($.status == "complete")', False),
    ],
)
def test_lenient_query_is_the_condition_of_a_filter(condition: str, *, passed: bool) -> None:
    assert verdict(condition, "jsonpath", "$response.body").passed is passed


@pytest.mark.parametrize(
    ("condition", "passed"),
    [
        ("$.items[?@.id == '{$inputs.quote}']", False),
        ('$[?@ == "{$inputs.word}"]', True),
        ('$[?@ == "{$inputs.quote}"]', False),
        ("$[?@ == {$inputs.limit}]", False),
        ('$.status == "{$inputs.word}"', True),
    ],
)
def test_query_with_expressions_keeps_them_inside_of_their_quotes(
    condition: str, *, passed: bool
) -> None:
    assert verdict(condition, "jsonpath", "$response.body").passed is passed


@pytest.mark.parametrize(
    "query",
    [
        "$..[?search($[0][0], 'y')]",
        "$..[?count($..*) > 1000000]",
        "$..[?count(@..[?@..*]) < 0]",
        "$.*[?count($..*[?@]) < 0]",
    ],
)
def test_query_that_looks_at_too_much_fails_and_says_so(query: str) -> None:
    scope = Scope(exchange=Exchange(answer_body=[["x" * 9_000], *[[list(range(20))] * 20] * 40]))
    found = verdict(query, "jsonpath", "$response.body", scope)
    assert found == Verdict(passed=False, trouble="looks at more than 100,000 values")


@pytest.mark.parametrize(
    ("condition", "kind", "context"),
    [
        ("$[?@.id == 7]", "jsonpath", "$inputs.user"),
        ("$.id", "jsonpath", "$inputs.user"),
        ("$[?@ == 20]", "jsonpath", "$steps.one.outputs.list"),
        ("$[?@.id == 'b']", "jsonpath", "$response.body#/items"),
        ("json$", "regex", "$response.header.Content-Type"),
        ("^GET$", "regex", "$method"),
        ("^out$", "regex", "$outputs.o"),
        ("^dotted$", "regex", "$inputs.user.x"),
        ("^10$", "regex", "$steps.one.outputs.list#/0"),
    ],
)
def test_context_may_be_any_expression(condition: str, kind: str, context: str) -> None:
    # A filter looks at the members of an object: 7 has none, so the first of these finds nothing.
    is_filter_on_object = condition == "$[?@.id == 7]"
    assert verdict(condition, kind, context).passed is not is_filter_on_object


def test_type_of_a_criterion_may_name_its_version() -> None:
    criterion = (
        "    - {context: $response.body, condition: $.a,"
        " type: {type: jsonpath, version: rfc9535}}\n"
    )
    text = one_workflow(
        f"  - stepId: a\n    operationId: listCarts\n    successCriteria:\n{criterion}",
        version="1.1.0",
    )
    ran = run(planned(text), [says(a=1)])
    assert ran.error is None


def test_text_is_no_context_for_a_query() -> None:
    scope = Scope(exchange=Exchange(answer_body="<html>"))
    assert not verdict("$.a", "jsonpath", "$response.body", scope).passed
