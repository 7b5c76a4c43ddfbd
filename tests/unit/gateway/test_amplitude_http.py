"""Amplitude's dialect: the mapping table of docs/migrate.md, credentials and answers."""

from urllib.parse import urlencode

import orjson
import pytest

from gateway.core.auth import Denied
from gateway.core.source import MAX_EVENTS, Caller, Refused, Taken
from gateway.sources.amplitude_http import FORM, SOURCE
from sluice.core.errors import ErrorType, Rejected
from tests.unit.gateway.arrivals import (
    DIRECTORY,
    PUBLIC_KEY,
    SECRET_KEY,
    TENANT,
    arrival,
    only,
    parsed,
)

EVENT = {
    "user_id": "u-1",
    "device_id": "d-1",
    "event_type": "Play",
    "time": 1_777_127_520_123,
    "insert_id": "i-1",
}


def body_of(*events: object) -> dict[str, object]:
    return {"api_key": SECRET_KEY, "events": list(events)}


@pytest.mark.parametrize("path", ["/2/httpapi", "/batch"])
def test_event_keeps_ids_time_and_properties(path: str) -> None:
    text = b'{"events":[{"user_id":"u-1","device_id":"d-1","event_type":"Play","insert_id":"i-1",'
    text += b'"time":1777127520123,"event_properties":{"x": 0.10}}]}'
    candidate = only(SOURCE, arrival(path, text))
    assert (candidate.user_id, candidate.anonymous_id) == ("u-1", "d-1")
    assert (candidate.event_type, candidate.client_id) == (
        "Play",
        "amplitude_http\ndevice:d-1\ni-1",
    )
    assert candidate.occurred_at == "2026-04-25T14:32:00.123"
    assert candidate.payload == b'{"x": 0.10}'


def test_other_members_are_kept_in_the_payload() -> None:
    event = EVENT | {
        "event_properties": {"revenue": 1},
        "revenue": 2.5,
        "session_id": 1_777_127_520_000,
        "groups": {"org": "acme"},
        "platform": "Web",
        "library": "amplitude-node/1.5.73",
        "plan": {},
        "country": None,
    }
    candidate = only(SOURCE, arrival("/2/httpapi", body_of(event)))
    assert orjson.loads(candidate.payload) == {
        "revenue": 1,
        "session_id": 1_777_127_520_000,
        "groups": {"org": "acme"},
        "context": {"platform": "Web", "library": "amplitude-node/1.5.73"},
    }


@pytest.mark.parametrize("event_type", ["Play", "$groupidentify"])
def test_key_inside_an_event_is_not_stored(event_type: str) -> None:
    event = EVENT | {"event_type": event_type, "api_key": SECRET_KEY, "platform": "Web"}
    candidate = only(SOURCE, arrival("/2/httpapi", body_of(event)))
    assert orjson.loads(candidate.payload)["context"] == {"platform": "Web"}


def test_device_stands_in_for_a_user_who_is_not_known() -> None:
    event = {"device_id": "d-1", "event_type": "Play"}
    candidate = only(SOURCE, arrival("/2/httpapi", body_of(event)))
    assert (candidate.user_id, candidate.anonymous_id) == ("anon_d-1", "d-1")
    assert candidate.occurred_at is None


@pytest.mark.parametrize(
    ("properties", "traits"),
    [
        ({"plan": "pro"}, {"plan": "pro"}),
        ({"$set": {"plan": "pro"}}, {"plan": "pro"}),
        ({"$unset": {"plan": "-"}}, {"plan": None}),
        ({"$set": {"a": 1}, "$unset": {"b": "-"}}, {"a": 1, "b": None}),
        (
            {"$set": {"a": 1}, "$add": {"n": 1}, "$setOnce": {"c": 2}},
            {"a": 1, "$add": {"n": 1}, "$setOnce": {"c": 2}},
        ),
        ({"$add": {"n": 1}}, {"$add": {"n": 1}}),
        (None, {}),
    ],
)
def test_identify_becomes_traits(properties: object, traits: object) -> None:
    event = EVENT | {"event_type": "$identify", "user_properties": properties, "platform": "Web"}
    candidate = only(SOURCE, arrival("/2/httpapi", body_of(event)))
    assert candidate.event_type == "context_identified"
    assert (candidate.client_id or "").endswith("\ni-1")
    assert orjson.loads(candidate.payload) == traits


def test_user_properties_of_another_event_become_a_second_event() -> None:
    event = EVENT | {"user_properties": {"plan": "pro"}}
    found = parsed(SOURCE, arrival("/2/httpapi", body_of(event)))
    assert found.total == 1
    play, identify = found.candidates
    assert [play.event_type, identify.event_type] == ["Play", "context_identified"]
    assert identify.client_id == f"{play.client_id}\nidentify"
    assert found.candidates[1].payload == b'{"plan":"pro"}'
    without = {name: value for name, value in event.items() if name != "insert_id"}
    found = parsed(SOURCE, arrival("/2/httpapi", body_of(without)))
    assert [one.client_id for one in found.candidates] == [None, None]


