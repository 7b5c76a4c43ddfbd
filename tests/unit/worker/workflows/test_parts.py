"""YAML, JSON Pointer, addresses, requests, inputs and adapters."""

from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from sluice.core.workflows import TYPES
from sluice.workflows.core.input_problem import InputProblem
from sluice.workflows.core.inputs import InputSchema, read_schema
from sluice.workflows.core.places import (
    NOT_FETCHED,
    Bounds,
    LocalSource,
    RemoteSource,
    source_place,
)
from sluice.workflows.core.pointers import ABSENT, replaced
from sluice.workflows.core.refusals import Refusal
from sluice.workflows.core.yaml_text import Loaded, load
from tests.unit.worker.workflows.arazzo import SHOP, one_workflow, planned, run
from worker.workflows.core.adapters import ADAPTERS, Asking, Seen
from worker.workflows.core.addresses import Addresses, base_url
from worker.workflows.core.calls import (
    Call,
    Request,
    UnsendableError,
    encode,
    encode_path,
    encode_query,
    redirected,
)
from worker.workflows.core.hearing import goes_to_file
from worker.workflows.core.openapi import Declared, read_description
from worker.workflows.core.waits import own_retry_wait_s, poll_wait_s

# YAML 1.2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-3", -3),
        ("1_000", "1_000"),
        ("1.5e3", 1500.0),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("2026-01-31", "2026-01-31"),
        ("20260131", 20260131),
        ("99999999999999999999", 1e20),
        ("1" * 5000, "1" * 5000),
        ("'1'", "1"),
        ('"\\u00e9"', "é"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        ("{1: a}", {"1": "a"}),
        ("[&x {a: 1}, *x]", [{"a": 1}, {"a": 1}]),
    ],
)
def test_yaml_is_read_as_version_1_2(text: str, value: object) -> None:
    loaded = load(text.encode())
    assert isinstance(loaded, Loaded)
    assert loaded.value == value


def test_every_value_knows_its_line() -> None:
    loaded = load(b"a:\n  b:\n  - x\n  - c: y\n")
    assert isinstance(loaded, Loaded)
    assert loaded.marks["a", "b", 0] == (3, 5)
    assert loaded.marks["a", "b", 1, "c"] == (4, 5)


# JSON Pointer


@pytest.mark.parametrize(
    ("pointer", "result"),
    [
        ("", 9),
        ("/a", {"a": 9, "l": [1, 2]}),
        ("/new", {"a": {"b": 1}, "l": [1, 2], "new": 9}),
        ("/l/0", {"a": {"b": 1}, "l": [9, 2]}),
        ("/l/-", {"a": {"b": 1}, "l": [1, 2, 9]}),
        ("/l/2", ABSENT),
        ("/zzz/b", ABSENT),
        ("/a/b/c", ABSENT),
    ],
)
def test_pointer_sets_a_part_of_a_copy(pointer: str, result: object) -> None:
    value = {"a": {"b": 1}, "l": [1, 2]}
    assert replaced(value, pointer, 9) == result
    assert value == {"a": {"b": 1}, "l": [1, 2]}


# Where sources lie (K8) and where requests go (K9)

HERE = PurePosixPath("/flows/t1/sub/a.yaml")
BOUNDS = Bounds(roots=(PurePosixPath("/flows/t1"),), hosts=frozenset({"specs.example"}))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("b.yaml", LocalSource(PurePosixPath("/flows/t1/sub/b.yaml"))),
        ("../b%20c.yaml", LocalSource(PurePosixPath("/flows/t1/b c.yaml"))),
        ("./x/../b.yaml", LocalSource(PurePosixPath("/flows/t1/sub/b.yaml"))),
        ("../../t2/b.yaml", "lies outside of the folder of workflows"),
        ("%2e%2e/../../etc/passwd", "lies outside of the folder of workflows"),
        ("/etc/passwd", "lies outside of the folder of workflows"),
        ("/flows/t1x/b.yaml", "lies outside of the folder of workflows"),
        ("file:///flows/t1/b.yaml", "must be a file beside the document, or http(s)"),
        ("//specs.example/b.yaml", "must be a file beside the document, or http(s)"),
        ("https://specs.example/b.yaml", RemoteSource("https://specs.example/b.yaml")),
        ("https://a@specs.example/b.yaml", "is on a host that is not on the list"),
        ("https://specs.example.evil/b", "is on a host that is not on the list"),
        ("http://127.0.0.1/b", "is on a host that is not on the list"),
        ("http://[", "is no address"),
    ],
)
def test_source_lies_below_its_folder_or_on_a_listed_host(url: str, place: object) -> None:
    assert source_place(url, HERE, BOUNDS) == place


