"""Each event counts once: redelivered, sent again by its client, or raced by two workers."""

from dataclasses import replace
from datetime import timedelta

import pytest

from sluice.telemetry import render_metrics
from sluice.warehouse.migrate import migrate
from tests.support.poll import poll_until
from tests.support.telemetry import sum_of
from tests.support.worker_rig import Rig, envelopes, hours_ago, make_event
from worker.destinations.warehouse import WarehouseDestination


def looked_up() -> float:
    """Return how many keys this process has looked up."""
    return sum_of(render_metrics().decode(), "sluice_warehouse_keys_looked_up_total")


async def left(destination: WarehouseDestination, watcher: WarehouseDestination) -> None:
    """Say farewell for a worker; return when another one sees that it was a moment ago."""
    await destination.registry.say_farewell()

    async def is_past() -> bool:
        return all(other.age_s > 0.2 for other in await watcher.registry.others())

    await poll_until(is_past, within_s=30)


async def total(rig: Rig) -> int:
    return (await rig.stats()).total_events


async def test_event_is_stored_and_counted_when_it_was_published(rig: Rig) -> None:
    async with rig.worker():
        await rig.publish(make_event(payload=b'{"price": 0.10}'))
        await rig.drained()
        assert await rig.rows("SELECT payload FROM events") == [('{"price": 0.10}',)]
        await poll_until(lambda: total(rig), within_s=30)
    assert await total(rig) == 1


async def test_events_count_once_when_their_envelope_is_delivered_twice(rig: Rig) -> None:
    events = [make_event(client_id="a"), make_event(), make_event()]
    again = envelopes(events)
    async with rig.worker():
        for _ in range(2):
            await rig.queue.publish("events", again)
            await rig.drained()
    assert await rig.count("events FINAL") == 3
    assert await total(rig) == 3


@pytest.mark.parametrize(
    ("later", "event_type"),
    [
        (timedelta(minutes=1), "page_viewed"),
        (timedelta(hours=2), "page_viewed"),
        (timedelta(minutes=1), "other"),
    ],
    ids=["same hour", "other hour", "other type"],
)
async def test_first_accepted_counts_when_a_client_sends_again(
    rig: Rig, later: timedelta, event_type: str
) -> None:
    start = hours_ago(4)
    destination = rig.destination()
    await rig.deliver(destination, make_event(client_id="k", user_id="first", received_at=start))
    second = make_event(
        client_id="k", user_id="second", received_at=start + later, event_type=event_type
    )
    await rig.deliver(destination, second)
    assert await rig.rows("SELECT user_id FROM events") == [("first",)]
    assert await total(rig) == 1


async def test_first_accepted_counts_when_copies_arrive_in_reverse_order(rig: Rig) -> None:
    start = hours_ago(4)
    destination = rig.destination()
    for hour in (2, 1, 0):
        copy = make_event(
            client_id="k", user_id=f"u{hour}", received_at=start + timedelta(hours=hour)
        )
        await rig.deliver(destination, copy)
    await _recompute(destination)
    stats = await rig.stats()
    assert stats.total_events == 1
    counted = [bucket.bucket for bucket in stats.timeseries if bucket.event_count]
    assert counted == [f"{start:%Y-%m-%dT%H}:00:00Z"]


async def test_repeat_is_a_new_event_when_more_than_seven_days_passed(rig: Rig) -> None:
    start = hours_ago(4) - timedelta(days=7)
    destination = rig.destination()
    await rig.deliver(destination, make_event(client_id="k", received_at=start))
    await rig.deliver(
        destination, make_event(client_id="k", received_at=start + timedelta(days=7, seconds=1))
    )
    assert await rig.count("events FINAL") == 2


async def test_events_of_two_tenants_are_two_when_their_client_ids_are_equal(rig: Rig) -> None:
    destination = rig.destination()
    await rig.deliver(
        destination, make_event(client_id="k"), make_event(client_id="k", tenant="other")
    )
    assert await rig.count("events FINAL") == 2


async def test_copies_count_once_when_two_workers_share_the_queue(rig: Rig) -> None:
    start = hours_ago(4)
    async with rig.worker(), rig.worker():
        for hour in range(3):
            for chunk in range(5):
                await rig.publish(
                    *(
                        make_event(
                            client_id=f"{chunk}-{number}",
                            received_at=start + timedelta(hours=hour, milliseconds=number),
                        )
                        for number in range(200)
                    )
                )
        await rig.drained()

        async def is_right() -> bool:
            return await total(rig) == 1_000

        await poll_until(is_right, within_s=30, what="stats count each event once")