def test_event_with_bad_user_properties_is_refused_whole() -> None:
    """As Amplitude's own API does, which names the field at fault."""
    for event_type, properties in (("Play", [1]), ("Play", {"$set": 5}), ("$identify", "x")):
        event = EVENT | {"event_type": event_type, "user_properties": properties}
        found = parsed(SOURCE, arrival("/2/httpapi", body_of(event)))
        assert not found.candidates
        done = Taken(rejected=found.rejected, total=1, body_bytes=1, received_ms=1)
        answer = orjson.loads(SOURCE.taken(arrival("/2/httpapi"), done).body)
        assert answer["events_with_invalid_fields"] == {"user_properties": [0]}


def test_insert_id_names_an_event_of_one_device() -> None:
    """Clients that count their events from 1 on each device are none the worse for it."""
    sent = [
        EVENT,
        EVENT | {"device_id": "d-2"},
        EVENT | {"device_id": None},
        EVENT | {"device_id": None, "user_id": "u-2"},
        EVENT | {"device_id": "u-2", "user_id": None},
    ]
    found = parsed(SOURCE, arrival("/2/httpapi", body_of(*sent, *sent)))
    ids = [one.client_id for one in found.candidates]
    assert ids[:5] == ids[5:]
    assert len(set(ids)) == 5
    plain = EVENT | {"insert_id": "i-1:identify"}
    whole = EVENT | {"user_properties": {"plan": "pro"}}
    found = parsed(SOURCE, arrival("/2/httpapi", body_of(plain, whole)))
    assert len({one.client_id for one in found.candidates}) == 3


def test_group_is_described_by_its_own_name_when_there_is_no_user() -> None:
    event = {
        "event_type": "$groupidentify",
        "groups": {"org": "acme"},
        "group_properties": {"$set": {"seats": 3}},
    }
    candidate = only(SOURCE, arrival("/2/httpapi", body_of(event)))
    assert (candidate.user_id, candidate.event_type) == ("group:org:acme", "group_identified")
    assert orjson.loads(candidate.payload) == {
        "groups": {"org": "acme"},
        "group_properties": {"$set": {"seats": 3}},
    }
    candidate = only(SOURCE, arrival("/2/httpapi", body_of(event | {"user_id": "u-1"})))
    assert candidate.user_id == "u-1"


@pytest.mark.parametrize(
    ("groups", "user_id"),
    [
        ({"org": ["acme", "other"]}, "group:org:acme"),
        ({"org": ["", None, 7]}, "group:org:7"),
        ({"org": 1.5}, "group:org:1.5"),
        ({"none": [], "empty": "", "org": "acme"}, "group:org:acme"),
    ],
)
def test_group_is_named_by_the_first_name_that_is_sent(groups: object, user_id: str) -> None:
    event = {"event_type": "$groupidentify", "groups": groups, "group_properties": {"$set": {}}}
    assert only(SOURCE, arrival("/2/httpapi", body_of(event))).user_id == user_id


@pytest.mark.parametrize("is_form", [True, False])
@pytest.mark.parametrize("is_list", [True, False])
def test_identify_api_takes_form_and_json_one_or_many(is_form: bool, is_list: bool) -> None:
    one = {"user_id": "u-1", "user_properties": {"$set": {"é": "😀"}}}
    many = [one] if is_list else one
    if is_form:
        text = orjson.dumps(many).decode()
        body = urlencode({"api_key": SECRET_KEY, "identification": text}).encode()
        headers = {"Content-Type": f"{FORM}; charset=UTF-8"}
        given = arrival("/identify", body, headers)
    else:
        given = arrival("/identify", {"api_key": SECRET_KEY, "identification": many})
    assert isinstance(SOURCE.authenticate(given, DIRECTORY), Caller)
    candidate = only(SOURCE, given)
    assert (candidate.user_id, candidate.event_type) == ("u-1", "context_identified")
    assert orjson.loads(candidate.payload) == {"é": "😀"}
    done = Taken(rejected=[], total=1, body_bytes=1, received_ms=1)
    assert SOURCE.taken(given, done).body == b"success"


@pytest.mark.parametrize(
    ("body", "error_type"),
    [
        (b"", ErrorType.BODY_EMPTY),
        (b"{", ErrorType.JSON_INVALID),
        (b"[]", ErrorType.BODY_NOT_OBJECT),
        ({"api_key": SECRET_KEY}, ErrorType.EVENTS_MISSING),
        (body_of(), ErrorType.EVENTS_EMPTY),
        ({"events": 5}, ErrorType.EVENTS_INVALID),
        (body_of(*[0] * (MAX_EVENTS + 1)), ErrorType.BATCH_TOO_LARGE),
    ],
)
def test_body_is_refused_as_a_whole(body: object, error_type: ErrorType) -> None:
    found = SOURCE.parse(arrival("/2/httpapi", body), TENANT)
    assert isinstance(found, Rejected)
    assert found.error_type == error_type


