"""Live tails: who watches what, and one look a second at what was stored, however many watch.

* A feed is a tenant with a filter. It looks once a second while somebody watches it, and ends with
  its last watcher. All its watchers are at the same position but for those that go on from an id of
  their own, which the next look serves too.
* Each watcher has one piece that waits for it. While it waits, newer ones are merged into it: a
  slow reader costs no more than a quick one, and hears how many events were left off.
* Bounds: ``MAX_TAILS`` watchers, ``MAX_TAILS_OF_TENANT`` of one tenant; who hangs up before the
  first look is over is forgotten within ``GONE_WITHIN_S``, and who does not begin to read within
  ``OPEN_WITHIN_S`` after it; ``LOOKS_AT_ONCE`` looks at the warehouse at a time.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, Literal

from gateway.core.tail import (
    MAX_EVENTS,
    OVERLAP_MS,
    Position,
    Seen,
    TailData,
    advanced,
    is_to_show,
    known_to_all,
    masked,
    merged,
    types_of,
)
from gateway.waiting import first_of
from sluice.core.errors import WarehouseError
from sluice.telemetry import HTTP_OPEN_TAILS
from sluice.warehouse.tail import StoredEvent, TailAsk, Tailed, TailFilter

MAX_TAILS: Final = 64
MAX_TAILS_OF_TENANT: Final = 4
EVERY_S: Final = 1.0
REACH_S: Final = 300
"""How far back a tail goes on that was away."""
GONE_WITHIN_S: Final = 1.0
OPEN_WITHIN_S: Final = 2.0
LOOKS_AT_ONCE: Final = 2

Look = Callable[[str, TailFilter, TailAsk], Awaitable[Tailed]]
Refusal = Literal["tenant", "gateway", "stopping", "gone"]
"""Which bound is reached, or why else nobody watches."""

_log = logging.getLogger(__name__)


class Watcher:
    """One who watches a feed."""

    def __init__(self, position: Position | None, joined_at: float) -> None:
        self.position = position
        """What it has been told; None until the feed has looked for the first time."""
        self.joined_at = joined_at
        self.is_open = False
        self.is_over = False
        """Whether the feed has ended, or the gateway stops."""
        self.looked = asyncio.Event()
        """Set after each look, and at the end."""
        self._waiting: TailData | None = None

    def take(self) -> TailData | None:
        """Return what waits, once."""
        waiting, self._waiting = self._waiting, None
        return waiting

    def give(self, data: TailData | None) -> None:
        """Let data wait until it is taken."""
        if data is not None:
            self._waiting = data if self._waiting is None else merged(self._waiting, data)
        self.looked.set()

    def end(self) -> None:
        """Say that nothing comes any more."""
        self.is_over = True
        self.looked.set()


class Feed:
    """One tenant's events with one filter, while somebody watches."""

    def __init__(
        self,
        tenant: str,
        which: TailFilter,
        *,
        look: Look,
        monotonic: Callable[[], float],
    ) -> None:
        self.watchers: list[Watcher] = []
        self.began = asyncio.Event()
        """Set after the first look, however it ended."""
        self.fault: WarehouseError | None = None
        """Why the first look failed."""
        self._tenant = tenant
        self._which = which
        self._look = look
        self._monotonic = monotonic
        self._position: Position | None = None
        self._shown: deque[str] = deque(maxlen=MAX_EVENTS * (OVERLAP_MS // 1_000 + 2))

    @property
    def tenant(self) -> str:
        """Whose events these are."""
        return self._tenant

    def join(self, position: Position | None) -> Watcher:
        """Add a watcher, who goes on from a position or begins now.

        A position of the future is nobody's: it would silence the feed until then.
        """
        if position is not None and self._position is not None:
            latest_ms = self._position.floor_ms + 2 * OVERLAP_MS
            position = position if position.floor_ms <= latest_ms else None
        watcher = Watcher(position or self._position, self._monotonic())
        self.watchers.append(watcher)
        return watcher

    async def begin(self) -> bool:
        """Look for the first time: what is there now is not new. Whether it was seen."""
        ask = TailAsk(since_ms=0, reach_s=OVERLAP_MS // 1_000, known={}, wanted=0)
        try:
            found = await self._look(self._tenant, self._which, ask)
        except WarehouseError as error:
            self.fault = error
            return False
        else:
            self._position = advanced(found.groups, now_ms=found.now_ms)
            for watcher in self.watchers:
                watcher.joined_at = self._monotonic()  # it could not read before
                if watcher.position is None or watcher.position.floor_ms > found.now_ms:
                    watcher.position = self._position
            return True
        finally:
            self.began.set()

    async def look_on(self) -> None:
        """Look once, and give each watcher what is new to it."""
        self._forget_who_never_came()
        positions = {id(one.position): one.position for one in self.watchers if one.position}
        if not positions:
            return
        since_ms = min(position.floor_ms for position in positions.values())
        ask = TailAsk(
            since_ms=since_ms,
            reach_s=REACH_S,
            known=known_to_all(positions.values()),
            wanted=MAX_EVENTS,
        )
        found = await self._look(self._tenant, self._which, ask)
        news = {key: self._news(position, found) for key, position in positions.items()}
        self._shown.extend(event.event_id for event in found.events)
        since_ms = min(since_ms, found.now_ms)
        self._position = advanced(found.groups, now_ms=found.now_ms, since_ms=since_ms)
        for watcher in self.watchers:
            watcher.give(news.get(id(watcher.position)))
            if id(watcher.position) in news:  # else it joined meanwhile, with an id of its own
                watcher.position = self._position

    def _news(self, position: Position, found: Tailed) -> TailData | None:
        count = position.count_new(found.groups)
        events = [
            _seen(event)
            for event in found.events
            if is_to_show(position, (event.at_ms, event.event_id), found.groups, self._shown)
        ]
        if not (count or events):
            return None
        as_of = datetime.fromtimestamp(found.now_ms / 1_000, UTC)
        text = f"{as_of:%Y-%m-%dT%H:%M:%S}.{found.now_ms % 1_000:03}Z"
        return TailData(text, count, max(0, count - len(events)), events)

    def _forget_who_never_came(self) -> None:
        oldest = self._monotonic() - OPEN_WITHIN_S
        for watcher in list(self.watchers):
            if not watcher.is_open and watcher.joined_at < oldest:
                self.watchers.remove(watcher)
                watcher.end()


def _seen(event: StoredEvent) -> Seen:
    return Seen(
        event_id=event.event_id,
        received_at=f"{event.received_at}Z",
        event_type=event.event_type,
        user_id=masked(event.user_id),
        source=event.source,
        payload=types_of(event.members),
    )


class Tails:
    """All live tails of this gateway; ``run`` owns their tasks."""

    def __init__(
        self,
        look: Look,
        *,
        every_s: float = EVERY_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gate = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._read = look
        self._every_s = every_s
        self._monotonic = monotonic
        self._feeds: dict[tuple[str, TailFilter], Feed] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def _look(self, tenant: str, which: TailFilter, ask: TailAsk) -> Tailed:
        async with self._gate:  # stats and receipts go over the same few connections
            return await self._read(tenant, which, ask)

    async def run(self, stop: asyncio.Event) -> None:
        """Let tails be watched until ``stop``; then end them all at once."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await stop.wait()
            self._tasks = None
            for task in self._running:
                task.cancel()

    async def join(
        self,
        tenant: str,
        which: TailFilter,
        position: Position | None,
        *,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> Watcher | Refusal:
        """Return a new watcher, or why there is none.

        Args:
            tenant: Whose events.
            which: Which of them.
            position: Where to go on; None: from now.
            is_gone: Says whether who asked has hung up.

        Raises:
            WarehouseError: What is there now could not be read.
        """
        if self._tasks is None:
            return "stopping"
        if sum(len(feed.watchers) for feed in self._feeds.values()) >= MAX_TAILS:
            return "gateway"
        own = (feed for feed in self._feeds.values() if feed.tenant == tenant)
        if sum(len(feed.watchers) for feed in own) >= MAX_TAILS_OF_TENANT:
            return "tenant"
        key = (tenant, which)
        feed = self._feeds.get(key)
        if feed is None:
            feed = Feed(tenant, which, look=self._look, monotonic=self._monotonic)
            self._feeds[key] = feed
            task = self._tasks.create_task(self._feed(key, feed), name="tail")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        watcher = feed.join(position)
        self._count()
        try:
            while not (is_gone() or feed.began.is_set()):
                await first_of(feed.began, within_s=GONE_WITHIN_S)
        except asyncio.CancelledError:
            self._leave(feed, watcher)
            raise
        if is_gone():
            self._leave(feed, watcher)
            return "gone"
        if feed.fault is not None:
            self._leave(feed, watcher)
            raise feed.fault
        return watcher

    @contextmanager
    def watching(self, watcher: Watcher) -> Iterator[None]:
        """Keep a watcher among those who are told, and let it leave at the end."""
        watcher.is_open = True
        try:
            yield
        finally:
            for feed in self._feeds.values():
                self._leave(feed, watcher)

    def _leave(self, feed: Feed, watcher: Watcher) -> None:
        if watcher in feed.watchers:
            feed.watchers.remove(watcher)
            self._count()

    def _count(self) -> None:
        HTTP_OPEN_TAILS.set(sum(len(feed.watchers) for feed in self._feeds.values()))

    async def _feed(self, key: tuple[str, TailFilter], feed: Feed) -> None:
        """Look until nobody watches; a failure of ours ends this feed and nothing else."""
        try:
            if await feed.begin():
                await self._look_on(feed)
        except Exception:  # noqa: BLE001 - the top of a task, which must not end the gateway
            _log.exception("A live tail failed")
        finally:
            del self._feeds[key]
            for watcher in feed.watchers:
                watcher.end()
            feed.watchers.clear()
            self._count()

    async def _look_on(self, feed: Feed) -> None:
        is_away = False
        while feed.watchers:
            started = self._monotonic()
            try:
                await feed.look_on()
                is_away = False
            except WarehouseError as error:
                if not is_away:
                    _log.warning(
                        "The warehouse did not answer a live tail",
                        extra={"reason": str(error)[:500]},
                    )
                is_away = True
            await asyncio.sleep(max(0.0, started + self._every_s - self._monotonic()))
