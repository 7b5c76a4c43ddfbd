"""Cases 1 to 3, 14 to 29, 49, 50, 108, 118 and 119: one event and its fields."""

import pytest

from tests.support.credentials import Credentials
from tests.support.poll import poll_until
from tests.support.segops import EVENT, Segops, assert_queued, assert_refused

ORDER_PLACED = {
    "user_id": "user-123",
    "event_type": "order_placed",
    "occurred_at": "2026-04-25T14:32:00Z",
    "payload": {"order_id": "ord-456", "total": 89.95, "currency": "USD"},
}
"""The example of the given page."""


async def test_case_001_the_given_example_is_queued(client: Segops) -> None:
    answer = await client.track(ORDER_PLACED)
    assert answer.status == 202
    assert answer.json == {"queued": True}
    assert answer.headers["X-Event-Id"]


async def test_case_002_track_is_served_without_its_trailing_slash(client: Segops) -> None:
    answer = await client.post("/api/ingestion/track", ORDER_PLACED)
    assert answer.status == 202
    assert answer.json == {"queued": True}


async def test_case_003_receive_time_and_empty_payload_stand_in_when_left_out(api: Segops) -> None:
    event_id = assert_queued(await api.track(EVENT))
    (row,) = await api.rows_when(1)
    assert row.event_id == event_id
    assert (row.user_id, row.event_type, row.source) == ("u-1", "page_viewed", "track")
    assert row.occurred_at.rstrip("0") == row.received_at.rstrip("0")
    assert row.payload == "{}"


async def test_case_014_event_without_user_id_names_the_field(client: Segops) -> None:
    answer = await client.track({"event_type": "page_viewed"})
    assert_refused(answer, 400, "user_id_missing", field="user_id")
    assert set(answer.json) == {"user_id"}


async def test_case_015_empty_event_names_both_fields(client: Segops) -> None:
    answer = await client.track({})
    assert_refused(answer, 400, "user_id_missing", field="user_id")
    assert set(answer.json) == {"user_id", "event_type"}


async def test_case_016_blank_or_null_user_id_is_refused(client: Segops) -> None:
    for user_id, error_type in (
        ("", "user_id_missing"),
        (None, "user_id_missing"),
        ("   ", None),
    ):
        answer = await client.track({**EVENT, "user_id": user_id})
        assert_refused(answer, 400, error_type, field="user_id")


async def test_case_017_integer_user_id_is_stored_as_its_decimal_text(api: Segops) -> None:
    for user_id in (7, -(2**63), 2**64 - 1):
        assert_queued(await api.track({**EVENT, "user_id": user_id}))
    rows = await api.rows_when(3)
    assert {row.user_id for row in rows} == {"7", str(-(2**63)), str(2**64 - 1)}


@pytest.mark.parametrize("user_id", [True, 1.5, [], {}], ids=repr)
async def test_case_018_user_id_of_another_type_is_refused(client: Segops, user_id: object) -> None:
    answer = await client.track({**EVENT, "user_id": user_id})
    assert_refused(answer, 400, "user_id_invalid", field="user_id")


async def test_case_019_user_id_of_255_characters_is_taken(api: Segops) -> None:
    for user_id in ("x" * 255, "😀" * 255):
        assert_queued(await api.track({**EVENT, "user_id": user_id}))
    assert {row.user_id for row in await api.rows_when(2)} == {"x" * 255, "😀" * 255}


async def test_case_020_user_id_of_256_characters_is_refused(client: Segops) -> None:
    for user_id in ("x" * 256, "😀" * 256):
        answer = await client.track({**EVENT, "user_id": user_id})
        assert_refused(answer, 400, "user_id_invalid", field="user_id")
        assert user_id not in answer.body.decode()


async def test_case_021_control_characters_in_user_id_are_refused(client: Segops) -> None:
    for user_id in ("a\x00b", "a\nb", "\x7f", "\x9f"):
        answer = await client.track({**EVENT, "user_id": user_id})
        assert_refused(answer, 400, "user_id_invalid", field="user_id")


async def test_case_022_lone_surrogate_in_user_id_is_refused(client: Segops) -> None:
    answer = await client.track(rb'{"user_id":"\ud800","event_type":"page_viewed"}')
    assert_refused(answer, 400, "user_id_invalid", field="user_id")


async def test_case_023_integer_user_id_above_64_bits_is_refused(client: Segops) -> None:
    for digits in (b"18446744073709551616", b"-9223372036854775809", b"1" * 5_000):
        answer = await client.track(b'{"user_id":' + digits + b',"event_type":"page_viewed"}')
        assert_refused(answer, 400, "user_id_invalid", field="user_id")


async def test_case_024_anonymous_id_stands_in_for_a_missing_user_id(api: Segops) -> None:
    assert_queued(await api.track({"event_type": "page_viewed", "anonymous_id": "abc"}))
    (row,) = await api.rows_when(1)
    assert (row.user_id, row.anonymous_id) == ("anon_abc", "abc")


