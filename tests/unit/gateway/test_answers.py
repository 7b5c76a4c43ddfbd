"""What a result looks like on the wire."""

import orjson
import pytest

from gateway.core.answers import (
    clamp_retry_after,
    deny,
    queued_batch,
    queued_one,
    refused,
    slow_down,
    unavailable,
)
from gateway.core.source import Refused, refusal
from gateway.reply import is_request_id, render
from sluice.core.errors import ERRORS, ErrorType, Rejected


def test_single_event_is_answered_exactly_as_the_given_page_says() -> None:
    answer = queued_one("0190-id")
    assert (answer.status, orjson.loads(answer.body)) == (202, {"queued": True})
    assert answer.headers == (("X-Event-Id", "0190-id"),)


def test_batch_has_no_errors_key_when_nothing_was_skipped() -> None:
    answer = queued_batch(2, [])
    assert (answer.status, orjson.loads(answer.body)) == (202, {"queued": 2, "skipped": 0})


def test_batch_lists_the_first_100_skipped_events_in_order() -> None:
    rejected = [
        Rejected(ErrorType.USER_ID_MISSING, f"detail {index}", field="user_id", index=index)
        for index in reversed(range(150))
    ]
    answer = queued_batch(0, rejected)
    body = orjson.loads(answer.body)
    assert (answer.status, body["queued"], body["skipped"]) == (202, 0, 150)
    assert [error["index"] for error in body["errors"]] == list(range(100))
    assert body["errors"][3] == {
        "index": 3,
        "error_type": "user_id_missing",
        "detail": "detail 3",
    }


def test_refusal_lists_every_broken_field_and_takes_the_first_status() -> None:
    answer = refused(
        [
            Rejected(ErrorType.USER_ID_MISSING, "one", field="user_id"),
            Rejected(ErrorType.EVENT_TYPE_MISSING, "two", field="event_type"),
            Rejected(ErrorType.EVENT_TYPE_INVALID, "three", field="event_type"),
        ]
    )
    assert answer.status == 400
    assert answer.error_type is ErrorType.USER_ID_MISSING
    assert orjson.loads(answer.body) == {"user_id": ["one"], "event_type": ["two", "three"]}


def test_refusal_of_the_whole_request_is_a_detail() -> None:
    answer = refused([Rejected(ErrorType.BODY_EMPTY, "The body is empty.")])
    assert orjson.loads(answer.body) == {"detail": "The body is empty."}


def test_unknown_encoding_is_told_which_are_known() -> None:
    answer = refused([Rejected(ErrorType.CONTENT_ENCODING_UNSUPPORTED, "no")])
    assert (answer.status, dict(answer.headers)["Accept-Encoding"]) == (415, "gzip, deflate, zstd")


def test_challenge_stands_only_beside_401() -> None:
    unknown = deny(Rejected(ErrorType.API_KEY_UNKNOWN, "no"), challenge="ApiKey")
    denied = deny(Rejected(ErrorType.SCOPE_DENIED, "no"), challenge="ApiKey")
    assert (unknown.status, unknown.headers) == (401, (("WWW-Authenticate", "ApiKey"),))
    assert (denied.status, denied.headers) == (403, ())


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, 1), (0.2, 1), (1.0, 1), (1.1, 2), (29.5, 30), (31, 30), (float("inf"), 30)],
)
def test_retry_after_is_whole_seconds_from_1_to_30(seconds: float, expected: int) -> None:
    assert clamp_retry_after(seconds) == expected
    answer = unavailable(ErrorType.OVERLOADED, "busy", retry_after_s=seconds)
    assert dict(answer.headers)["Retry-After"] == str(expected)
    assert answer.status == 503


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.2, 1), (31, 31), (1_999.5, 2_000), (1e9, 3600)]
)
def test_client_over_its_own_limit_is_told_how_long_in_truth(seconds: float, expected: int) -> None:
    rejected = Rejected(ErrorType.RATE_LIMITED, "slow")
    in_source = refusal(Refused(rejected=rejected, retry_after_s=seconds), b"{}")
    for answer in (slow_down(rejected, retry_after_s=seconds), in_source):
        assert (answer.status, dict(answer.headers)["Retry-After"]) == (429, str(expected))


@pytest.mark.parametrize("error_type", [one for one in ErrorType if ERRORS[one].status])
def test_every_error_type_has_an_answer_with_its_status(error_type: ErrorType) -> None:
    wire = render(refused([Rejected(error_type, "why")]), request_id="r-1").decode()
    head, _, body = wire.partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {ERRORS[error_type].status} ")
    assert f"X-Error-Type: {error_type.value}" in head
    assert body == '{"detail":"why"}'


def test_answer_carries_the_headers_of_every_answer() -> None:
    wire = render(queued_one("e-1"), request_id="r-1", connection="close").decode()
    lines = wire.partition("\r\n\r\n")[0].split("\r\n")
    assert lines[0] == "HTTP/1.1 202 Accepted"
    assert {
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Content-Type: application/json",
        "X-Request-Id: r-1",
        "X-Event-Id: e-1",
        "Connection: close",
        "Content-Length: 15",
    } <= set(lines)


def test_head_keeps_the_length_and_leaves_out_the_body() -> None:
    wire = render(queued_one("e-1"), request_id="r-1", has_body=False).decode()
    assert "Content-Length: 15" in wire
    assert wire.endswith("\r\n\r\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc.DEF_1-2", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("", False),
        ("a b", False),
        ("a\n", False),
        ("é", False),
    ],
)
def test_request_id_of_the_client_is_used_when_it_is_well_formed(
    text: str, *, expected: bool
) -> None:
    assert is_request_id(text) is expected
