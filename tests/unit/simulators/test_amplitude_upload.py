"""The simulator's upload half against the numbered cases of Amplitude's documented behaviour."""

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulators.amplitude.rules import CHECKS, Checked, cut, examine, read_object
from tests.simulators.amplitude.service import BATCH, V2
from tests.simulators.amplitude.wire import Event, decode, decode_loosely
from tests.unit.simulators.amplitude import KEY, NOON, Said, Sim, event, nested, upload

DAY_S = 86_400
BOTH = pytest.mark.parametrize("path", [V2, BATCH])


@pytest.fixture
def sim() -> Sim:
    return Sim()


def refusal(error: str, **members: object) -> Said:
    return Said(400, {"code": 400, "error": error, **members})


def test_case_01_one_good_event_is_taken(sim: Sim) -> None:
    body = upload(event())
    assert sim.send(body) == Said(
        200,
        {
            "code": 200,
            "events_ingested": 1,
            "payload_size_bytes": len(body),
            "server_upload_time": int(NOON * 1000),
        },
    )
    assert [row["user_id"] for row in sim.rows] == ["user-0"]


def test_case_02_thousand_events_are_taken(sim: Sim) -> None:
    said = sim.post(*(event(n) for n in range(1000)))
    assert (said.status, said.body["events_ingested"]) == (200, 1000)
    assert [row["insert_id"] for row in sim.rows] == [f"insert-{n}" for n in range(1000)]


def test_case_03_same_insert_id_is_stored_once(sim: Sim) -> None:
    assert sim.post(event()).status == 200
    sim.set(clock={"advance_s": 6.9 * DAY_S})
    assert sim.post(event()).body["events_ingested"] == 1
    assert [row["copies"] for row in sim.rows] == [2]


def test_case_04_same_insert_id_of_another_device_is_another_event(sim: Sim) -> None:
    for device in ("device-1", "device-2", "device-1", "device-2"):
        assert sim.post(event(device_id=device)).status == 200
    assert [(row["device_id"], row["copies"]) for row in sim.rows] == [
        ("device-1", 2),
        ("device-2", 2),
    ]


def test_case_05_same_insert_id_after_eight_days_is_another_event(sim: Sim) -> None:
    sim.post(event())
    sim.set(clock={"advance_s": 8 * DAY_S})
    sim.post(event())
    sim.post(event())
    assert [row["copies"] for row in sim.rows] == [1, 2]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(b"", "Missing request body", id="case_06_empty"),
        pytest.param(b"{", "Invalid JSON request body", id="case_07_cut"),
        pytest.param(b"[]", "Invalid JSON request body", id="case_08_array"),
        pytest.param(b'{"a":"\xff"}', "Invalid JSON request body", id="not_utf8"),
    ],
)
@BOTH
def test_case_06_to_08_body_that_is_no_request(
    sim: Sim, path: str, body: bytes, error: str
) -> None:
    assert sim.send(body, path) == refusal(error)


@BOTH
def test_case_09_no_api_key(sim: Sim, path: str) -> None:
    assert sim.send(orjson.dumps({"events": [event()]}), path) == refusal(
        "Request missing required field", missing_field="api_key"
    )


@BOTH
def test_case_10_unknown_api_key(sim: Sim, path: str) -> None:
    assert sim.post(event(), path=path, api_key="other") == refusal("Invalid API key: other")


def test_revoked_key_is_unknown_until_restored(sim: Sim) -> None:
    sim.set(revoked=True)
    assert sim.post(event()) == refusal(f"Invalid API key: {KEY}")
    sim.set(revoked=False)
    assert sim.post(event()).status == 200


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({}, id="case_11_absent"),
        pytest.param({"events": []}, id="case_12_empty"),
    ],
)
def test_case_11_and_12_no_events(sim: Sim, members: dict[str, object]) -> None:
    assert sim.send(orjson.dumps({"api_key": KEY, **members})) == refusal(
        "Request missing required field", missing_field="events"
    )


@pytest.mark.parametrize("events", ["text", {"event_type": "a"}, [event(), 5], [[]]])
def test_case_13_events_that_are_no_array_of_objects(sim: Sim, events: object) -> None:
    body = orjson.dumps({"api_key": KEY, "events": events})
    assert sim.send(body) == refusal("Invalid event JSON")


def without_types() -> list[dict[str, object]]:
    return [event(n, event_type=None if n in {3, 7} else "a") for n in range(9)]


