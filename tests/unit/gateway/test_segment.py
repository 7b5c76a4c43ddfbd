"""Segment's dialect: the mapping table of docs/migrate.md, credentials and answers."""

from dataclasses import replace

import orjson
import pytest

from gateway.core.auth import Denied
from gateway.core.source import MAX_EVENTS, Caller, Refused, Taken
from gateway.sources.segment import KINDS, SOURCE
from sluice.core.errors import ErrorType, Rejected
from sluice.core.tenant import Directory, Tenant
from tests.unit.gateway.arrivals import (
    DIRECTORY,
    PUBLIC_KEY,
    SECRET_KEY,
    TENANT,
    arrival,
    basic,
    only,
    parsed,
)

TIME = "2026-04-25T14:32:00.123Z"
CONTEXT = {"library": {"name": "analytics-node", "version": "3.1.0"}, "ip": "10.0.0.1"}
COMMON = {"userId": "u-1", "messageId": "m-1", "timestamp": TIME, "context": CONTEXT}


@pytest.mark.parametrize(
    ("kind", "message", "event_type", "payload"),
    [
        (
            "track",
            {"event": "Order Completed", "properties": {"total": 1}},
            "Order Completed",
            {"total": 1, "context": CONTEXT},
        ),
        ("identify", {"traits": {"plan": "pro"}}, "context_identified", {"plan": "pro"}),
        (
            "page",
            {"name": "Home", "category": "Docs", "properties": {"url": "/"}},
            "page_viewed",
            {"url": "/", "name": "Home", "category": "Docs", "context": CONTEXT},
        ),
        ("screen", {"name": "Home"}, "screen_viewed", {"name": "Home", "context": CONTEXT}),
        (
            "group",
            {"groupId": "g-1", "traits": {"seats": 3}},
            "group_identified",
            {"seats": 3, "groupId": "g-1", "context": CONTEXT},
        ),
        (
            "alias",
            {"previousId": "old"},
            "user_aliased",
            {"previousId": "old", "context": CONTEXT},
        ),
    ],
)
def test_message_becomes_the_event_of_the_table(
    kind: str, message: dict[str, object], event_type: str, payload: dict[str, object]
) -> None:
    given = COMMON | message
    alone = only(SOURCE, arrival(f"/v1/{kind}", given))
    assert (alone.user_id, alone.event_type, alone.client_id) == (
        "u-1",
        event_type,
        "segment\nm-1",
    )
    assert alone.occurred_at == "2026-04-25T14:32:00.123"
    assert orjson.loads(alone.payload) == payload
    for path in ("/v1/batch", "/v1/import", "/v1/b"):
        assert only(SOURCE, arrival(path, {"batch": [given | {"type": kind}]})) == alone


def test_payload_keeps_the_text_that_was_sent() -> None:
    text = b'{"userId":"u","event":"e","properties":{ "n": 18446744073709551616,"d":0.10, "d":0.1}}'
    candidate = only(SOURCE, arrival("/v1/track", text))
    assert candidate.payload == b'{ "n": 18446744073709551616,"d":0.10, "d":0.1}'


def test_context_is_added_behind_the_text_unless_properties_have_their_own() -> None:
    text = b'{"userId":"u","event":"e","properties":{"d": 0.10 },"context":{"ip":"x"}}'
    assert only(SOURCE, arrival("/v1/track", text)).payload == (
        b'{"d": 0.10 ,"context":{"ip":"x"}}'
    )
    text = b'{"userId":"u","event":"e","properties":{"context":1},"context":{"ip":"x"}}'
    assert only(SOURCE, arrival("/v1/track", text)).payload == b'{"context":1}'


def test_visitor_without_user_id_is_known_by_the_anonymous_id() -> None:
    candidate = only(SOURCE, arrival("/v1/track", {"anonymousId": "a-1", "event": "e"}))
    assert (candidate.user_id, candidate.anonymous_id) == ("anon_a-1", "a-1")
    both = {"userId": 7, "anonymousId": "a-1", "event": "e"}
    candidate = only(SOURCE, arrival("/v1/track", both))
    assert (candidate.user_id, candidate.anonymous_id) == ("7", "a-1")


def test_client_s_own_time_is_kept_whatever_sent_at_says() -> None:
    message = {"userId": "u", "event": "e", "type": "track", "originalTimestamp": TIME}
    body = {"batch": [message], "sentAt": "2030-01-01T00:00:00Z"}
    assert only(SOURCE, arrival("/v1/batch", body)).occurred_at == "2026-04-25T14:32:00.123"


