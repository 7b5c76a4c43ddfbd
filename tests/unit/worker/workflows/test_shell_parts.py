"""What the shell decides without I/O: names of files, secrets in texts, bodies that explode."""

import gzip
import zlib
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sluice.workflows.files import NAME
from tests.support.workflows import description, document, planned
from worker.workflows.core.calls import Request, is_same_origin, redirected
from worker.workflows.core.file_names import extension_of, file_stem
from worker.workflows.core.redaction import redacted, redacted_value
from worker.workflows.core.unpacking import (
    MAX_PIECE_BYTES,
    BadBodyError,
    Unpacker,
    encoding_of,
)

# Files


def test_every_visit_has_a_file_of_its_own() -> None:
    stems = [
        file_stem(root, workflow, step, visit)
        for root, workflow, step, visit in [
            ("w", "w", "get", 1),
            ("w", "w", "get", 2),
            ("w", "get", "2", 1),
            ("w", "get", "w", 2),
            ("w", "w", "get-2", 1),
            ("w", "v", "get", 1),
            ("w", "w", "_odd", 1),
            ("w", "w", "-odd", 1),
            ("w", "w", "x" * 90, 1),
            ("w", "w", "x" * 91, 1),
        ]
    ]
    assert stems[:6] == ["get", "get.2", "get.2.1", "get.w.2", "get-2", "v.get.1"]
    assert len(set(stems)) == len(stems)
    assert all(NAME.fullmatch(f"{one}.ndjson") for one in stems)


@pytest.mark.parametrize(
    ("media_type", "extension"),
    [
        ("text/csv; charset=utf-8", "csv"),
        ("TEXT/CSV", "csv"),
        ("application/problem+json", "json"),
        ("application/x-ndjson", "ndjson"),
        ("application/zip", "zip"),
        ("text/html", "bin"),
        ("../../etc/passwd", "bin"),
        ("", "bin"),
    ],
)
def test_extension_is_one_of_a_few(media_type: str, extension: str) -> None:
    assert extension_of(media_type) == extension


# Secrets


@given(st.text(st.characters(exclude_categories=["C"], exclude_characters="<>*"), min_size=4))
def test_no_spelling_of_a_secret_is_left(value: str) -> None:
    raw = value.encode()
    spellings = [
        value,
        quote(value, safe=""),
        quote(value),
        quote_plus(value),
        b64encode(raw).decode(),
        urlsafe_b64encode(raw).decode().rstrip("="),
        quote(b64encode(raw).decode(), safe=""),
        orjson.dumps(value).decode()[1:-1],
    ]
    for one in spellings:
        assert redacted(f"<{one}>", [value]) == "<***>"


def test_longer_secrets_are_taken_out_before_shorter_ones() -> None:
    assert redacted("key-1 and key-1-more", ["key-1", "key-1-more"]) == "*** and ***"


def test_text_without_secrets_and_secrets_too_short_to_be_any_stay() -> None:
    assert redacted("a text", ["other"]) == "a text"
    assert redacted("a text", ["a", "te", ""]) == "a text"


def test_secrets_are_taken_out_of_values_at_any_depth() -> None:
    value = {"a": ["x s3cret", 1, None, True], "s3cret": {"b": "s3cret"}}
    expected = {"a": ["x ***", 1, None, True], "***": {"b": "***"}}
    assert redacted_value(value, ["s3cret"]) == expected


# Redirects


def test_nothing_but_what_everybody_may_know_goes_to_another_origin() -> None:
    asked = Request(
        method="GET",
        url="https://a.example/x",
        headers=(("X-Api-Key", "k"), ("Cookie", "c"), ("accept", "*/*"), ("User-Agent", "u")),
        body=b"secret",
    )
    there = redirected(asked, "https://b.example/y?z")
    assert isinstance(there, Request)
    assert there.headers == (("accept", "*/*"), ("User-Agent", "u"))
    assert there.body is None
    here = redirected(asked, "?y")
    assert isinstance(here, Request)
    assert (here.headers, here.body) == (asked.headers, asked.body)


@pytest.mark.parametrize("location", ["http://[::1", "/" + "a" * 16_000])
def test_redirect_to_what_is_no_address_is_not_followed(location: str) -> None:
    asked = Request(method="GET", url="http://a.example/x", headers=(), body=None)
    assert isinstance(redirected(asked, location), str)


def test_origins_are_compared_letter_by_letter() -> None:
    assert is_same_origin("http://a.example:1/x", "http://a.example:1/y?z")
    assert not is_same_origin("http://a.example:1/x", "https://a.example:1/x")
    assert not is_same_origin("http://a.example/x", "http://a.example:80/x")


# Compressed bodies