def test_case_14_events_without_type_name_the_first_of_v2(sim: Sim) -> None:
    error = "Request missing required field"
    said = sim.post(*without_types())
    assert said == refusal(error, events_with_missing_fields={"event_type": [3]})
    sim.set(all_indexes=True)
    said = sim.post(*without_types())
    assert said == refusal(error, events_with_missing_fields={"event_type": [3, 7]})
    assert sim.rows == []


def test_case_15_events_without_type_are_all_named_by_batch(sim: Sim) -> None:
    assert sim.post(*without_types(), path=BATCH) == refusal(
        "Request missing required field", events_with_missing_fields={"event_type": [3, 7]}
    )


def test_case_16_event_without_both_ids(sim: Sim) -> None:
    assert sim.post(event(0), event(1), event(2, user_id=None)) == refusal(
        "Request missing required field", events_with_missing_fields={"user_id": [2]}
    )


@pytest.mark.parametrize(
    ("members", "field"),
    [
        pytest.param({"time": "2026-03-01T12:00:00Z"}, "time", id="case_17_time"),
        pytest.param({"user_id": "anonymous"}, "user_id", id="case_22_refused_id"),
        pytest.param({"user_id": " NULL "}, "user_id", id="refused_in_capitals"),
        pytest.param({"user_id": ""}, "user_id", id="empty_id"),
        pytest.param(
            {"device_id": "00000000-0000-0000-0000-000000000000"}, "device_id", id="zeros"
        ),
        pytest.param({"user_id": 12345}, "user_id", id="case_23_number_as_id"),
        pytest.param({"session_id": "x"}, "session_id", id="case_24_session_id"),
        pytest.param({"event_id": "uuid"}, "event_id", id="case_25_event_id"),
        pytest.param({"event_properties": nested(41)}, "event_properties", id="case_27_depth"),
        pytest.param({"user_properties": nested(41)}, "user_properties", id="depth_of_user"),
        pytest.param({"event_properties": [1]}, "event_properties", id="no_object"),
        pytest.param({"groups": "a"}, "groups", id="groups"),
        pytest.param({"price": "5"}, "price", id="price"),
        pytest.param({"quantity": 1.5}, "quantity", id="quantity"),
        pytest.param({"currency": "eur"}, "currency", id="currency"),
        pytest.param({"platform": 5}, "platform", id="platform"),
        pytest.param({"time": True}, "time", id="time_is_boolean"),
        pytest.param(
            {"event_type": "$identify", "user_properties": {"$set": {"a": 1}, "b": 2}},
            "user_properties",
            id="case_32_mixed",
        ),
        pytest.param({"user_properties": {"$set": {"a": 1}}}, "user_properties", id="not_identify"),
        pytest.param(
            {"event_type": "$identify", "user_properties": {"$add": 5}},
            "user_properties",
            id="operation_without_object",
        ),
    ],
)
@BOTH
def test_case_17_to_32_invalid_field(
    sim: Sim, path: str, members: dict[str, Any], field: str
) -> None:
    said = sim.post(event(0), event(1, **members), path=path)
    assert said == refusal(
        "Invalid field values on some events", events_with_invalid_fields={field: [1]}
    )
    assert sim.rows == []


SHORT = refusal(
    "Invalid id length for user_id or device_id",
    events_with_invalid_id_lengths={"user_id": [0]},
)


def test_case_18_short_id(sim: Sim) -> None:
    assert sim.post(event(user_id="abc")) == SHORT


def test_case_19_short_id_with_lower_minimum(sim: Sim) -> None:
    assert sim.post(event(user_id="abc"), options={"min_id_length": 1}).status == 200


def test_case_20_short_id_beside_a_good_one_is_refused_by_v2(sim: Sim) -> None:
    assert sim.post(event(user_id="abc", device_id="device-1")) == SHORT


def test_case_21_short_id_beside_a_good_one_is_dropped_by_batch(sim: Sim) -> None:
    assert sim.post(event(user_id="abc", device_id="device-1"), path=BATCH).status == 200
    assert [(row["user_id"], row["device_id"]) for row in sim.rows] == [(None, "device-1")]
    assert sim.post(event(1, user_id="abc"), path=BATCH) == SHORT


@pytest.mark.parametrize("options", [{"min_id_length": 0}, {"min_id_length": "1"}, [], 7])
def test_case_26_minimum_that_is_none(sim: Sim, options: object) -> None:
    assert sim.post(event(), options=options) == refusal("Invalid field values on some events")


def test_case_27_forty_levels_are_taken(sim: Sim) -> None:
    assert sim.post(event(event_properties=nested(40))).status == 200


