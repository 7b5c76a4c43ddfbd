from datetime import UTC, datetime

import msgspec
import pytest

from sluice.warehouse.stats import (
    DAY_S,
    GRACE_US,
    HOUR_S,
    MANY_EVENTS,
    MANY_GRACE_US,
    QUARTER_S,
    StoredError,
    Window,
    bucket_starts,
    pieces_of,
    shape_stats,
)

NOW = datetime(2026, 4, 25, 13, 59, 59, 999_999, UTC)


@pytest.mark.parametrize(
    ("window", "count", "first", "last"),
    [
        ("24h", 24, datetime(2026, 4, 24, 14, tzinfo=UTC), datetime(2026, 4, 25, 13, tzinfo=UTC)),
        ("7d", 7, datetime(2026, 4, 19, tzinfo=UTC), datetime(2026, 4, 25, tzinfo=UTC)),
    ],
    ids=["24h", "7d"],
)
def test_buckets_are_aligned_and_the_last_one_holds_now(
    window: Window, count: int, first: datetime, last: datetime
) -> None:
    starts = bucket_starts(window, NOW)
    assert len(starts) == count
    assert (starts[0], starts[-1]) == (first.timestamp(), last.timestamp())


def test_stats_have_exactly_the_fields_of_the_reference() -> None:
    hour = int(datetime(2026, 4, 25, 13, tzinfo=UTC).timestamp())
    stats = shape_stats(
        [(3, 0, "", 5, 2), (1, hour, "", 5, 2), (2, 0, "b", 2, 1), (2, 0, "a", 2, 1)],
        window="24h",
        now=NOW,
    )
    answer = msgspec.json.decode(msgspec.json.encode(stats))
    assert answer["timeseries"][-1] == {
        "bucket": "2026-04-25T13:00:00Z",
        "event_count": 5,
        "unique_users": 2,
    }
    assert answer["timeseries"][0] == {
        "bucket": "2026-04-24T14:00:00Z",
        "event_count": 0,
        "unique_users": 0,
    }
    del answer["timeseries"]
    assert answer == {
        "window": "24h",
        "total_events": 5,
        "unique_users": 2,
        "event_types": [{"event_type": "a", "count": 2}, {"event_type": "b", "count": 2}],
        "as_of": "2026-04-25T13:59:59Z",
    }


CLOCK = 10**15
DAY = 20_000 * DAY_S
HOURS = [DAY, DAY + HOUR_S]


Known = tuple[int, int, int, int, int]


def counted(*ages_us: int, day: int | None = None, events: int = 7) -> list[Known]:
    """Return what is known of hours that were counted so long ago, and of the day of a version."""
    rows = [
        (HOUR_S, hour, CLOCK - age, CLOCK - age, events)
        for hour, age in zip(HOURS, ages_us, strict=True)
    ]
    days = [] if day is None else [(DAY_S, DAY, CLOCK, day, 0)]
    return [(1, 0, CLOCK, 0, 0), *rows, *days]


def touched(hour: int, age_us: int) -> Known:
    return 0, HOURS[hour], CLOCK - age_us, 0, 0


def test_day_comes_whole_only_when_it_is_the_sum_of_its_hours_as_they_are_now() -> None:
    whole = pieces_of(counted(5, 6, day=2 * CLOCK - 11), "7d")
    assert (whole.days, whole.hours) == ([DAY], [])
    for other in (2 * CLOCK - 12, CLOCK - 5):
        parts = pieces_of(counted(5, 6, day=other), "7d")
        assert (parts.days, parts.hours) == ([], HOURS)
    hourly = pieces_of(counted(5, 6, day=2 * CLOCK - 11), "24h")
    assert (hourly.days, hourly.hours) == ([], HOURS)


def test_six_hours_are_one_set_of_users_only_when_they_are_the_sum_of_those_hours() -> None:
    rows = counted(5, 6)
    together = pieces_of([*rows, (QUARTER_S, DAY, CLOCK, 2 * CLOCK - 11, 0)], "24h")
    assert (together.hours, together.quarters, together.other_hours) == (HOURS, [DAY], [])
    apart = pieces_of([*rows, (QUARTER_S, DAY, CLOCK, 2 * CLOCK - 12, 0)], "24h")
    assert (apart.hours, apart.quarters, apart.other_hours) == (HOURS, [], HOURS)


def test_hour_that_misses_something_makes_the_answer_as_old_as_its_count_is() -> None:
    pieces = pieces_of([*counted(700, GRACE_US), touched(0, 800), touched(1, GRACE_US)], "24h")
    assert (pieces.hours, pieces.live_hours, pieces.age_us) == (HOURS, [], GRACE_US)
    assert pieces_of([*counted(700, 9), touched(0, 800)], "24h").age_us == 0


def test_hour_is_counted_live_when_its_count_is_too_old_or_missing() -> None:
    rows = [*counted(700, GRACE_US + 1, day=2 * CLOCK - GRACE_US - 701), touched(1, 3)]
    pieces = pieces_of(rows, "7d")
    assert (pieces.days, pieces.hours, pieces.live_hours) == ([], HOURS[:1], HOURS[1:])
    assert pieces.age_us == 0
    missing = pieces_of([(1, 0, CLOCK, 0, 0), touched(0, 3)], "24h")
    assert (missing.hours, missing.live_hours, missing.age_us) == ([], HOURS[:1], 0)


@pytest.mark.parametrize(
    ("version", "events"), [(9 * CLOCK, 7), (None, MANY_EVENTS)], ids=["in slots", "whole, so far"]
)
def test_hour_of_very_many_events_is_counted_live_only_when_its_count_is_minutes_old(
    version: int | None, events: int
) -> None:
    def pieces(age_us: int) -> tuple[list[int], int]:
        at = CLOCK - age_us
        hour = (HOUR_S, DAY, at, version or at, events)
        found = pieces_of([(1, 0, CLOCK, 0, 0), hour, touched(0, 3)], "24h")
        return found.live_hours, found.age_us

    assert pieces(MANY_GRACE_US) == ([], MANY_GRACE_US)
    assert pieces(MANY_GRACE_US + 1) == (HOURS[:1], 0)


def test_hour_of_one_event_fewer_that_was_counted_as_a_whole_is_counted_live_at_once() -> None:
    rows = [*counted(9, GRACE_US + 1, events=MANY_EVENTS - 1), touched(1, 3)]
    assert pieces_of(rows, "24h").live_hours == HOURS[1:]


def test_stored_error_leaves_out_what_is_not_known() -> None:
    record = StoredError(ts="t", error_type="e", detail="d", occurrences=1)
    assert msgspec.json.decode(msgspec.json.encode(record)) == {
        "ts": "t",
        "error_type": "e",
        "detail": "d",
        "occurrences": 1,
    }