def test_source_on_the_web_is_not_fetched_when_no_host_is_listed() -> None:
    assert source_place("https://specs.example/b.yaml", HERE, Bounds(roots=BOUNDS.roots)) == (
        NOT_FETCHED
    )


def test_source_is_relative_to_an_absolute_self() -> None:
    found = source_place("b.yaml", HERE, BOUNDS, "https://specs.example/x/a.yaml")
    assert found == RemoteSource("https://specs.example/x/b.yaml")


SERVED = b"""\
openapi: 3.1.0
info: {title: T, version: "1"}
servers:
- {url: "https://{host}.example/{base}/", variables: {host: {default: us}, base: {default: v1}}}
- {url: "https://api.eu.example"}
paths:
  /plain: {get: {operationId: plain, responses: {}}}
  /item: {servers: [{url: /relative}], get: {operationId: item, responses: {}}}
  /own: {get: {operationId: own, servers: [{url: "http://own.example"}], responses: {}}}
  /bad: {get: {operationId: bad, servers: [{url: "ftp://x"}], responses: {}}}
  /torn: {get: {operationId: torn, servers: [{url: "http://["}], responses: {}}}
"""


def test_description_with_members_of_the_wrong_kind_has_the_rest() -> None:
    odd = SERVED.replace(
        b"/plain: {get: {operationId: plain,", b"/plain: {get: {operationId: {}, parameters: 1,"
    )
    description = read_description("s", odd)
    assert not isinstance(description, Refusal)
    found = description.at("/plain", "get")
    assert found is not None
    assert (found.id, found.parameters) == ("{}", ())


@pytest.mark.parametrize(
    ("name", "addresses", "url"),
    [
        ("plain", Addresses(), "https://us.example/v1"),
        ("plain", Addresses(region="eu"), "https://api.eu.example"),
        ("plain", Addresses(variables={"host": "t1"}), "https://t1.example/v1"),
        ("plain", Addresses(servers={"s": "http://127.0.0.1:9/x/"}), "http://127.0.0.1:9/x"),
        ("plain", Addresses(amplitude_url="http://127.0.0.1:9"), "https://us.example/v1"),
        ("item", Addresses(), "https://docs.example/relative"),
        ("own", Addresses(), "http://own.example"),
        ("bad", Addresses(), None),
        ("torn", Addresses(), None),
        ("torn", Addresses(region="eu"), None),
    ],
)
def test_server_is_the_nearest_and_settings_come_first(
    name: str, addresses: Addresses, url: str | None
) -> None:
    description = read_description("s", SERVED)
    assert not isinstance(description, Refusal)
    operation = description.by_id(name)
    assert operation is not None
    assert base_url(operation, addresses, "https://docs.example/a/openapi.yaml") == url


def test_parameters_of_path_and_operation_are_merged_and_references_followed() -> None:
    description = read_description(
        "s",
        b"""\
openapi: 3.0.0
paths:
  /a/{id}:
    parameters: [{$ref: '#/components/parameters/id'}, {name: q, in: query, required: true}]
    get:
      operationId: get
      parameters: [{name: q, in: query, style: pipeDelimited, explode: false}, {$ref: '#/zzz'}]
      requestBody: {$ref: '#/components/requestBodies/b'}
components:
  parameters:
    id: {name: id, in: path, required: true}
    loop: {$ref: '#/components/parameters/loop'}
  requestBodies: {b: {content: {text/xml: {}}}}
""",
    )
    assert not isinstance(description, Refusal)
    operation = description.at("/a/{id}", "get")
    assert operation is not None
    assert [(one.name, one.place, one.is_required, one.style) for one in operation.parameters] == [
        ("id", "path", True, "simple"),
        ("q", "query", False, "pipeDelimited"),
    ]
    assert operation.content_types == ("text/xml",)