def test_case_28_long_string_is_cut(sim: Sim) -> None:
    properties = {"a": "é" * 1025, "b": ["x" * 1025], "c": "short"}
    assert sim.post(event(event_properties=properties)).status == 200
    stored = sim.project.store.event_properties(0)
    assert stored == {"a": "é" * 1024, "b": ["x" * 1024], "c": "short"}


def test_case_29_reserved_type_is_taken_and_flagged(sim: Sim) -> None:
    assert sim.post(event(event_type="[Amplitude] Revenue")).status == 200
    assert sim.rows[0]["reserved"] is True


@pytest.mark.parametrize(
    ("members", "revenue"),
    [
        pytest.param({"price": 2, "quantity": 3, "revenue": 1}, 6, id="case_30"),
        pytest.param({"revenue": -1.5}, -1.5, id="refund"),
        pytest.param({"price": 2}, 2, id="one_by_default"),
        pytest.param({"price": 2, "revenue": 1}, 1, id="no_quantity"),
    ],
)
def test_case_30_revenue(sim: Sim, members: dict[str, Any], revenue: float) -> None:
    assert sim.post(event(**members)).status == 200
    assert sim.rows[0]["revenue"] == revenue


def identify(number: int, **operations: object) -> dict[str, object]:
    return event(
        number,
        event_type="$identify",
        user_id="user-0",
        event_properties=None,
        user_properties=operations,
    )


def test_case_31_identify_sets_and_is_no_event(sim: Sim) -> None:
    sim.post(event())
    assert sim.post(identify(1, **{"$set": {"plan": "pro", "age": 5}})).status == 200
    assert sim.project.store.user_properties == {"user-0": {"plan": "pro", "age": 5}}
    assert sim.project.store.identifies == 1
    assert len(sim.rows) - sim.project.store.identifies == 1


def test_case_33_identify_unsets(sim: Sim) -> None:
    sim.post(identify(1, **{"$set": {"a": 1, "b": 2}}))
    assert sim.post(identify(2, **{"$unset": {"a": "-"}})).status == 200
    assert sim.project.store.user_properties == {"user-0": {"b": 2}}


@pytest.mark.parametrize(
    ("operation", "value", "after"),
    [
        ("$setOnce", {"n": 9, "new": 9}, {"n": 1, "l": ["a"], "new": 9}),
        ("$add", {"n": 2, "l": 1}, {"n": 3, "l": ["a"]}),
        ("$append", {"l": "b"}, {"n": 1, "l": ["a", "b"]}),
        ("$prepend", {"l": ["b"]}, {"n": 1, "l": ["b", "a"]}),
        ("$postInsert", {"l": ["a", "c"]}, {"n": 1, "l": ["a", "c"]}),
        ("$preInsert", {"l": ["c", "a"]}, {"n": 1, "l": ["c", "a"]}),
        ("$remove", {"l": "a"}, {"n": 1, "l": []}),
        ("$clearAll", "-", {}),
    ],
)
def test_identify_applies_each_operation_once(
    sim: Sim, operation: str, value: object, after: object
) -> None:
    sim.post(identify(1, **{"$set": {"n": 1, "l": ["a"]}}))
    for _ in range(2):
        assert sim.post(identify(2, **{operation: value})).status == 200
    assert sim.project.store.user_properties == {"user-0": after}


def test_plain_user_properties_of_an_event_are_set(sim: Sim) -> None:
    sim.post(event(user_properties={"plan": "pro"}))
    sim.post(event(1, user_id="user-0", user_properties={"plan": "x"}, insert_id="insert-0"))
    assert sim.project.store.user_properties == {"user-0": {"plan": "pro"}}


def test_case_34_silenced_device(sim: Sim) -> None:
    sim.set(silence=["device-5"])
    events = [event(n, device_id=f"device-{n}") for n in range(7)]
    said = sim.post(*events)
    assert said.status == 400
    assert said.body == {
        "code": 400,
        "error": "Events silenced for device_id",
        "eps_threshold": 30,
        "silenced_devices": ["device-5"],
        "silenced_events": [5],
        "throttled_devices": {},
    }
    sim.set(unsilence=["device-5"])
    assert sim.post(*events).status == 200