def test_nan_and_lone_surrogate_are_repaired_in_the_payload_and_refused_in_an_id() -> None:
    text = (
        rb'{"batch":[{"type":"track","userId":"u","event":"e","properties":{"n":NaN,"s":"\ud800"}},'
    )
    text += rb'{"type":"track","userId":"\ud800","event":"e"}]}'
    found = parsed(SOURCE, arrival("/v1/batch", text))
    (candidate,) = found.candidates
    assert candidate.payload == rb'{"n":null,"s":"\ufffd"}'
    assert candidate.normalised == ("nan", "lone_surrogate")
    assert [(one.index, one.error_type) for one in found.rejected] == [
        (1, ErrorType.USER_ID_INVALID)
    ]


@pytest.mark.parametrize(
    ("message", "error_type", "field"),
    [
        ({"type": "track", "event": "e"}, ErrorType.USER_ID_MISSING, "userId"),
        ({"type": "track", "userId": "u"}, ErrorType.EVENT_TYPE_MISSING, "event"),
        ({"type": "video", "userId": "u"}, ErrorType.EVENT_TYPE_INVALID, "type"),
        ({"userId": "u", "event": "e"}, ErrorType.EVENT_TYPE_INVALID, "type"),
        (
            {"type": "track", "userId": "u", "event": "e", "timestamp": "soon"},
            ErrorType.OCCURRED_AT_INVALID,
            "timestamp",
        ),
        (
            {"type": "track", "userId": "u", "event": "e", "properties": []},
            ErrorType.PAYLOAD_INVALID,
            "properties",
        ),
        (
            {"type": "track", "userId": "u", "event": "e", "messageId": "m" * 129},
            ErrorType.EVENT_ID_INVALID,
            "messageId",
        ),
    ],
)
def test_bad_message_is_refused_in_the_words_of_the_dialect(
    message: dict[str, object], error_type: ErrorType, field: str
) -> None:
    good = {"type": "track", "userId": "u", "event": "e"}
    found = parsed(SOURCE, arrival("/v1/batch", {"batch": [good, message, 5]}))
    assert len(found.candidates) == 1
    first, second = found.rejected
    assert (first.index, first.error_type, first.field) == (1, error_type, field)
    assert first.detail.startswith(field)
    assert (second.index, second.error_type) == (2, ErrorType.EVENT_NOT_OBJECT)


def test_two_authorization_headers_are_refused_whoever_they_name() -> None:
    """As on every other route: which of them counts must not hang on the order."""
    first, second = basic(SECRET_KEY)["Authorization"], basic("sk_live_two")["Authorization"]
    for two in ((first, second), (second, first), (first, first)):
        message = {"writeKey": SECRET_KEY, "userId": "u", "event": "e"}
        given = replace(arrival("/v1/track", message), authorizations=two)
        denied = SOURCE.authenticate(given, DIRECTORY)
        assert isinstance(denied, Denied)
        assert denied.rejected.error_type == ErrorType.AUTH_MALFORMED


@pytest.mark.parametrize(
    ("path", "body", "error_type"),
    [
        ("/v1/batch", b"", ErrorType.BODY_EMPTY),
        ("/v1/batch", b"{", ErrorType.JSON_INVALID),
        ("/v1/batch", b"[]", ErrorType.BODY_NOT_OBJECT),
        ("/v1/track", b"[]", ErrorType.BODY_NOT_OBJECT),
        ("/v1/batch", b"{}", ErrorType.EVENTS_MISSING),
        ("/v1/batch", b'{"batch":{}}', ErrorType.EVENTS_INVALID),
        ("/v1/batch", b"[" * 100_000, ErrorType.JSON_TOO_DEEP),
        ("/v1/batch", {"batch": [0] * (MAX_EVENTS + 1)}, ErrorType.BATCH_TOO_LARGE),
    ],
)
def test_body_is_refused_as_a_whole(path: str, body: object, error_type: ErrorType) -> None:
    found = SOURCE.parse(arrival(path, body), TENANT)
    assert isinstance(found, Rejected)
    assert found.error_type == error_type


def test_strict_tenant_takes_no_name_with_spaces() -> None:
    strict = Tenant(slug="acme", strict_event_types=True)
    message = {"userId": "u", "event": "Order Completed"}
    found = parsed(SOURCE, arrival("/v1/track", message), strict)
    assert [one.error_type for one in found.rejected] == [ErrorType.EVENT_TYPE_INVALID]


