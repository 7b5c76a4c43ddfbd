"""Who watches what: shared looks, bounds, late rows and slow readers, over a store in memory."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.core.tail import OVERLAP_MS, Position, TailData
from gateway.tails import MAX_TAILS, MAX_TAILS_OF_TENANT, OPEN_WITHIN_S, Tails, Watcher
from sluice.core.errors import WarehouseUnavailableError
from sluice.warehouse.tail import StoredEvent, TailAsk, Tailed, TailFilter
from tests.support.poll import poll_until

ANY = TailFilter()
EVERY_S = 0.002


class Store:
    """Events of tenants as ClickHouse would show them; its clock is moved by the test."""

    def __init__(self) -> None:
        self.now_ms = 1_795_314_363_641
        self.events: list[tuple[str, StoredEvent]] = []
        self.looks: Counter[tuple[str, TailFilter]] = Counter()
        self.at_once = self.most_at_once = 0
        self.is_away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self._ids = iter(range(10**9))

    def add(self, tenant: str = "acme", *, ago_ms: int = 0, event_type: str = "a") -> str:
        """Make an event visible that bears the time of ``ago_ms`` before now; return its id."""
        event_id = f"e-{next(self._ids)}"
        at_ms = self.now_ms - ago_ms
        event = StoredEvent(at_ms, event_id, "2026-04-25T13:30:00", event_type, "u", "track", ())
        self.events.append((tenant, event))
        return event_id

    async def look(self, tenant: str, which: TailFilter, ask: TailAsk) -> Tailed:
        """Answer as the query does."""
        self.looks[tenant, which] += 1
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        if self.is_away:
            message = "away"
            raise WarehouseUnavailableError(message)
        since_ms = max(ask.since_ms, self.now_ms - ask.reach_s * 1_000)
        found = [
            event
            for owner, event in self.events
            if owner == tenant
            and since_ms <= event.at_ms <= self.now_ms
            and which.event_type in ("", event.event_type)
        ]
        groups = dict(Counter(event.at_ms for event in found))
        new = [event for event in found if ask.known.get(event.at_ms) != groups[event.at_ms]]
        new.sort(key=lambda event: (event.at_ms, event.event_id), reverse=True)
        return Tailed(self.now_ms, groups, new[: ask.wanted])


@asynccontextmanager
async def running(store: Store, **options: Any) -> AsyncIterator[Tails]:
    """Run tails over a store; stop them at the end."""
    tails = Tails(store.look, every_s=EVERY_S, **options)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tails.run(stop))
        await asyncio.sleep(0)
        yield tails
        stop.set()


async def joined(
    tails: Tails, tenant: str = "acme", which: TailFilter = ANY, after: Position | None = None
) -> Watcher:
    """Join, which must be possible."""
    watcher = await tails.join(tenant, which, after)
    assert isinstance(watcher, Watcher)
    return watcher


class Told:
    """All that one watcher was told."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.ids: list[str] = []
        self.count = 0
        self.left_off = 0

    def listen(self) -> "Told":
        """Take what waits."""
        data: TailData | None = self._watcher.take()
        if data is not None:
            self.ids += [event.event_id for event in data.events]
            self.count += data.count
            self.left_off += data.left_off
        return self

    async def when(self, count: int) -> "Told":
        """Wait until so many events were told of."""
        await poll_until(lambda: self.listen().count >= count, what=f"{count} events")
        assert self.count == count
        return self


async def looks(store: Store, more: int = 2) -> None:
    """Wait until every feed has looked a few times more."""
    until = store.looks.total() + more
    await poll_until(lambda: store.looks.total() >= until, every_s=EVERY_S, what="looks")


async def test_watcher_is_told_of_what_comes_and_not_of_what_was_there() -> None:
    store = Store()
    store.add(ago_ms=50)
    async with running(store) as tails:
        watcher = await joined(tails)
        with tails.watching(watcher):
            told = Told(watcher)
            one = store.add()
            assert (await told.when(1)).ids == [one]
            store.now_ms += 1
            store.add("other")
            two = store.add()
            assert (await told.when(2)).ids == [one, two]