def body_of(size: int) -> bytes:
    short = upload(event(), padding="")
    return upload(event(), padding="x" * (size - len(short)))


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        pytest.param(V2, 1_000_000, 200, id="v2_at_its_limit"),
        pytest.param(V2, 1_000_001, 413, id="case_35"),
        pytest.param(BATCH, 15_000_000, 200, id="case_37"),
        pytest.param(BATCH, 20_000_001, 413, id="case_38"),
    ],
)
def test_case_35_to_38_size_of_a_body(sim: Sim, path: str, size: int, status: int) -> None:
    said = sim.send(body_of(size), path)
    assert said.status == status
    if status == 413:
        assert said.body == {"code": 413, "error": "Payload too large"}


def test_case_36_too_many_events(sim: Sim) -> None:
    assert sim.post(*(event(n) for n in range(2001))).status == 413
    assert sim.post(*(event(n) for n in range(2000))).status == 200


def throttled() -> list[dict[str, object]]:
    return [event(n, user_id="u-fast" if n in {3, 4} else f"user-{n}") for n in range(6)]


def test_case_39_to_41_user_above_the_threshold(sim: Sim) -> None:
    before = [event(n, user_id="u-fast") for n in range(100, 1000)]
    assert sim.post(*before).status == 200
    said = sim.post(*throttled())
    assert said == Said(
        429,
        {
            "code": 429,
            "error": "Too many requests for some devices and users",
            "eps_threshold": 30,
            "throttled_users": {"u-fast": 31},
            "throttled_devices": {},
            "throttled_events": [3, 4],
        },
    )
    assert len(sim.rows) == 900
    others = [one for one in throttled() if one["user_id"] != "u-fast"]
    assert sim.post(*others).status == 200
    sim.set(clock={"advance_s": 30})
    assert sim.post(*throttled()).status == 200
    assert len(sim.rows) == 906


def test_device_above_the_threshold(sim: Sim) -> None:
    sim.set(window_s=1)
    events = [event(n, device_id="device-fast") for n in range(31)]
    said = sim.post(*events)
    assert said.status == 429
    assert said.body["throttled_devices"] == {"device-fast": 31}
    assert said.body["throttled_events"] == list(range(31))
    assert sim.post(*events, path=BATCH).status == 200


def test_user_throttled_by_order_waits_until_released_or_the_time_is_over(sim: Sim) -> None:
    sim.set(throttle={"user_ids": ["user-1", "user-2"], "for_s": 45, "eps": 77})
    sim.set(throttle={"user_ids": ["user-3"]})
    said = sim.post(*(event(n) for n in range(5)))
    assert said.body["throttled_users"] == {"user-1": 77, "user-2": 77, "user-3": 31}
    assert said.body["throttled_events"] == [1, 2, 3]
    sim.set(clock={"advance_s": 45})
    assert sim.post(*(event(n) for n in range(5))).body["throttled_events"] == [3]
    sim.set(release={"user_ids": ["user-3"]})
    assert sim.post(*(event(n) for n in range(5))).status == 200


def test_case_42_user_over_quota(sim: Sim) -> None:
    sim.set(over_quota={"user_ids": {"user-1": 500_200}, "for_s": DAY_S})
    said = sim.post(event(0), event(1))
    assert said.status == 429
    assert said.body["exceeded_daily_quota_users"] == {"user-1": 500_200}
    assert said.body["throttled_events"] == [1]
    sim.set(clock={"advance_s": DAY_S})
    assert sim.post(event(0), event(1)).status == 200


def test_daily_quota_is_counted_over_24_hours(sim: Sim) -> None:
    sim.set(daily_quota=2, eps_threshold=None)
    assert sim.post(*(event(n, user_id="user-x") for n in range(2))).status == 200
    assert sim.post(event(3, user_id="user-x")).body["exceeded_daily_quota_users"] == {"user-x": 3}
    sim.set(clock={"advance_s": DAY_S})
    assert sim.post(event(3, user_id="user-x")).status == 200


def test_project_whose_quota_ended_answers_429_without_a_map(sim: Sim) -> None:
    sim.set(quota_ended_for_s=3600)
    said = sim.post(event())
    assert said.status == 429
    assert said.body.keys() == {"code", "error"}
    sim.set(clock={"advance_s": 3600})
    assert sim.post(event()).status == 200


def test_case_43_another_threshold(sim: Sim) -> None:
    sim.set(eps_threshold=10, window_s=1)
    said = sim.post(*(event(n, user_id="user-x") for n in range(11)))
    assert (said.status, said.body["eps_threshold"]) == (429, 10)


def test_case_52_content_type_matters_when_set_so(sim: Sim) -> None:
    assert sim.send(upload(event()), content_type="text/plain").status == 200
    sim.set(strict_type=True)
    assert sim.send(upload(event()), content_type="text/plain").status == 400
    assert sim.send(upload(event())).status == 200


