"""Stats and errors, read from a real engine as segops.md sections 8 and 9 say."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

from sluice.core.event import Event
from sluice.warehouse.migrate import migrate, migrations
from sluice.warehouse.stats import Window
from tests.support.worker_rig import Rig, hours_ago, make_event

WINDOWS: tuple[Window, ...] = ("24h", "7d")
NOW = datetime.now(UTC).replace(minute=45, second=0, microsecond=0)


async def test_stats_are_zeros_in_full_buckets_when_a_tenant_has_no_events(rig: Rig) -> None:
    await migrate(rig.warehouse)
    day, week = await rig.stats("24h"), await rig.stats("7d")
    assert (day.total_events, day.unique_users, day.event_types) == (0, 0, [])
    assert len(day.timeseries) == 24
    assert len(week.timeseries) == 7
    assert all(b.event_count == b.unique_users == 0 for b in day.timeseries + week.timeseries)


async def test_stats_are_the_same_live_and_rolled_up(rig: Rig) -> None:
    destination = rig.destination()
    events = [
        make_event(
            event_type=f"type_{number % 3}",
            user_id=f"user-{number % 7}",
            received_at=NOW - timedelta(hours=number % 30, minutes=number % 40),
        )
        for number in range(300)
    ]
    await rig.deliver(destination, *events)
    live = {window: await rig.stats(window, now=NOW) for window in WINDOWS}
    await destination.rollups.recompute()
    assert {window: await rig.stats(window, now=NOW) for window in WINDOWS} == live
    inside = _inside(events, live["24h"].timeseries[0].bucket)
    day = live["24h"]
    assert day.total_events == len(inside) == sum(b.event_count for b in day.timeseries)
    assert day.unique_users == len({event.user_id for event in inside})
    counts = Counter(event.event_type for event in inside)
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    assert [(one.event_type, one.count) for one in day.event_types] == expected
    assert live["7d"].total_events == sum(b.event_count for b in live["7d"].timeseries) == 300


def _inside(events: list[Event], first_bucket: str) -> list[Event]:
    return [event for event in events if event.received_at >= first_bucket.rstrip("Z")]


async def test_stats_of_a_tenant_hold_nothing_of_another(rig: Rig) -> None:
    hostile = "acme' OR tenant != '"
    await rig.deliver(rig.destination(), make_event(), make_event(tenant="other"))
    assert (await rig.stats()).total_events == 1
    assert (await rig.stats(tenant=hostile)).total_events == 0


async def test_stats_show_the_first_hundred_types(rig: Rig) -> None:
    events = [make_event(event_type=f"type_{n:03}") for n in range(120)]
    await rig.deliver(rig.destination(), *events, make_event(event_type="type_119"))
    stats = await rig.stats()
    assert [one.event_type for one in stats.event_types][:2] == ["type_119", "type_000"]
    assert len(stats.event_types) == 100
    assert stats.total_events == 121


async def test_hours_left_stale_by_a_dead_worker_are_rolled_up_by_the_next(rig: Rig) -> None:
    await rig.deliver(rig.destination(), make_event(received_at=hours_ago(3)))
    assert await rig.count("rollups") == 0
    async with rig.worker():
        await rig.publish(make_event(received_at=hours_ago(5)))
        await rig.drained()
    assert await rig.count("rollups WHERE event_type != ''") == 2


async def test_schema_is_the_same_when_it_is_applied_twice_or_by_two_at_once(rig: Rig) -> None:
    async with asyncio.TaskGroup() as tasks:
        both = [tasks.create_task(migrate(rig.warehouse)) for _ in range(2)]
    assert {name for one in both for name in one.result()} == {name for name, _ in migrations()}
    assert await migrate(rig.warehouse) == []