def test_operation_is_found_by_its_path() -> None:
    path = "'{$sourceDescriptions.shop.url}#/paths/~1carts~1{id}/delete'"
    text = one_workflow(
        f"  - stepId: a\n    operationPath: {path}\n"
        "    parameters: [{name: id, in: path, value: 5}]\n"
    )
    assert run(planned(text), []).urls == ["DELETE https://shop.example/carts/5"]


def test_filter_right_after_the_root_of_an_object_is_warned_of() -> None:
    shop = SHOP.replace(
        b'responses: {"200": {description: all}}',
        b'responses: {"200": {content: {application/json: {schema: {type: object}}}}}',
    )
    text = one_workflow(
        "  - stepId: a\n    operationId: listCarts\n    successCriteria:\n"
        "    - {context: $response.body, condition: '$[?@.a == 1]', type: jsonpath}\n"
    )
    assert [(one.line, one.rule) for one in planned(text, shop).warnings] == [
        (11, "filter-on-object")
    ]


# Requests


@pytest.mark.parametrize(
    ("value", "text"),
    [("a/b?c#d", "a%2Fb%3Fc%23d"), ("é ", "%C3%A9%20"), (5, "5"), (True, "true"), ("..", "%2E%2E")],
)
def test_path_variable_is_one_segment(value: object, text: str) -> None:
    assert encode_path("/x/{id}/y", {"id": value}) == f"/x/{text}/y"


@pytest.mark.parametrize(
    ("style", "explode", "pairs"),
    [
        ("form", True, [("a", "1"), ("a", "x%26")]),
        ("form", False, [("a", "1,x%26")]),
        ("spaceDelimited", False, [("a", "1%20x%26")]),
        ("pipeDelimited", False, [("a", "1%7Cx%26")]),
    ],
)
def test_array_in_a_query_follows_its_style(
    style: str, pairs: list[tuple[str, str]], *, explode: bool
) -> None:
    declared = Declared(name="a", place="query", is_required=False, style=style, explode=explode)
    assert list(encode_query("a", [1, "x&"], declared)) == pairs


def test_objects_in_a_query_are_json_and_undeclared_arrays_repeat_their_name() -> None:
    assert encode_query("a b", {"k": 1}, None) == (("a%20b", "%7B%22k%22%3A1%7D"),)
    assert encode_query("a", [1, "b c"], None) == (("a", "1"), ("a", "b%20c"))


@pytest.mark.parametrize(
    "header",
    [
        ("X", "a\r\nY: b"),
        ("X", "a\nb"),
        ("X", "a\0"),
        ("X Y", "a"),
        ("", "a"),
        ("Host", "evil.example"),
        ("content-length", "5"),
        ("X", "a" * 9000),
    ],
)
def test_header_that_would_change_the_request_is_not_sent(header: tuple[str, str]) -> None:
    with pytest.raises(UnsendableError):
        encode(Call(method="GET", base="https://a.example", path="/", headers=(header,)))


def test_bodies_are_encoded_by_their_type() -> None:
    call = Call(method="POST", base="https://a.example", path="/", body={"a": "1&2", "b": [1]})
    form = encode(replace(call, content_type="application/x-www-form-urlencoded"))
    assert form.body == b"a=1%262&b=%5B1%5D"
    assert encode(replace(call, content_type="application/vnd.x+json")).body == (
        b'{"a":"1&2","b":[1]}'
    )
    text = encode(replace(call, content_type="text/plain", body="é"))
    assert text.body == "é".encode()
    with pytest.raises(UnsendableError):
        encode(replace(call, content_type="text/plain"))
    with pytest.raises(UnsendableError):
        encode(replace(call, path="/" + "a" * 20_000))