async def test_events_are_told_once_in_any_order_of_becoming_visible_under_load() -> None:
    chance = random.Random(8)  # noqa: S311 - spreads events, guards nothing
    store = Store()
    async with running(store) as tails:
        watcher = await joined(tails)
        expected = []
        with tails.watching(watcher):
            told = Told(watcher)
            for _ in range(300):
                store.now_ms += chance.randrange(50)
                # At most as late as the overlap allows between two looks.
                late = chance.choices([0, 1, 7, 900, 2_000], k=chance.randrange(4))
                expected += [store.add(ago_ms=ago_ms) for ago_ms in late]
                await looks(store, 1)
                told.listen()
            await told.when(len(expected))
            await looks(store)
            told.listen()
    assert told.count == len(expected)
    assert Counter(told.ids) == Counter(expected)
    assert told.left_off == 0


async def test_feed_looks_once_for_all_who_watch_it_and_not_at_all_when_nobody_does() -> None:
    store = Store()
    async with running(store) as tails:
        watchers = [await joined(tails) for _ in range(3)]
        narrow = await joined(tails, which=TailFilter(event_type="b"))
        assert set(store.looks) == {("acme", ANY), ("acme", TailFilter(event_type="b"))}
        one, two = store.add(event_type="a"), store.add(event_type="b")
        for watcher in watchers:
            assert sorted((await Told(watcher).when(2)).ids) == sorted([one, two])
        assert (await Told(narrow).when(1)).ids == [two]
        for watcher in (*watchers, narrow):
            with tails.watching(watcher):
                pass
        await asyncio.sleep(10 * EVERY_S)
        before = store.looks.total()
        await asyncio.sleep(20 * EVERY_S)
        assert store.looks.total() == before


async def test_watcher_goes_on_from_where_another_gateway_left_off() -> None:
    store = Store()
    async with running(store) as tails:
        first = await joined(tails)
        with tails.watching(first):
            store.add()
            await Told(first).when(1)
            position = first.position
    store.now_ms += 30_000
    missed = [store.add(ago_ms=ago_ms) for ago_ms in (29_000, 15_000, 10)]
    async with running(store) as tails:
        neighbour = await joined(tails)
        resumed = await joined(tails, after=position)
        told = await Told(resumed).when(3)
        assert sorted(told.ids) == sorted(missed)
        store.now_ms += 1
        new = store.add()
        assert (await told.when(4)).ids[-1] == new
        assert (await Told(neighbour).when(1)).ids == [new]


@pytest.mark.parametrize("is_first", [True, False])
async def test_position_of_the_future_silences_nobody(*, is_first: bool) -> None:
    store = Store()
    forged = Position(store.now_ms + 10**12, {})
    async with running(store) as tails:
        if is_first:
            watchers = [await joined(tails, after=forged), await joined(tails)]
        else:
            watchers = [await joined(tails), await joined(tails, after=forged)]
        store.now_ms += 1
        new = store.add()
        for watcher in watchers:
            assert (await Told(watcher).when(1)).ids == [new]


async def test_slow_reader_keeps_one_piece_and_hears_what_was_left_off() -> None:
    store = Store()
    async with running(store) as tails:
        watcher = await joined(tails)
        with tails.watching(watcher):
            newest: list[str] = []
            for _ in range(40):
                store.now_ms += 1
                newest = [store.add() for _ in range(10)]
                await looks(store, 1)
            await looks(store)
            data = watcher.take()
    assert data is not None
    assert (data.count, len(data.events), data.left_off) == (400, 50, 350)
    assert {event.event_id for event in data.events} >= set(newest)