async def test_stored_copy_is_named_and_deleted_when_an_earlier_one_comes_later(rig: Rig) -> None:
    start = hours_ago(4)
    destination = rig.destination()
    await rig.deliver(
        destination, make_event(client_id="k", received_at=start + timedelta(hours=1))
    )
    await rig.deliver(destination, make_event(client_id="k", received_at=start))
    assert await rig.count("events") == 2
    assert await total(rig) == 1
    await destination.rollups.delete_copies()
    assert await rig.count("events") == 1
    assert await rig.rows("SELECT toUnixTimestamp(received_at) FROM events") == [
        (int(start.timestamp()),)
    ]


async def test_rollup_loses_a_type_when_all_its_events_were_copies(rig: Rig) -> None:
    start = hours_ago(4)
    destination = rig.destination()
    later = make_event(client_id="k", event_type="wrong", received_at=start + timedelta(minutes=9))
    await rig.deliver(destination, later)
    await _recompute(destination)
    assert await _types(rig) == ["wrong"]
    await rig.deliver(destination, make_event(client_id="k", event_type="right", received_at=start))
    await _recompute(destination)
    assert await _types(rig) == ["right"]


async def test_copy_is_recognised_when_the_filter_was_filled_from_the_table(rig: Rig) -> None:
    start = hours_ago(4)
    before = rig.destination()
    await rig.deliver(before, make_event(client_id="k", received_at=start))
    fresh = rig.destination()
    await left(before, fresh)
    await fresh.keys.keep_filter()
    await rig.deliver(fresh, make_event(client_id="k", received_at=start + timedelta(hours=1)))
    assert fresh.keys.has_filter
    assert await rig.count("events") == 1


async def test_new_events_need_no_look_up_when_the_worker_is_alone(rig: Rig) -> None:
    destination = rig.destination()
    await migrate(rig.warehouse)
    await destination.keys.keep_filter()
    before = looked_up()
    await rig.deliver(destination, *(make_event(client_id=f"k{n}") for n in range(100)))
    assert looked_up() == before


async def test_every_event_is_looked_up_when_another_worker_lives(rig: Rig) -> None:
    start = hours_ago(4)
    alone, other = rig.destination(), rig.destination()
    await migrate(rig.warehouse)
    await alone.keys.keep_filter()
    await rig.deliver(other, make_event(client_id="k", received_at=start))
    await rig.deliver(alone, make_event(client_id="k", received_at=start + timedelta(hours=1)))
    assert not alone.keys.has_filter
    assert await rig.count("events") == 1


async def test_filter_is_filled_anew_when_the_other_worker_has_left(rig: Rig) -> None:
    start = hours_ago(4)
    alone, other = rig.destination(), rig.destination()
    await migrate(rig.warehouse)
    await alone.keys.keep_filter()
    await rig.deliver(other, make_event(client_id="k", received_at=start))
    await left(other, alone)
    await rig.deliver(alone, make_event(client_id="other"))
    await alone.keys.keep_filter()
    assert alone.keys.has_filter
    await rig.deliver(alone, make_event(client_id="k", received_at=start + timedelta(hours=1)))
    assert await rig.count("events") == 2


async def test_every_event_is_looked_up_when_there_are_more_keys_than_the_filter_holds(
    rig: Rig,
) -> None:
    settings = replace(rig.settings, dedup_filter_keys=10)
    before = rig.destination()
    await rig.deliver(before, *(make_event(client_id=f"k{n}") for n in range(20)))
    small = WarehouseDestination(settings, rig.warehouse)
    await left(before, small)
    await small.keys.keep_filter()
    assert not small.keys.has_filter
    await rig.deliver(small, make_event(client_id="k7"))
    assert await rig.count("events") == 20


async def test_copy_is_recognised_when_the_filter_holds_no_keys(rig: Rig) -> None:
    await migrate(rig.warehouse)
    settings = replace(rig.settings, dedup_filter_keys=0)
    destination = WarehouseDestination(settings, rig.warehouse)
    await destination.keys.keep_filter()
    for _ in range(2):
        await rig.deliver(destination, make_event(client_id="k"))
    assert await rig.count("events") == 1


async def _recompute(destination: WarehouseDestination) -> None:
    await destination.rollups.recompute()


async def _types(rig: Rig) -> list[str]:
    return [counted.event_type for counted in (await rig.stats()).event_types]