ASKED = Request(
    method="GET",
    url="https://a.example/x",
    headers=(("Authorization", "Basic x"), ("Accept", "*/*")),
    body=None,
)


def test_redirect_leaves_credentials_behind_when_the_origin_changes() -> None:
    here = redirected(ASKED, "/y")
    assert isinstance(here, Request)
    assert (here.url, here.headers) == ("https://a.example/y", ASKED.headers)
    for location in ("https://b.example/y", "https://a.example:8443/y", "//b.example/y"):
        there = redirected(ASKED, location)
        assert isinstance(there, Request)
        assert there.headers == (("Accept", "*/*"),)


@pytest.mark.parametrize("location", ["http://a.example/", "file:///etc/passwd", "https://u@b.c/"])
def test_redirect_elsewhere_is_not_followed(location: str) -> None:
    assert isinstance(redirected(ASKED, location), str)


def test_what_writes_is_not_redirected() -> None:
    post = Request(method="POST", url="https://a.example/x", headers=(), body=b"")
    assert isinstance(redirected(post, "/y"), str)


@pytest.mark.parametrize(
    ("media_type", "size_bytes", "is_file"),
    [
        ("text/csv; charset=utf-8", 262_144, False),
        ("text/csv", 262_145, True),
        ("application/problem+json", 5, False),
        ("application/atom+xml", 5, False),
        ("", 5, False),
        ("application/octet-stream", 5, True),
        ("image/png", 5, True),
    ],
)
def test_large_and_binary_bodies_go_to_a_file(
    media_type: str, size_bytes: int, *, is_file: bool
) -> None:
    assert goes_to_file(media_type, size_bytes) is is_file


# Inputs

SCHEMA = {
    "type": "object",
    "$ref": "#/components/inputs/base",
    "required": ["apiKey", "n"],
    "properties": {
        "apiKey": {"type": "string"},
        "keyword": {"type": "string", "x-sluice-secret": False},
        "pin": {"x-sluice-secret": True},
        "n": {"type": "integer", "default": 3},
    },
}
BASE = {"base": {"properties": {"who": {"type": "string", "default": "ada"}}, "required": ["who"]}}


def schema() -> InputSchema:
    read = read_schema(SCHEMA, BASE)
    assert isinstance(read, InputSchema)
    return read


def test_schema_says_names_secrets_and_defaults() -> None:
    read = schema()
    assert read.names == {"apiKey", "keyword", "pin", "n", "who"}
    assert read.secrets == {"apiKey", "pin"}
    assert read.filled({"n": 4}) == {"n": 4, "who": "ada"}


@pytest.mark.parametrize(
    ("values", "secrets", "problems"),
    [
        ({"n": 1, "who": "x"}, {"apiKey"}, ()),
        ({"n": 1, "who": "x"}, (), (InputProblem("/apiKey", "is required"),)),
        (
            {"n": "hush", "who": "x"},
            {"apiKey"},
            (InputProblem("/n", "is a string, not an integer"),),
        ),
        (
            {"n": 1, "who": "x", "pin": "hush"},
            {"apiKey"},
            (InputProblem("/pin", "is secret: give it as a reference, not as a value"),),
        ),
        (
            {"n": 1, "who": "x"},
            {"apiKey", "n"},
            (InputProblem("/n", "is not secret: give it as a value, not as a reference"),),
        ),
        ({"n": 1}, {"apiKey"}, (InputProblem("", '"who" is a required property'),)),
    ],
)
def test_inputs_are_checked_without_showing_them(
    values: dict[str, object], secrets: set[str], problems: tuple[InputProblem, ...]
) -> None:
    assert schema().problems(values, frozenset(secrets)) == problems


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, InputProblem("", "needs one of shopify, user_id")),
        (
            {"user": "hush", "b": 1},
            InputProblem("", "has no input b, user; known are shopify, user_id"),
        ),
        ({"x" * 500: 1}, InputProblem("", f"has no input {'x' * 80}; known are shopify, user_id")),
        ({"user_id": 3.5}, InputProblem("/user_id", "is a number, not a string")),
        ({"user_id": None}, InputProblem("/user_id", "is null, not a string")),
        ({"user_id": ""}, InputProblem("/user_id", "is shorter than 1 character")),
        (
            {"shopify": {"request": "shop/redact", "order_ids": "hush"}},
            InputProblem("/shopify/order_ids", "is a string, not an array"),
        ),
    ],
)
def test_problem_of_an_input_says_what_is_known_or_needed(
    values: dict[str, object], problem: InputProblem
) -> None:
    read = read_schema(dict(TYPES["data-request"].inputs or {}), {})
    assert isinstance(read, InputSchema)
    assert read.problems(values, frozenset()) == (problem,)


