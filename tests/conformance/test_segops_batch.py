"""Cases 4 to 13, 44a, 46 and 63: batches."""

import orjson

from tests.support.segops import BATCH, EVENT, Segops, assert_counted, assert_refused

BAD = {"event_type": "page_viewed"}
TWO_EVENTS = [
    {"user_id": "user-123", "event_type": "page_viewed", "payload": {"path": "/pricing"}},
    {"user_id": "user-456", "event_type": "trial_started", "payload": {"plan": "starter"}},
]
"""The example of the given page."""


async def test_case_004_the_given_batch_is_queued(client: Segops) -> None:
    for path in (BATCH, BATCH.rstrip("/")):
        answer = await client.post(path, {"events": TWO_EVENTS})
        assert answer.status == 202
        assert answer.body == b'{"queued":2,"skipped":0}'


async def test_case_005_batch_of_500_is_queued(api: Segops) -> None:
    assert_counted(await api.batch([EVENT] * 500), queued=500, skipped=0)
    await api.rows_when(500)


async def test_case_006_batch_of_501_is_refused_and_stores_nothing(api: Segops) -> None:
    answer = await api.batch([EVENT] * 501)
    assert_refused(answer, 400, "batch_too_large", field="events")
    await api.assert_stored_only([])


async def test_case_007_empty_batch_is_refused(client: Segops) -> None:
    assert_refused(await client.batch([]), 400, "events_empty", field="events")


async def test_case_008_batch_without_events_is_refused(client: Segops) -> None:
    assert_refused(await client.batch(b"{}"), 400, "events_missing", field="events")


async def test_case_009_events_that_are_no_list_are_refused(client: Segops) -> None:
    for events in ({"a": 1}, "x", 5, True):
        assert_refused(await client.batch(events), 400, "events_invalid", field="events")
    assert_refused(await client.batch(None), 400, field="events")


async def test_case_010_bare_list_is_refused_with_advice_to_wrap_it(client: Segops) -> None:
    answer = await client.batch(orjson.dumps([EVENT]))
    assert_refused(answer, 400, "body_not_object")
    assert "events" in answer.json["detail"]


async def test_case_011_elements_that_are_no_objects_are_skipped(api: Segops) -> None:
    answer = await api.batch([EVENT, "x", 5, None, EVENT])
    errors = assert_counted(answer, queued=2, skipped=3)
    assert [error["index"] for error in errors] == [1, 2, 3]
    assert {error["error_type"] for error in errors} == {"event_not_object"}
    await api.rows_when(2)


async def test_case_012_event_without_user_id_is_skipped_alone(api: Segops) -> None:
    answer = await api.batch([EVENT, BAD, EVENT])
    (error,) = assert_counted(answer, queued=2, skipped=1)
    assert (error["index"], error["error_type"]) == (1, "user_id_missing")
    await api.rows_when(2)


async def test_case_013_list_of_errors_ends_at_100(client: Segops) -> None:
    errors = assert_counted(await client.batch([BAD] * 150), queued=0, skipped=150)
    assert [error["index"] for error in errors] == list(range(100))


async def test_case_044a_payload_500_levels_deep_costs_only_its_event(api: Segops) -> None:
    deep = b'{"a":' * 500 + b"1" + b"}" * 500
    bad = b'{"user_id":"u-1","event_type":"x","payload":' + deep + b"}"
    body = b'{"events":[' + bad + b',{"user_id":"u-2","event_type":"x"}]}'
    (error,) = assert_counted(await api.batch(body), queued=1, skipped=1)
    assert (error["index"], error["error_type"]) == (0, "payload_too_deep")
    assert [row.user_id for row in await api.rows_when(1)] == ["u-2"]


async def test_case_046_lone_surrogate_in_a_payload_becomes_u_fffd(api: Segops) -> None:
    body = (
        rb'{"events":[{"user_id":"odd","event_type":"x","payload":{"s":"\ud800"}},'
        rb'{"user_id":"good","event_type":"x","payload":{"s":"\ud83d\ude00"}}]}'
    )
    assert_counted(await api.batch(body), queued=2, skipped=0)
    payloads = {row.user_id: orjson.loads(row.payload) for row in await api.rows_when(2)}
    assert payloads == {"odd": {"s": "\ufffd"}, "good": {"s": "😀"}}


async def test_case_063_too_large_event_is_skipped_alone(api: Segops) -> None:
    large = {**EVENT, "payload": {"s": "x" * 300_000}}
    (error,) = assert_counted(await api.batch([EVENT, large]), queued=1, skipped=1)
    assert (error["index"], error["error_type"]) == (1, "event_too_large")
    await api.rows_when(1)


async def test_skipped_event_names_its_first_failing_rule(client: Segops) -> None:
    """Section 3: one entry for each skipped event, the first failing rule in the order of 5."""
    events = [
        {"user_id": "u", "event_type": " x", "occurred_at": "tomorrow"},
        {"user_id": [], "event_type": ""},
        {"user_id": "u", "event_type": "x", "occurred_at": "tomorrow", "payload": []},
        {"user_id": "u", "event_type": "x", "payload": [], "event_id": []},
    ]
    errors = assert_counted(await client.batch(events), queued=0, skipped=4)
    assert [error["error_type"] for error in errors] == [
        "event_type_invalid",
        "user_id_invalid",
        "occurred_at_invalid",
        "payload_invalid",
    ]


async def test_order_of_a_batch_and_bad_neighbours_change_no_event(api: Segops) -> None:
    events: list[object] = [{"user_id": f"u-{n}", "event_type": "x"} for n in range(20)]
    for position in (0, 7, 22):
        events.insert(position, BAD)
    errors = assert_counted(await api.batch(events), queued=20, skipped=3)
    assert [error["index"] for error in errors] == [0, 7, 22]
    assert {row.user_id for row in await api.rows_when(20)} == {f"u-{n}" for n in range(20)}
