"""An hour that is counted slot by slot says what one that is counted as a whole says."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from sluice.core.event import Event
from sluice.warehouse import upkeep
from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import STATS_SPANS, Query
from sluice.warehouse.stats import DAY_S, HOUR_S, Pieces, Stats, pieces_of
from tests.support.worker_rig import TENANT, Rig, envelopes, hours_ago, make_event
from worker.rollups import Rollups

HOUR: Final = hours_ago(2).replace(minute=0)
FILL: Final = Query(
    "fill",
    """
INSERT INTO events
    (tenant, event_id, user_id, event_type, occurred_at, received_at, source, payload)
SELECT {tenant:String}, generateUUIDv4(), concat('user-', toString(number % 997)),
    concat('type_', toString(number % 12)), now64(9), toDateTime64({at:UInt32}, 6, 'UTC'), 'track',
    '{}'
FROM numbers({events:UInt32})
""",
)


def at(second: float) -> datetime:
    return HOUR + timedelta(seconds=second)


def in_slots(rig: Rig) -> Rollups:
    """Return rollups for which every hour holds very many events."""
    return Rollups(rig.warehouse, many_events=1)


def text(second: float) -> tuple[str, str]:
    return TENANT, at(second).isoformat()[:18]


def counted(events: list[Event]) -> tuple[int, int, list[tuple[str, int]]]:
    types = Counter(event.event_type for event in events)
    ordered = sorted(types.items(), key=lambda item: (-item[1], item[0]))
    return len(events), len({event.user_id for event in events}), ordered


def said(stats: Stats) -> tuple[int, int, list[tuple[str, int]]]:
    types = [(one.event_type, one.count) for one in stats.event_types]
    return stats.total_events, stats.unique_users, types


async def is_all_counted(rig: Rig) -> bool:
    return not await rig.warehouse.fetch(upkeep.STALE_HOURS, limit=10)


async def rolled_up(rig: Rig) -> list[tuple[str, int]]:
    """Return what the table that people read says of the newest count."""
    rows = await rig.rows(
        "SELECT event_type, event_count FROM rollups FINAL WHERE event_type != '' AND "
        "computed_at = (SELECT max(computed_at) FROM rollups) ORDER BY event_count DESC, event_type"
    )
    return [(str(event_type), int(count)) for event_type, count in rows]


async def test_hour_in_slots_says_the_same_whatever_comes_late_twice_or_out_of_order(
    rig: Rig,
) -> None:
    destination = rig.destination()
    rollups = in_slots(rig)
    destination.rollups = rollups
    stored: list[Event] = []
    for turn in range(6):
        new = [
            make_event(
                event_type=f"type_{number % 3}",
                user_id=f"user-{number * (turn + 1) % 17}",
                received_at=at((turn * 1_700 + number * 13) % 3_600),
            )
            for number in range(40)
        ]
        # Some of what came before comes again, in the same batch and behind it.
        await rig.deliver(destination, *new, *stored[:5], new[0])
        stored += new
        await rollups.recompute()
        for window in ("24h", "7d"):
            assert said(await rig.stats(window)) == counted(stored)
        assert await rolled_up(rig) == counted(stored)[2]
        assert await is_all_counted(rig)
    assert await rig.count("rollup_spans FINAL WHERE span_s = 10") == 360


async def test_copy_in_another_slot_counts_once_when_the_first_accepted_comes_behind_it(
    rig: Rig,
) -> None:
    destination = rig.destination()
    destination.rollups = in_slots(rig)
    for second in (1_800, 5):
        await rig.deliver(destination, make_event(client_id="one", received_at=at(second)))
        for _ in range(2):
            await destination.rollups.touch([text(second)])
            await destination.rollups.recompute()
        assert (await rig.stats()).total_events == 1
    assert await is_all_counted(rig)


async def test_slot_that_another_worker_wrote_to_is_counted_too(rig: Rig) -> None:
    destination, other = rig.destination(), rig.destination()
    destination.rollups, other.rollups = in_slots(rig), in_slots(rig)
    for one in (destination, other, destination, other):
        await rig.deliver(one, make_event(received_at=at(20)), make_event(received_at=at(900)))
        await one.rollups.recompute()
    await rig.deliver(other, make_event(received_at=at(1_800)))  # and dies before it counts
    await rig.deliver(destination, make_event(received_at=at(40)))
    await destination.rollups.recompute()
    assert (await rig.stats()).total_events == 10
    assert await is_all_counted(rig)


@pytest.mark.parametrize("statements", range(2, 8))
async def test_crash_between_any_two_statements_is_seen_and_mended(
    rig: Rig, statements: int
) -> None:
    destination = rig.destination()
    rollups = destination.rollups = in_slots(rig)
    for second in (20, 900):
        await rig.deliver(destination, make_event(received_at=at(second)))
        await rollups.recompute()
    await rig.deliver(destination, make_event(received_at=at(1_800), user_id="late"))
    dying = Rollups(Dying(rig, statements), many_events=1)
    dying._touched = rollups._touched
    with pytest.raises(ConnectionResetError):
        await dying.recompute()
    assert (await rig.stats()).total_events in (2, 3)
    rows = await rig.warehouse.fetch(upkeep.STALE_HOURS, limit=10)
    assert {int(hour) for _, hour in rows} == {int(HOUR.timestamp())}
    successor = in_slots(rig)
    await successor.touch([])
    successor._touched.update((str(tenant), int(hour)) for tenant, hour in rows)
    await successor.recompute()
    stats = await rig.stats("7d")
    assert (stats.total_events, stats.unique_users) == (3, 2)
    assert await is_all_counted(rig)


class Staged(Warehouse):
    """A warehouse at which something else happens, once, before a statement of this client."""

    def __init__(self, rig: Rig, before: Query, act: Callable[[], Awaitable[object]]) -> None:
        super().__init__(rig.settings)
        self._rig = rig
        self._before = before
        self._act: Callable[[], Awaitable[object]] | None = act

    async def _come_to(self, query: Query) -> None:
        act = self._act
        if query is self._before and act is not None:
            self._act = None
            await act()

    async def fetch(self, query: Query, **given: Any) -> list[tuple[Any, ...]]:
        await self._come_to(query)
        return await self._rig.warehouse.fetch(query, **given)

    async def run(self, query: Query, **given: object) -> None:
        await self._come_to(query)
        await self._rig.warehouse.run(query, **given)


def staged(rig: Rig, before: Query, act: Callable[[], Awaitable[object]]) -> Rollups:
    """Return rollups that were asked to count the hour; ``act`` comes before one statement."""
    rollups = Rollups(Staged(rig, before, act), many_events=1)
    rollups._touched.add((TENANT, int(HOUR.timestamp())))
    return rollups


async def pieces(rig: Rig) -> Pieces:
    """Return what a reader would put the hour together from."""
    start = int(HOUR.timestamp())
    rows = await rig.warehouse.fetch(
        STATS_SPANS, tenant=TENANT, bucket_s=HOUR_S, start=start, end=start + HOUR_S
    )
    return pieces_of((row[:5] for row in rows), "24h")


async def sweep(rig: Rig) -> None:
    """Do what a worker does at its next sweep for hours that others left stale."""
    rows = await rig.warehouse.fetch(upkeep.STALE_HOURS, limit=10)
    rollups = in_slots(rig)
    rollups._touched.update((str(tenant), int(hour)) for tenant, hour in rows)
    await rollups.recompute()


async def test_note_that_arrives_late_is_seen_when_who_made_it_has_died(rig: Rig) -> None:
    """Its moment is that of its writing; another worker asks what is stale before it is there."""
    counting = rig.destination()
    counting.rollups = in_slots(rig)
    for second in (20, 900):
        await rig.deliver(counting, make_event(received_at=at(second)))
        await counting.rollups.recompute()
    await rig.deliver(counting, make_event(received_at=at(20)))
    noted_at = ""

    async def store_and_begin_to_note() -> None:
        nonlocal noted_at
        rows = envelopes([make_event(received_at=at(1_800), user_id="late")])
        await rig.warehouse.insert_rows("events", b"".join(row.body for row in rows))
        [(noted_at,)] = await rig.warehouse.fetch(upkeep.NOW)

    await staged(rig, upkeep.NOW, store_and_begin_to_note).recompute()
    await rig.warehouse.command(
        "INSERT INTO touched_hours (tenant, hour, slot, touched_at)"  # noqa: S608 - ours
        f" VALUES ('{TENANT}', '{HOUR:%Y-%m-%d %H:%M:%S}', 0, '{noted_at}')"
    )
    await sweep(rig)
    assert (await rig.stats("7d")).total_events == 4
    assert [count for _, count in await rolled_up(rig)] == [4]
    assert await is_all_counted(rig)


async def test_hour_is_not_stale_when_two_workers_count_it_at_once(rig: Rig) -> None:
    """The one that looked at the clock first sums up what the other has counted."""
    destination = rig.destination()
    destination.rollups = in_slots(rig)
    for second in (20, 900):
        await rig.deliver(destination, make_event(received_at=at(second)))
        await destination.rollups.recompute()
    has_begun, may_go_on = asyncio.Event(), asyncio.Event()

    async def wait_for_the_other() -> None:
        has_begun.set()
        await may_go_on.wait()

    async with asyncio.TaskGroup() as tasks:
        earlier = staged(rig, upkeep.HOURS_IN_SLOTS, wait_for_the_other)
        counting = tasks.create_task(earlier.recompute())
        await has_begun.wait()
        await rig.deliver(destination, make_event(received_at=at(1_800)))

        async def let_it_sum_up() -> None:
            may_go_on.set()
            await asyncio.wait([counting])

        await staged(rig, upkeep.SUM_UP, let_it_sum_up).recompute()
    for _ in range(2):
        now = await pieces(rig)
        assert (now.live_hours, now.age_us) == ([], 0)
        assert (await rig.stats()).total_events == 3
        assert await is_all_counted(rig)
        # The parts that were replaced go; what was said in them only is not known any more.
        await rig.warehouse.command("OPTIMIZE TABLE rollup_spans FINAL")


async def test_hour_that_a_dead_worker_did_not_write_to_rollups_is_written(rig: Rig) -> None:
    """Also where another worker has put the day together meanwhile."""
    destination = rig.destination()
    other_hour = HOUR + timedelta(hours=-1 if HOUR.hour else 1)
    for second in (20, 900):
        await rig.deliver(destination, make_event(received_at=at(second)))
    await sweep(rig)
    await rig.deliver(destination, make_event(received_at=at(1_800)))

    async def another_counts_and_this_one_dies() -> None:
        another = rig.destination()
        await rig.deliver(another, make_event(received_at=other_hour))
        await another.rollups.recompute()
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await staged(rig, upkeep.ROLLUPS_OF_SPANS, another_counts_and_this_one_dies).recompute()
    await sweep(rig)
    rows = await rig.rows(
        "SELECT argMax(event_count, computed_at) FROM rollups WHERE event_type != ''"  # noqa: S608 - ours
        f" AND hour = '{HOUR:%Y-%m-%d %H:%M:%S}' GROUP BY event_type"
    )
    assert rows == [(3,)]
    assert await is_all_counted(rig)


class Dying(Warehouse):
    """A warehouse whose client dies behind so many statements."""

    def __init__(self, rig: Rig, statements: int) -> None:
        super().__init__(rig.settings)
        self._rig = rig
        self._left = statements

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ConnectionResetError

    async def fetch(self, query: Query, **given: Any) -> list[tuple[Any, ...]]:
        self._count()
        return await self._rig.warehouse.fetch(query, **given)

    async def run(self, query: Query, **given: object) -> None:
        self._count()
        await self._rig.warehouse.run(query, **given)


async def test_recomputation_of_a_full_hour_does_not_read_what_it_held_before(rig: Rig) -> None:
    await rig.deliver(rig.destination(), make_event(received_at=at(0)))
    await rig.warehouse.command("SYSTEM STOP MERGES events")
    for second in (1, 900, 1_800):
        await rig.warehouse.run(FILL, tenant=TENANT, at=int(at(second).timestamp()), events=100_000)
    rollups = in_slots(rig)
    for _ in range(2):
        await rollups.touch([text(0)])
        await rollups.recompute()
    await rig.warehouse.run(FILL, tenant=TENANT, at=int(at(3_599).timestamp()), events=1_000)
    await rollups.touch([text(3_599)])
    assert (await rig.stats()).total_events in (300_001, 301_001)
    read = await rows_read(rig, rollups)
    assert (await rig.stats()).total_events == 301_001
    assert 1_000 <= read < 50_000


@pytest.mark.parametrize("bucket_s", [HOUR_S, DAY_S])
async def test_reader_is_told_how_many_events_an_hour_holds(rig: Rig, bucket_s: int) -> None:
    """By that it knows which hours had better not be counted live."""
    destination = rig.destination()
    stored = [make_event(event_type=f"type_{n % 3}", received_at=at(n)) for n in range(30)]
    await rig.deliver(destination, *stored)
    await destination.rollups.recompute()
    start = int(HOUR.timestamp())
    asked: dict[str, Any] = {
        "tenant": TENANT,
        "start": start,
        "end": start + HOUR_S,
        "bucket_s": bucket_s,
    }
    known = await rig.warehouse.fetch(STATS_SPANS, **asked)
    assert {row[4] for row in known if row[0] == HOUR_S} == {30}


async def rows_read(rig: Rig, rollups: Rollups) -> int:
    """Return how many rows the statements of a recomputation read, by the engine's own count."""
    before = await _selected(rig)
    await rollups.recompute()
    return await _selected(rig) - before


async def _selected(rig: Rig) -> int:
    [(rows,)] = await rig.rows("SELECT value FROM system.events WHERE event = 'SelectedRows'")
    return int(rows)