def test_schema_that_refers_to_itself_again_and_again_is_read_once() -> None:
    loop = {"allOf": [{"$ref": "#/components/inputs/loop"}] * 10, "properties": {"a": {}}}
    read = read_schema({"$ref": "#/components/inputs/loop"}, {"loop": loop})
    assert isinstance(read, InputSchema)
    assert read.names == {"a"}


# Adapters


def test_cohort_adapter_translates_only_what_the_service_says_its_own_way() -> None:
    adapter = ADAPTERS["amplitude-cohorts"]
    asking = Asking(
        operation_id="getCohortExportStatus", path_values={"cohort_id": "c"}, visit_id="v"
    )
    for status, said, word in (
        (202, "JOB INPROGRESS", "computing"),
        (202, "JOB ENQUEUED", "queued"),
        (200, "JOB COMPLETED", "complete"),
        (200, "JOB FAILED", "failed"),
    ):
        seen, _ = adapter.hear(Seen(status=status, body={"async_status": said}), asking, {})
        assert seen == Seen(status=200, body={"async_status": said, "status": word})
    for plain in (
        Seen(status=200, body={"status": "queued", "async_status": "JOB COMPLETED"}),
        Seen(status=404, body={"async_status": "x"}),
        Seen(status=500, body="<html>"),
    ):
        assert adapter.hear(plain, asking, {}) == (plain, {})


def test_cohort_adapter_forgets_a_request_when_a_new_one_is_not_the_services() -> None:
    adapter = ADAPTERS["amplitude-cohorts"]
    asking = Asking(
        operation_id="requestCohortExport", path_values={"cohort_id": "c"}, visit_id="v"
    )
    _, memory = adapter.hear(Seen(status=202, body={"request_id": "r"}), asking, {"d": "s"})
    assert memory == {"c": "r", "d": "s"}
    _, memory = adapter.hear(Seen(status=200, body={"request_id": "r"}), asking, memory)
    assert memory == {"d": "s"}


def test_upload_adapter_names_events_that_have_no_name() -> None:
    adapter = ADAPTERS["amplitude-http-v2"]
    call = Call(
        method="POST",
        base="",
        path="",
        content_type="application/json",
        body={"events": [{"a": 1}, {"insert_id": "own"}, 5]},
    )
    one, two = (
        adapter.ask(call, Asking(operation_id="uploadEvents", path_values={}, visit_id=v), {})
        for v in ("run/step", "run/step#2")
    )
    assert isinstance(one.body, dict)
    assert isinstance(two.body, dict)
    assert one.body["events"][1:] == [{"insert_id": "own"}, 5]
    assert one.body["events"][0]["insert_id"] != two.body["events"][0]["insert_id"]
    assert (
        adapter.ask(call, Asking(operation_id=None, path_values={}, visit_id="run/step"), {}) == one
    )


# Waits


def test_poll_waits_grow_to_their_bound_with_little_jitter() -> None:
    waits = [poll_wait_s("run", visits, None, None) for visits in range(1, 500)]
    for at, wait in enumerate(waits):
        plain = min(2 * 1.5**at, 30)
        assert 0.9 * plain <= wait <= 1.1 * plain
    assert poll_wait_s("run", 1, 5.0, 9.0) == 5.0
    assert poll_wait_s("run", 1, None, 9.0) == 9.0
    assert own_retry_wait_s(0, None) == 1.0
    assert own_retry_wait_s(3, 0.5) == 0.5
