from datetime import UTC, datetime

import msgspec
import pytest

from sluice.warehouse.stats import StoredError, Window, bucket_starts, shape_stats

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


def test_stored_error_leaves_out_what_is_not_known() -> None:
    record = StoredError(ts="t", error_type="e", detail="d", occurrences=1)
    assert msgspec.json.decode(msgspec.json.encode(record)) == {
        "ts": "t",
        "error_type": "e",
        "detail": "d",
        "occurrences": 1,
    }