def test_write_key_is_the_user_name_of_basic_and_the_body_is_not_asked_for() -> None:
    caller = SOURCE.authenticate(arrival("/v1/track", None, basic(SECRET_KEY)), DIRECTORY)
    assert isinstance(caller, Caller)
    assert caller.tenant is TENANT


def test_write_key_may_stand_in_the_body() -> None:
    assert SOURCE.authenticate(arrival("/v1/track"), DIRECTORY) is None
    body = {"writeKey": SECRET_KEY, "batch": []}
    caller = SOURCE.authenticate(arrival("/v1/batch", body), DIRECTORY)
    assert isinstance(caller, Caller)


@pytest.mark.parametrize(
    ("headers", "body", "error_type"),
    [
        (basic("sk_live_two"), None, ErrorType.API_KEY_UNKNOWN),
        (basic(PUBLIC_KEY), None, ErrorType.KEY_TYPE_NOT_ALLOWED),
        ({"Authorization": "Basic !"}, None, ErrorType.AUTH_MALFORMED),
        ({"Authorization": "Basic /w=="}, None, ErrorType.AUTH_MALFORMED),
        (basic(""), None, ErrorType.AUTH_MALFORMED),
        ({}, b"{}", ErrorType.AUTH_MISSING),
        ({}, b"[]", ErrorType.BODY_NOT_OBJECT),
        ({}, b'{"writeKey":5}', ErrorType.AUTH_MISSING),
        ({}, b'{"writeKey":"sk_live_two"}', ErrorType.API_KEY_UNKNOWN),
        ({}, b"{", ErrorType.JSON_INVALID),
        ({}, b"", ErrorType.BODY_EMPTY),
    ],
)
def test_credential_is_refused(
    headers: dict[str, str], body: bytes | None, error_type: ErrorType
) -> None:
    denied = SOURCE.authenticate(arrival("/v1/batch", body, headers), DIRECTORY)
    assert isinstance(denied, Denied)
    assert denied.rejected.error_type == error_type


def test_key_of_a_tenant_that_is_switched_off_is_refused() -> None:
    off = Tenant(slug="acme", enabled=False, api_keys=TENANT.api_keys)
    given = arrival("/v1/track", None, basic(SECRET_KEY))
    denied = SOURCE.authenticate(given, Directory({"acme": off}))
    assert isinstance(denied, Denied)
    assert (denied.rejected.error_type, denied.tenant) == (ErrorType.TENANT_DISABLED, "acme")


def taken(rejected: list[Rejected], total: int) -> Taken:
    return Taken(rejected=rejected, total=total, body_bytes=10, received_ms=1)


def test_answer_is_200_when_anything_was_kept_and_says_what_was_not() -> None:
    bad = Rejected(ErrorType.USER_ID_MISSING, "userId is required.", index=1)
    whole = SOURCE.taken(arrival("/v1/batch"), taken([], 2))
    assert (whole.status, whole.body) == (200, b'{"success":true}')
    partly = SOURCE.taken(arrival("/v1/batch"), taken([bad], 2))
    assert partly.status == 200
    assert orjson.loads(partly.body) == {
        "success": True,
        "skipped": 1,
        "errors": [{"index": 1, "error_type": "user_id_missing", "detail": "userId is required."}],
    }
    nothing = SOURCE.taken(arrival("/v1/batch"), taken([bad], 1))
    assert nothing.status == 400
    assert orjson.loads(nothing.body)["code"] == "user_id_missing"


@pytest.mark.parametrize(
    ("error_type", "status"),
    [
        (ErrorType.API_KEY_UNKNOWN, 401),
        (ErrorType.KEY_TYPE_NOT_ALLOWED, 403),
        (ErrorType.JSON_INVALID, 400),
        (ErrorType.BODY_TOO_LARGE, 413),
        (ErrorType.BATCH_TOO_LARGE, 413),
        (ErrorType.OVERLOADED, 503),
        (ErrorType.INTERNAL, 500),
    ],
)
def test_refusal_carries_code_and_message(error_type: ErrorType, status: int) -> None:
    answer = SOURCE.refused(Refused(rejected=Rejected(error_type, "No."), retry_after_s=2.5))
    assert answer.status == status
    assert orjson.loads(answer.body) == {"success": False, "code": error_type, "message": "No."}
    headers = dict(answer.headers)
    assert headers.get("Retry-After") == ("3" if status == 503 else None)
    assert ("WWW-Authenticate" in headers) is (status == 401)


def test_every_kind_has_a_path() -> None:
    assert {f"/v1/{kind}" for kind in (*KINDS, "batch", "import", "b")} == {
        route.path for route in SOURCE.routes
    }
