"""Cases 30 to 40: occurred_at."""

from collections.abc import Sequence

from tests.support.segops import EVENT, Segops, assert_queued, assert_refused

INSTANT = "2026-04-25 14:32:00.000000000"


async def stored_times(api: Segops, values: Sequence[object]) -> list[str]:
    """Send one event for each value and return how ClickHouse stores them, in that order."""
    for n, value in enumerate(values):
        assert_queued(await api.track({**EVENT, "user_id": f"{n:03}", "occurred_at": value}))
    rows = await api.rows_when(len(values))
    return [row.occurred_at for row in sorted(rows, key=lambda row: row.user_id)]


async def test_case_030_utc_time_is_that_instant(api: Segops) -> None:
    assert await stored_times(api, ["2026-04-25T14:32:00Z"]) == [INSTANT]


async def test_case_031_offset_is_converted_to_utc(api: Segops) -> None:
    values = [f"2026-04-25T16:32:00{zone}" for zone in ("+02:00", "+0200", "+02")]
    assert await stored_times(api, values) == [INSTANT] * 3


async def test_case_032_fraction_is_kept_to_nine_digits_and_cut(api: Segops) -> None:
    values = ["2026-04-25T14:32:00.123456789Z", "2026-04-25T14:32:00,1234567899Z"]
    assert await stored_times(api, values) == ["2026-04-25 14:32:00.123456789"] * 2


async def test_case_033_time_without_zone_is_utc(api: Segops) -> None:
    assert await stored_times(api, ["2026-04-25T14:32:00", "2026-04-25 14:32"]) == [INSTANT] * 2


async def test_case_034_date_is_midnight_utc(api: Segops) -> None:
    midnight = "2026-04-25 00:00:00.000000000"
    assert await stored_times(api, ["2026-04-25", "20260425"]) == [midnight] * 2


async def test_case_035_form_of_the_python_sdk_is_taken(api: Segops) -> None:
    values = ["2026-04-25T14:32:00.123456+00:00"]
    assert await stored_times(api, values) == ["2026-04-25 14:32:00.123456000"]


async def test_case_036_epoch_is_read_by_its_count_of_digits(api: Segops) -> None:
    values = [1777127520, "1777127520", 1777127520000, "1777127520000000", 1777127520000000000]
    assert await stored_times(api, values) == [INSTANT] * 5


async def test_case_037_what_is_no_time_is_refused(client: Segops) -> None:
    values: list[object] = [
        177712752,
        "tomorrow",
        True,
        "2026-02-29",
        "2026-04-25T24:00:00Z",
        "2026-W17-6",
        "2026-115",
        "2026-04-25T14:32:60Z",
        "14:32:00",
        "2026-04-25T14:32:00+24:00",
        " 2026-04-25",
        [],
        {},
    ]
    for value in values:
        answer = await client.track({**EVENT, "occurred_at": value})
        assert_refused(answer, 400, "occurred_at_invalid", field="occurred_at")


async def test_case_038_time_outside_1970_to_2261_is_refused(client: Segops) -> None:
    for value in ("1969-12-31T23:59:59Z", "2262-01-01T00:00:00Z", "1970-01-01T00:00:00+00:01"):
        answer = await client.track({**EVENT, "occurred_at": value})
        assert_refused(answer, 400, "occurred_at_out_of_range", field="occurred_at")


async def test_case_039_first_and_last_second_of_the_range_are_taken(api: Segops) -> None:
    assert await stored_times(api, ["1970-01-01T00:00:00Z", "2261-12-31T23:59:59Z"]) == [
        "1970-01-01 00:00:00.000000000",
        "2261-12-31 23:59:59.000000000",
    ]


async def test_case_040_null_and_empty_time_mean_the_receive_time(api: Segops) -> None:
    for value in (None, ""):
        assert_queued(await api.track({**EVENT, "occurred_at": value}))
    for row in await api.rows_when(2):
        assert row.occurred_at.rstrip("0") == row.received_at.rstrip("0")