@pytest.mark.parametrize(
    ("path", "name"), [("/2/httpapi", "events"), ("/identify", "identification")]
)
def test_list_that_is_missing_is_named(path: str, name: str) -> None:
    found = SOURCE.parse(arrival(path, {"api_key": SECRET_KEY}), TENANT)
    assert isinstance(found, Rejected)
    assert found.detail == f"{name} is required: a list."
    body = orjson.loads(SOURCE.refused(Refused(rejected=found)).body)
    assert body["missing_field"] == name
    wrong = SOURCE.parse(arrival(path, {"api_key": SECRET_KEY, name: 5}), TENANT)
    assert isinstance(wrong, Rejected)
    assert wrong.detail == f"{name} must be a list, not a number."


@pytest.mark.parametrize(
    ("body", "error_type"),
    [
        ({"events": []}, ErrorType.AUTH_MISSING),
        ({"api_key": 5}, ErrorType.AUTH_MISSING),
        ({"api_key": "nobody's"}, ErrorType.API_KEY_UNKNOWN),
        ({"api_key": PUBLIC_KEY}, ErrorType.KEY_TYPE_NOT_ALLOWED),
        (b"nonsense", ErrorType.JSON_INVALID),
        (b"[]", ErrorType.BODY_NOT_OBJECT),
    ],
)
def test_credential_is_refused(body: object, error_type: ErrorType) -> None:
    assert SOURCE.authenticate(arrival("/2/httpapi"), DIRECTORY) is None
    denied = SOURCE.authenticate(arrival("/2/httpapi", body), DIRECTORY)
    assert isinstance(denied, Denied)
    assert denied.rejected.error_type == error_type


def test_form_that_is_no_form_is_refused() -> None:
    headers = {"Content-Type": FORM}
    for body in (b"api_key=%ff", b"a=1&" * 50 + b"api_key=x", b"api_key=x&identification={"):
        denied = SOURCE.authenticate(arrival("/identify", body, headers), DIRECTORY)
        assert isinstance(denied, Denied)
        assert denied.rejected.error_type == ErrorType.JSON_INVALID


def test_answer_is_200_with_index_maps_when_anything_was_kept() -> None:
    given = arrival("/2/httpapi", body_of(EVENT, {"event_type": "Play"}, EVENT | {"time": "x"}, 5))
    found = parsed(SOURCE, given)
    done = Taken(rejected=found.rejected, total=found.total, body_bytes=321, received_ms=1234)
    answer = SOURCE.taken(given, done)
    assert answer.status == 200
    assert orjson.loads(answer.body) == {
        "code": 200,
        "events_ingested": 1,
        "payload_size_bytes": 321,
        "server_upload_time": 1234,
        "events_with_missing_fields": {"user_id": [1]},
        "events_with_invalid_fields": {"time": [2], "event": [3]},
    }


@pytest.mark.parametrize(
    ("event", "error", "member"),
    [
        ({"event_type": "Play"}, "Request missing required field", "events_with_missing_fields"),
        (
            EVENT | {"time": "soon"},
            "Invalid field values on some events",
            "events_with_invalid_fields",
        ),
    ],
)
def test_answer_is_400_with_index_maps_when_nothing_was_kept(
    event: object, error: str, member: str
) -> None:
    given = arrival("/2/httpapi", body_of(event))
    found = parsed(SOURCE, given)
    done = Taken(rejected=found.rejected, total=1, body_bytes=1, received_ms=1)
    answer = SOURCE.taken(given, done)
    body = orjson.loads(answer.body)
    assert (answer.status, body["code"], body["error"]) == (400, 400, error)
    assert list(body[member].values()) == [[0]]


@pytest.mark.parametrize(
    ("error_type", "status", "error", "missing"),
    [
        (ErrorType.BODY_EMPTY, 400, "Missing request body", None),
        (ErrorType.JSON_INVALID, 400, "Invalid JSON request body", None),
        (ErrorType.AUTH_MISSING, 400, "Request missing required field", "api_key"),
        (ErrorType.API_KEY_UNKNOWN, 400, "Invalid API key: No.", None),
        (ErrorType.EVENTS_EMPTY, 400, "Request missing required field", "events"),
        (ErrorType.BODY_TOO_LARGE, 413, "Payload too large", None),
        (ErrorType.BATCH_TOO_LARGE, 413, "Payload too large", None),
        (ErrorType.OVERLOADED, 503, "No.", None),
        (ErrorType.INTERNAL, 500, "No.", None),
    ],
)
def test_refusal_has_the_code_and_words_that_the_libraries_look_for(
    error_type: ErrorType, status: int, error: str, missing: str | None
) -> None:
    answer = SOURCE.refused(Refused(rejected=Rejected(error_type, "No."), retry_after_s=2))
    body = orjson.loads(answer.body)
    assert (answer.status, body["code"], body["error"]) == (status, status, error)
    assert body.get("missing_field") == missing
    assert dict(answer.headers).get("Retry-After") == ("2" if status == 503 else None)