def test_events_that_are_bad_by_order_are_named(sim: Sim) -> None:
    sim.set(bad_field={"field": "event_properties", "user_ids": ["user-2", "user-4"]})
    events = [event(n) for n in range(6)]
    said = sim.post(*events)
    assert said.body["events_with_invalid_fields"] == {"event_properties": [2]}
    said = sim.post(*events, path=BATCH)
    assert said.body["events_with_invalid_fields"] == {"event_properties": [2, 4]}
    sim.set(bad_field=None)
    assert sim.post(*events).status == 200


@given(
    copies=st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from(["user-a", "user-b"]),
            st.sampled_from([None, "dev-1"]),
        ),
        max_size=60,
    ),
    pause_s=st.sampled_from([0.0, DAY_S, 3 * DAY_S]),
    cut=st.integers(1, 7),
)
def test_what_is_stored_is_what_a_plain_table_would_hold(
    copies: list[tuple[int, str, str | None]], pause_s: float, cut: int
) -> None:
    sim = Sim()
    sim.set(eps_threshold=None)
    held: dict[tuple[str, int], tuple[int, float]] = {}
    expected: list[list[object]] = []
    now = 0.0
    for start in range(0, len(copies), cut):
        part = copies[start : start + cut]
        events = [
            event(n, insert_id=f"i-{n}", user_id=user, device_id=device) for n, user, device in part
        ]
        assert sim.post(*events).status == 200
        for n, user, device in part:
            place, at = held.get((device or user, n), (-1, 0.0))
            if place >= 0 and now - at <= 7 * DAY_S:
                expected[place][3] = int(str(expected[place][3])) + 1
            else:
                held[device or user, n] = (len(expected), now)
                expected.append([f"i-{n}", user, device, 1])
        sim.set(clock={"advance_s": pause_s})
        now += pause_s
    assert expected == [
        [row["insert_id"], row["user_id"], row["device_id"], row["copies"]] for row in sim.rows
    ]


VALUES = st.sampled_from(
    [
        None, True, 0, -1, 5, 1.5, 2**63, "", "abc", "user-1", "unknown", " None ", "x" * 1025,
        "EUR", "eur", [], ["a"], {}, {"a": {"b": 1}}, {"$set": {"a": 1}},
        {"$set": {"a": 1}, "b": 2},
        {"$add": 1}, {"$clearAll": "-"}, {"a": "y" * 1100}, nested(40), nested(41), [[[]]],
    ]
)  # fmt: skip
"""What may stand anywhere."""


@given(
    given_events=st.lists(
        st.dictionaries(st.sampled_from(sorted(CHECKS)), VALUES, max_size=3), min_size=1, max_size=4
    ),
    options=st.sampled_from([None, {}, {"min_id_length": 1}, {"min_id_length": 0}]),
    path=st.sampled_from([V2, BATCH]),
)
def test_quick_look_says_what_the_exact_one_does(
    given_events: list[dict[str, Any]], options: object, path: str
) -> None:
    bodies = [{**event(n), **members} for n, members in enumerate(given_events)]
    text = orjson.dumps({"api_key": KEY, "events": bodies, "options": options})
    answers: list[list[dict[str, Any]]] = []
    for upload_of in (decode, decode_loosely):
        checked = examine(
            upload_of(text),
            lambda: decode_loosely(text),
            is_batch=path == BATCH,
            all_indexes=False,
        )
        if isinstance(checked, Checked):
            answers.append(plain(checked))
        else:
            answers.append([orjson.loads(checked.body)])
    assert answers[0] == answers[1]


def plain(checked: Checked) -> list[dict[str, Any]]:
    """Return events without what stands for nothing, their texts read and cut."""
    found = []
    for one, properties in zip(checked.events, checked.properties, strict=True):
        members: dict[str, Any] = {}
        for name in Event.__struct_fields__:
            value = getattr(one, name)
            members[name] = cut(read_object(value) if isinstance(value, msgspec.Raw) else value)
        members["event_properties"] = read_object(msgspec.Raw(properties))
        found.append({name: value for name, value in members.items() if value not in (None, {})})
    return found


@pytest.mark.parametrize("filler", ["", "x" * 1100])
def test_number_beyond_all_floats_is_no_reason_to_fail(sim: Sim, filler: str) -> None:
    body = upload(event(event_properties={"a": 12345, "b": filler})).replace(b"12345", b"1e999")
    assert sim.send(body).status in {200, 400}
    assert all(sim.project.store.event_properties(row["n"]) == {} for row in sim.rows)