def unpacked(encoding: str, *pieces: bytes) -> bytes:
    code = encoding_of(encoding)
    assert code is not None
    unpacker = Unpacker(code)
    found = b""
    for piece in pieces:
        unpacker.feed(piece)
        while taken := unpacker.take():
            assert len(taken) <= MAX_PIECE_BYTES
            found += taken
    unpacker.finish()
    return found


TEXT = bytes(range(256)) * 2_000


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("X-GZIP", gzip.compress(TEXT[:7]) + gzip.compress(b"") + gzip.compress(TEXT[7:])),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)[2:-4]),
        ("identity, zstd", zstandard.compress(TEXT)),
    ],
)
def test_body_is_the_same_in_one_piece_and_byte_by_byte(encoding: str, packed: bytes) -> None:
    assert unpacked(encoding, packed) == TEXT
    assert unpacked(encoding, *(packed[at : at + 1] for at in range(len(packed)))) == TEXT


def test_bomb_is_stopped_before_it_has_grown() -> None:
    unpacker = Unpacker("gzip")
    unpacker.feed(gzip.compress(bytes(64 * 1024 * 1024)))
    taken: list[int] = []
    with pytest.raises(BadBodyError, match="grows more than 200 times"):
        taken.extend(map(len, iter(unpacker.take, b"")))
    assert sum(taken) < 16 * 1024 * 1024


def test_small_body_may_grow_as_it_likes() -> None:
    zeros = bytes(1024 * 1024)
    assert unpacked("gzip", gzip.compress(zeros)) == zeros


@pytest.mark.parametrize("header", ["br", "gzip, deflate", "compress", "gzip;q=1"])
def test_coding_that_was_not_asked_for_is_refused(header: str) -> None:
    with pytest.raises(BadBodyError, match="compressed as"):
        encoding_of(header)


@pytest.mark.parametrize("header", ["", "identity", " , "])
def test_body_may_be_as_it_is(header: str) -> None:
    assert encoding_of(header) is None


# What a plan says of requests


def test_time_of_a_step_is_longer_when_a_file_may_come() -> None:
    answers = {
        "json": {"200": {"content": {"application/json": {}}}},
        "csv": {"200": {"content": {"text/csv": {}}}},
        "none": {"204": {}},
        "bad": {"400": {"content": {"text/html": {}}}},
    }
    steps: list[dict[str, object]] = [{"stepId": name, "operationId": name} for name in answers]
    steps.append({"stepId": "said", "operationId": "csv", "timeout": 5_000})
    source = description(
        "http://a.example", **{name: {"responses": one} for name, one in answers.items()}
    )
    made = planned(document(*steps), source)
    timeouts = {one.id: one.timeout_s for one in made.workflows["w"].steps}
    assert timeouts == {"json": 30, "csv": 600, "none": 30, "bad": 30, "said": 5}


@pytest.mark.parametrize(
    ("status", "declared"), [("302", True), ("3XX", True), ("200", False), ("default", False)]
)
def test_description_says_whether_an_operation_redirects(status: str, *, declared: bool) -> None:
    source = description("http://a.example", call={"responses": {status: {}}})
    made = planned(document({"stepId": "a", "operationId": "call"}), source)
    call = made.workflows["w"].steps[0].call
    assert call is not None
    assert call.operation.may_redirect is declared


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("$statusCode == 302", True),
        ("$statusCode==307", True),
        ("$statusCode == 200 || $statusCode == 304", True),
        ("$statusCode == 200", False),
        ("$statusCode == 3020", False),
    ],
)
def test_redirect_is_the_answer_when_a_criterion_asks_for_it(
    condition: str, *, wanted: bool
) -> None:
    action = {"name": "n", "type": "end", "criteria": [{"condition": condition}]}
    for members in ({"successCriteria": [{"condition": condition}]}, {"onFailure": [action]}):
        step = {"stepId": "a", "operationId": "call", **members}
        made = planned(document(step), description("http://a.example", call={}))
        assert made.workflows["w"].steps[0].wants_redirect is wanted


def test_path_with_one_method_names_its_operation_unless_strict() -> None:
    source = description(
        "http://a.example", call={}, one={"path": "/two"}, other={"path": "/two", "method": "post"}
    )

    def step(path: str) -> dict[str, str]:
        return {"stepId": "a", "operationPath": f"{{$sourceDescriptions.api.url}}#/paths/~1{path}"}

    made = planned(document(step("call")), source)
    call = made.workflows["w"].steps[0].call
    assert call is not None
    assert call.operation.id == "call"
    with pytest.raises(AssertionError, match="must lead to a method of a path"):
        planned(document(step("two")), source)
    strict = orjson.loads(document(step("call"))) | {"x-sluice-strict": True}
    with pytest.raises(AssertionError, match="must lead to a method of a path"):
        planned(orjson.dumps(strict), source)
