"""Cases 96 to 101, 106 and 107: stats."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.support.poll import poll_until
from tests.support.segops import (
    EVENT,
    STATS,
    VISIBLE_WITHIN_S,
    Segops,
    assert_counted,
    assert_queued,
    assert_refused,
)
from tests.support.shared import SharedParts

ONE = {"24h": timedelta(hours=1), "7d": timedelta(days=1)}
BUCKETS = {"24h": 24, "7d": 7}


@pytest.fixture
async def neighbour(shared: SharedParts) -> AsyncIterator[Segops]:
    """The client of another tenant."""
    async with shared.new_client() as client:
        yield client


def start_of(window: str, now: datetime) -> datetime:
    """Return the start of the bucket that holds ``now``."""
    floor = now.replace(minute=0, second=0, microsecond=0)
    return floor if window == "24h" else floor.replace(hour=0)


def assert_well_formed(stats: Any, window: str) -> None:
    """Check what is always true of stats (section 8)."""
    keys = ["window", "total_events", "unique_users", "timeseries", "event_types", "as_of"]
    assert list(stats) == keys
    assert stats["window"] == window
    as_of = datetime.fromisoformat(stats["as_of"])
    assert stats["as_of"].endswith("Z")
    assert abs(datetime.now(UTC) - as_of) < timedelta(minutes=1)
    starts = [datetime.fromisoformat(bucket["bucket"]) for bucket in stats["timeseries"]]
    assert len(starts) == BUCKETS[window]
    assert starts[-1] == start_of(window, as_of)
    assert all(later - earlier == ONE[window] for earlier, later in pairwise(starts))
    assert all(bucket["bucket"].endswith(":00:00Z") for bucket in stats["timeseries"])
    assert all(
        set(bucket) == {"bucket", "event_count", "unique_users"} for bucket in stats["timeseries"]
    )
    assert sum(bucket["event_count"] for bucket in stats["timeseries"]) == stats["total_events"]
    counts = [(-entry["count"], entry["event_type"]) for entry in stats["event_types"]]
    assert counts == sorted(counts)
    assert -sum(count for count, _ in counts) == stats["total_events"]


async def stats_when(api: Segops, total: int, query: str = "") -> Any:
    """Wait until stats show that total, and return them."""

    async def counted() -> Any:
        stats = await api.stats(query)
        return stats if stats["total_events"] >= total else None

    stats = await poll_until(
        counted, within_s=VISIBLE_WITHIN_S, every_s=0.05, what=f"total_events of {total}"
    )
    assert stats["total_events"] == total
    return stats


@pytest.mark.parametrize("window", ["24h", "7d"])
async def test_case_096_stats_without_events_are_zeros_and_full_buckets(
    api: Segops, window: str
) -> None:
    stats = await api.stats(f"?window={window}")
    assert_well_formed(stats, window)
    assert (stats["total_events"], stats["unique_users"], stats["event_types"]) == (0, 0, [])
    assert all(
        (bucket["event_count"], bucket["unique_users"]) == (0, 0) for bucket in stats["timeseries"]
    )


async def test_case_097_events_count_when_they_were_received(api: Segops) -> None:
    year_ago = (datetime.now(UTC) - timedelta(days=365)).isoformat()
    events = [{**EVENT, "user_id": f"u-{n}", "occurred_at": year_ago} for n in range(3)]
    assert_counted(await api.batch(events), queued=3, skipped=0)
    stats = await stats_when(api, 3)
    assert_well_formed(stats, "24h")
    newest = [bucket["event_count"] for bucket in stats["timeseries"][-2:]]
    assert newest in ([0, 3], [3, 0]), "the hour may have turned since"
    assert stats["unique_users"] == 3
    assert stats["event_types"] == [{"event_type": "page_viewed", "count": 3}]


async def test_case_098_seven_days_are_seven_daily_buckets(api: Segops) -> None:
    events = [{"user_id": f"u-{n % 4}", "event_type": f"type_{n % 3}"} for n in range(10)]
    assert_counted(await api.batch(events), queued=10, skipped=0)
    stats = await stats_when(api, 10, "?window=7d")
    assert_well_formed(stats, "7d")
    assert stats["unique_users"] == 4
    assert stats["event_types"] == [
        {"event_type": "type_0", "count": 4},
        {"event_type": "type_1", "count": 3},
        {"event_type": "type_2", "count": 3},
    ]


@pytest.mark.parametrize("query", ["?window=30d", "?window=", "?window=24H", "?window=1d"])
async def test_case_099_other_windows_are_refused(client: Segops, query: str) -> None:
    answer = await client.get(STATS + query)
    assert_refused(answer, 400, "window_invalid", field="window")


async def test_case_100_stats_without_window_are_those_of_24h(api: Segops) -> None:
    assert_well_formed(await api.stats(), "24h")
    assert_well_formed(await api.stats("?window=24h&window=7d"), "7d")


async def test_case_101_stats_show_only_the_tokens_tenant(api: Segops, neighbour: Segops) -> None:
    assert_counted(await neighbour.batch([EVENT] * 5), queued=5, skipped=0)
    assert_queued(await api.track(EVENT))
    await stats_when(neighbour, 5)
    await stats_when(api, 1)
    assert (await api.stats(f"?tenant={neighbour.slug}"))["total_events"] == 1
    assert [row.user_id for row in await api.rows()] == ["u-1"]


async def test_case_106_event_sent_twice_with_its_id_counts_once(api: Segops) -> None:
    ids = [assert_queued(await api.track({**EVENT, "event_id": "order-1"})) for _ in range(2)]
    assert ids[0] == ids[1]
    batch = [{**EVENT, "event_id": "order-1"}] * 3
    assert_counted(await api.batch(batch), queued=3, skipped=0)
    assert_queued(await api.track(EVENT))
    await stats_when(api, 2)
    await api.rows_when(2)
    # Once more, after the first one has long been stored, and as another type.
    assert_queued(await api.track({**EVENT, "event_id": "order-1", "event_type": "x"}))
    assert_queued(await api.track(EVENT))
    stats = await stats_when(api, 3)
    assert stats["event_types"] == [{"event_type": "page_viewed", "count": 3}]


async def test_case_107_idempotency_key_makes_a_second_send_count_once(api: Segops) -> None:
    for _ in range(2):
        answer = await api.batch([EVENT, EVENT], Idempotency_Key="k")
        assert_counted(answer, queued=2, skipped=0)
    single = [await api.track(EVENT, Idempotency_Key="single") for _ in range(2)]
    assert assert_queued(single[0]) == assert_queued(single[1])
    await api.rows_when(3)
    await stats_when(api, 3)
    named = {**EVENT, "event_id": "wins"}
    ids = [assert_queued(await api.track(named, Idempotency_Key=key)) for key in ("a", "b")]
    assert ids[0] == ids[1]