async def test_case_025_event_type_of_any_script_is_stored_as_sent(api: Segops) -> None:
    names = ["Order Completed", "[Amplitude] Page Viewed", "$identify", "商品を見る"]
    for name in names:
        assert_queued(await api.track({**EVENT, "event_type": name}))
    assert sorted(row.event_type for row in await api.rows_when(4)) == sorted(names)


async def test_case_026_blank_or_missing_event_type_is_refused(client: Segops) -> None:
    for event in (
        {"user_id": "u-1", "event_type": ""},
        {"user_id": "u-1", "event_type": "  "},
        {"user_id": "u-1", "event_type": None},
        {"user_id": "u-1"},
    ):
        assert_refused(await client.track(event), 400, "event_type_missing", field="event_type")


async def test_case_027_event_type_has_at_most_200_characters(client: Segops) -> None:
    for letter in ("x", "見"):
        assert_queued(await client.track({**EVENT, "event_type": letter * 200}))
        answer = await client.track({**EVENT, "event_type": letter * 201})
        assert_refused(answer, 400, "event_type_invalid", field="event_type")


async def test_case_028_unprintable_or_padded_event_type_is_refused(client: Segops) -> None:
    for name in (" x", "x ", "x\ty", "x\u200by", "x\u00a0y", "\ue000", 5, ["x"]):
        answer = await client.track({**EVENT, "event_type": name})
        assert_refused(answer, 400, "event_type_invalid", field="event_type")


async def test_case_029_strict_tenant_takes_the_documented_form_only(
    api: Segops, credentials: Credentials
) -> None:
    assert_queued(await api.track({**EVENT, "event_type": "Order Completed"}))
    credentials.set_value(api.slug, "strict_event_types", "true")

    async def is_refused() -> bool:
        return (await api.track({**EVENT, "event_type": "Order Completed"})).status == 400

    await poll_until(is_refused, what="the tenant is strict")
    for name in ("Order Completed", "orderCompleted", "_x", "1x", "x-y", "x" * 129, "näme"):
        answer = await api.track({**EVENT, "event_type": name})
        assert_refused(answer, 400, "event_type_invalid", field="event_type")
    for name in ("order_completed", "x", "x" * 128, "a1_"):
        assert_queued(await api.track({**EVENT, "event_type": name}))


async def test_case_049_last_of_two_equal_keys_counts(api: Segops) -> None:
    body = b'{"user_id":"first","user_id":"last","event_type":"page_viewed"}'
    assert_queued(await api.track(body))
    (row,) = await api.rows_when(1)
    assert row.user_id == "last"


async def test_case_050_unknown_keys_are_ignored(api: Segops) -> None:
    event_id = assert_queued(await api.track({**EVENT, "foo": 1, "tenant": "other"}))
    (row,) = await api.rows_when(1)
    assert row.event_id == event_id


async def test_case_108_event_id_has_1_to_128_characters(client: Segops) -> None:
    bad: list[object] = ["x" * 129, "a\nb", "a\x00", True, 1.5, []]
    for event_id in bad:
        answer = await client.track({**EVENT, "event_id": event_id})
        assert_refused(answer, 400, "event_id_invalid", field="event_id")
    good: list[object] = ["x" * 128, "é" * 128, 7, None, ""]
    for event_id in good:
        assert_queued(await client.track({**EVENT, "event_id": event_id}))


async def test_case_118_swift_event_keeps_the_user_id_as_sent(api: Segops) -> None:
    visitor = "7d9f0a52-0c53-4f0e-9d63-2f8c5c1f3a10"
    event = {
        "user_id": "user-123",
        "anonymous_id": visitor,
        "event_type": "page_viewed",
        "occurred_at": "2026-04-25T14:32:00Z",
        "payload": {},
    }
    assert (await api.batch([event])).json == {"queued": 1, "skipped": 0}
    (row,) = await api.rows_when(1)
    assert (row.user_id, row.anonymous_id, row.source) == ("user-123", visitor, "batch")


async def test_case_119_go_event_without_payload_is_taken(api: Segops) -> None:
    event = {
        "user_id": "u-1",
        "event_type": "page_viewed",
        "occurred_at": "2026-04-25T14:32:00Z",
    }
    assert (await api.batch([event])).json == {"queued": 1, "skipped": 0}
    (row,) = await api.rows_when(1)
    assert row.payload == "{}"


async def test_several_bad_fields_are_all_listed(client: Segops) -> None:
    """Section 3: a single event with several bad fields lists them all."""
    answer = await client.track(
        {
            "user_id": "",
            "event_type": " x",
            "occurred_at": "tomorrow",
            "payload": [],
            "event_id": [],
        }
    )
    assert_refused(answer, 400, "user_id_missing", field="user_id")
    assert set(answer.json) == {"user_id", "event_type", "occurred_at", "payload", "event_id"}


async def test_invalid_anonymous_id_is_ignored(client: Segops) -> None:
    """Section 5.1: an invalid anonymous_id is never an error."""
    odd: list[object] = ["x" * 256, "a\nb", 5, [], None]
    for anonymous_id in odd:
        assert_queued(await client.track({**EVENT, "anonymous_id": anonymous_id}))