async def test_tails_are_bounded_for_each_tenant_and_in_all() -> None:
    store = Store()
    async with running(store) as tails:
        own = [await joined(tails) for _ in range(MAX_TAILS_OF_TENANT)]
        assert await tails.join("acme", TailFilter(source="track"), None) == "tenant"
        others = range((MAX_TAILS - len(own)) // MAX_TAILS_OF_TENANT)
        for number in others:
            for _ in range(MAX_TAILS_OF_TENANT):
                await joined(tails, f"t-{number}")
        assert await tails.join("late", ANY, None) == "gateway"
        with tails.watching(own[0]):
            pass
        await joined(tails, "late")
        await looks(store, 100)
        assert store.most_at_once <= 2


async def test_client_that_is_gone_before_the_first_look_keeps_no_room() -> None:
    store = Store()
    async with running(store) as tails:
        store.gate.clear()  # the warehouse takes its time
        gone = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            joins = [
                tasks.create_task(tails.join("acme", ANY, None, is_gone=gone.is_set))
                for _ in range(MAX_TAILS_OF_TENANT)
            ]
            await poll_until(lambda: store.looks.total() == 1, what="the first look")
            assert await tails.join("acme", ANY, None) == "tenant"
            gone.set()
        assert [join.result() for join in joins] == ["gone"] * MAX_TAILS_OF_TENANT
        store.gate.set()
        await joined(tails)


async def test_client_that_is_gone_after_the_first_look_keeps_no_room() -> None:
    async with running(Store()) as tails:
        for _ in range(2 * MAX_TAILS_OF_TENANT):
            assert await tails.join("acme", ANY, None, is_gone=lambda: True) == "gone"
        await joined(tails)


async def test_watcher_has_its_time_to_read_however_long_the_first_look_took() -> None:
    store = Store()
    clock = [0.0]
    async with running(store, monotonic=lambda: clock[0]) as tails:
        store.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            join = tasks.create_task(joined(tails))
            await poll_until(lambda: store.looks.total() == 1, what="the first look")
            clock[0] += OPEN_WITHIN_S + 1
            store.gate.set()
        with tails.watching(join.result()):
            await looks(store)
            assert not join.result().is_over


async def test_watcher_who_never_reads_is_forgotten() -> None:
    store = Store()
    clock = [0.0]
    async with running(store, monotonic=lambda: clock[0]) as tails:
        gone = [await joined(tails) for _ in range(MAX_TAILS_OF_TENANT)]
        clock[0] += OPEN_WITHIN_S + 1
        await poll_until(lambda: all(watcher.is_over for watcher in gone), what="all forgotten")
        assert isinstance(await tails.join("acme", ANY, None), Watcher)


async def test_stop_ends_all_tails_at_once_even_in_the_middle_of_a_look() -> None:
    store = Store()
    tails = Tails(store.look, every_s=30)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running_tails = tasks.create_task(tails.run(stop))
        await asyncio.sleep(0)
        watchers = [await joined(tails), await joined(tails, "other")]
        store.gate.clear()
        stop.set()
        async with asyncio.timeout(1):
            await running_tails
    assert all(watcher.is_over and watcher.looked.is_set() for watcher in watchers)
    assert await tails.join("acme", ANY, None) == "stopping"


async def test_join_fails_with_the_warehouse_and_leaves_nothing_behind() -> None:
    store = Store()
    store.is_away = True
    async with running(store) as tails:
        for _ in range(2 * MAX_TAILS_OF_TENANT):
            with pytest.raises(WarehouseUnavailableError):
                await tails.join("acme", ANY, None)
        store.is_away = False
        await joined(tails)


async def test_nothing_is_missed_when_the_warehouse_was_away_for_a_while() -> None:
    store = Store()
    async with running(store) as tails:
        watcher = await joined(tails)
        with tails.watching(watcher):
            store.is_away = True
            await looks(store)
            missed = [store.add()]
            store.now_ms += 5 * OVERLAP_MS
            missed.append(store.add())
            store.is_away = False
            assert sorted((await Told(watcher).when(2)).ids) == missed


async def test_cancelled_join_leaves_nothing_behind() -> None:
    store = Store()
    async with running(store) as tails:
        store.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            joins = [
                tasks.create_task(tails.join("acme", ANY, None)) for _ in range(MAX_TAILS_OF_TENANT)
            ]
            await asyncio.sleep(0.01)
            for join in joins:
                join.cancel()
        store.gate.set()
        await joined(tails)


async def test_failure_of_ours_ends_the_feed_and_nothing_else() -> None:
    store = Store()

    async def look(tenant: str, which: TailFilter, ask: TailAsk) -> Tailed:
        if tenant == "acme" and ask.wanted:
            message = "a mistake"
            raise LookupError(message)
        return await store.look(tenant, which, ask)

    tails = Tails(look, every_s=EVERY_S)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tails.run(stop))
        await asyncio.sleep(0)
        failed, well = await joined(tails), await joined(tails, "other")
        await poll_until(lambda: failed.is_over, what="the feed ended")
        store.add("other")
        await Told(well).when(1)
        stop.set()
