"""Group commit: ``publish`` returns when the rows are durable, or says why they are not.

Constraints, in order of weight:

* ``None`` is returned only after the queue's own ``publish`` returned: after its fsync.
* While one group is on its way to the queue the next one gathers. A lone request is on its way
  after one turn of the loop, and under load groups grow by themselves, also by what has arrived
  already and waits for its turn of the loop.
* In between, where some hundred requests a second would each have a commit of their own, a small
  group waits for as many as waited when the last commit ended, at most until ``SPACE_S`` after that
  one began. Clients that wait for their answers are all in by then and go on at once.
* A queue far away may be given the next group before it has answered the last: when that has been
  on its way for ``NEXT_AFTER_S`` or the group has ``LARGE_BYTES``, up to ``max_in_flight``. So a
  slow answer costs its own time once, not twice, and a quick one still makes large groups.
* All requests of a group wait for one future that nobody can cancel, or are told (``offer``), so a
  client that hangs up takes nobody's rows with it: rows that were admitted are published.
* Bytes are bounded from admission until the queue has answered. Past the bound the answer is
  ``overloaded``, with the seconds until there is room at the measured rate.
* Whoever waits is answered within ``timeout_s``. A group that is still gathering then is thrown
  away; one that is on its way may yet be stored, which its clients were told (``publish_timeout``).

A crash before the queue's fsync loses rows that nobody was promised; one after it loses nothing.
A group of more than 64 KiB is compressed in a thread, in one go: each hand-over to a thread and
back costs as much as to compress 100 KB. Rows above 64 KiB are an envelope of their own, so that
nothing is copied to join them.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, Self
from uuid import uuid4

from gateway.group import DEFAULT_RETRY_AFTER_S, Group, Tell, Unstored, broken, too_late
from gateway.traces import RequestTrace
from sluice.core.envelope import Envelope, Rows, gather, seal
from sluice.core.errors import ErrorType, QueueFullError, QueueUnavailableError
from sluice.core.trace_context import MAX_CARRIED
from sluice.telemetry import (
    PUBLISH_ROWS,
    PUBLISH_SECONDS,
    PUBLISHED_EVENTS,
    TRACE_CONTEXTS_DROPPED,
)

SEAL_INLINE_BYTES: Final = 65_536
"""Compressing this much takes less time than handing it to a thread."""
SEAL_THREADS: Final = 1
"""One compresses several times as fast as the event loop can parse; a second would only be in its
way."""
NEXT_AFTER_S: Final = 0.01
LARGE_BYTES: Final = 512 * 1024
SPACE_S: Final = 0.002
"""Between the beginnings of two commits, where both are small and more requests are expected: a
commit costs the processor as much as ten events."""
SMALL_BYTES: Final = 16 * 1024
"""A group of this size is worth its commit."""
MAX_TURNS: Final = 16
"""Turns of the event loop that a group may go on gathering while each brings more rows."""
RATE_WEIGHT: Final = 0.2

_log = logging.getLogger(__name__)


class Durable(Protocol):
    """The part of a queue that a publisher needs."""

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        """Return when all envelopes are durable. See ``sluice.queue.protocol.Queue``."""


class Publisher:
    """Takes rows from many requests to the queue; an async context manager with a ``run``."""

    def __init__(
        self,
        queue: Durable,
        *,
        max_pending_bytes: int,
        timeout_s: float,
        max_in_flight: int = 1,
        space_s: float = SPACE_S,
        topic: str = "events",
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self._queue = queue
        self._topic = topic
        self._max_pending_bytes = max_pending_bytes
        self._timeout_s = timeout_s
        self._new_id = new_id
        self._max_in_flight = max_in_flight
        self._space_s = space_s
        self._in_flight = 0
        self._started_at = float("-inf")
        self._expected = 0
        """Requests that waited when the last commit ended: its own, and those that came meanwhile.
        """
        self._progress = asyncio.Event()
        self._enough = asyncio.Event()
        self._pending_bytes = 0
        self._bytes_per_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._gathering: Group | None = None
        self._wanted = asyncio.Event()
        self._threads = ThreadPoolExecutor(SEAL_THREADS, thread_name_prefix="seal")

    @property
    def pending_bytes(self) -> int:
        """Bytes that were admitted and are not settled yet."""
        return self._pending_bytes

    def refuse(self, size: int) -> Unstored | None:
        """Return why ``size`` more bytes cannot be taken now; None if they can."""
        pending = self._pending_bytes
        # A body larger than the whole bound must still pass when nothing else waits.
        if pending == 0 or pending + size <= self._max_pending_bytes:
            return None
        rate = self._bytes_per_s
        return Unstored(
            ErrorType.OVERLOADED,
            "Too many requests are waiting; retry after the time given.",
            pending / rate if rate else DEFAULT_RETRY_AFTER_S,
        )

    async def publish(
        self,
        rows: Sequence[Rows],
        *,
        within_s: float | None = None,
        trace: RequestTrace | None = None,
    ) -> Unstored | None:
        """Return None when all rows are durable, else why not. Never raises for a failed queue.

        Args:
            rows: What to store.
            within_s: For a client that waits for a shorter time than others; those of one group
                share the time of the first. Rows whose time is over may yet be stored, as those of
                any group that is on its way.
            trace: Of the request that they came with; None: it leaves none.
        """
        if trace is not None:
            with trace.publishing(rows) as publishing:
                outcome = await self.publish(publishing.rows, within_s=within_s)
                if outcome is not None:
                    publishing.fail(outcome.error_type)
            return outcome
        size = 0
        for one in rows:
            size += len(one.data)
        refusal = self.refuse(size)
        if refusal is not None:
            return refusal
        self._pending_bytes += size
        group = self._join(size)
        group.count += 1
        if group.is_awaited:
            self.hasten(group)
        group.rows.extend(rows)
        del rows
        return await (group.done if within_s is None else group.within(within_s, self._loop))

    def announce(self, make: Callable[[], None]) -> Group:
        """Have rows made when the group that gathers is committed, all at once.

        Args:
            make: Offers the rows; the same function each time.

        Returns:
            The group: its ``count`` and ``announced`` are kept by whoever announced.
        """
        group = self._join(0)
        group.make = make
        return group

    def hasten(self, group: Group) -> None:
        """Commit a group that is awaited, if it is worth it by now."""
        if not self._is_small(group):
            self._enough.set()

    def offer(self, rows: Sequence[Rows], tell: Tell) -> None:
        """As ``publish``, for who does not wait but is told.

        Args:
            rows: What to store. Asking ``refuse`` before is the caller's part: these are taken.
            tell: Called with what became of them.
        """
        size = sum(len(one.data) for one in rows)
        self._pending_bytes += size
        group = self._join(size)
        group.rows.extend(rows)
        group.tell.append(tell)

    def _join(self, size: int) -> Group:
        group = self._gathering
        if group is None:
            group = self._gathering = Group(self._loop)
            group.timer = self._loop.call_later(self._timeout_s, self._expire, group)
            self._wanted.set()
        group.size += size
        if group.size >= LARGE_BYTES:
            self._progress.set()
        return group

    def _is_small(self, group: Group) -> bool:
        """Whether more requests are expected, which are worth waiting for."""
        return group.size + group.announced < SMALL_BYTES and group.count < self._expected

    def _expire(self, group: Group) -> None:
        if self._gathering is group:
            self._make(group)
            self._gathering = None
            self._pending_bytes -= group.size
        group.settle(too_late())

    async def run(self, stop: asyncio.Event) -> None:
        """Commit group after group until ``stop`` is set and nothing waits."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wake_at(stop), name="publisher-stop")
            while True:
                group = self._gathering
                if group is None:
                    if stop.is_set():
                        return
                    self._wanted.clear()
                    await self._wanted.wait()
                    continue
                if self._in_flight:
                    await self._wait_for_turn(group)
                if not self._in_flight:
                    await self._let_arrive(group)
                await self._keep_space(group)
                if self._gathering is not group:
                    continue  # it waited for too long and was given up
                self._make(group)
                self._gathering = None
                self._started_at = self._loop.time()
                if self._max_in_flight == 1:
                    await self._commit(group)
                else:
                    self._in_flight += 1
                    tasks.create_task(self._commit_beside(group), name="commit")

    async def _wait_for_turn(self, group: Group) -> None:
        """Wait while others are on their way, until another may join them."""
        while self._in_flight:
            left_s: float | None = None
            if self._in_flight < self._max_in_flight:
                left_s = self._started_at + NEXT_AFTER_S - self._loop.time()
                if left_s <= 0 or group.size >= LARGE_BYTES:
                    return
            self._progress.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._progress.wait()
            except TimeoutError:
                continue

    async def _commit_beside(self, group: Group) -> None:
        try:
            await self._commit(group)
        finally:
            self._in_flight -= 1
            self._progress.set()

    async def _let_arrive(self, group: Group) -> None:
        """Let requests that have arrived already join; ends with the first turn that adds none."""
        had = (-1, -1)
        for _ in range(MAX_TURNS):
            if had == (group.count, group.size):
                return
            had = (group.count, group.size)
            await asyncio.sleep(0)

    def _make(self, group: Group) -> None:
        """Have the rows made that were announced: they join while it is the one that gathers."""
        make, group.make, group.announced = group.make, None, 0
        if make is not None:
            make()

    async def _keep_space(self, group: Group) -> None:
        """Wait for requests that are expected, a short time after the last commit began."""
        left_s = self._started_at + self._space_s - self._loop.time()
        if left_s <= 0 or not self._is_small(group):
            return
        self._enough.clear()
        group.is_awaited = True
        try:
            async with asyncio.timeout(left_s):
                await self._enough.wait()
        except TimeoutError:
            return
        finally:
            group.is_awaited = False

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._space_s = 0.0
        self._enough.set()
        self._wanted.set()

    async def _commit(self, group: Group) -> None:
        started = time.perf_counter()
        outcome: Unstored | None = broken("The group was given up.")
        try:
            outcome = await self._store(group)
        except Exception:  # noqa: BLE001 - the top of a commit: log, then decide
            _log.exception("A group commit failed")
            outcome = broken("The queue failed; retry after the time given.")
        finally:
            self._pending_bytes -= group.size
            arrived = self._gathering
            self._expected = group.count + (0 if arrived is None else arrived.count)
            group.settle(outcome)
        elapsed = time.perf_counter() - started
        PUBLISH_SECONDS.observe(("ok" if outcome is None else outcome.error_type.value,), elapsed)
        if outcome is None:
            self._measure(group.size / max(elapsed, 1e-6))

    async def _store(self, group: Group) -> Unstored | None:
        rows, group.rows = group.rows, []  # not held until the queue has answered
        if group.size <= SEAL_INLINE_BYTES:
            envelopes = self._seal(gather(rows))
        else:
            bodies = _bodies_of(rows)
            envelopes = await self._loop.run_in_executor(self._threads, self._seal, bodies)
            del bodies
        del rows
        try:
            await self._queue.publish(self._topic, envelopes)
        except QueueFullError as error:
            return Unstored(
                ErrorType.SPOOL_FULL,
                "The queue is full; retry after the time given.",
                error.retry_after_s,
            )
        except QueueUnavailableError:
            return broken("The queue cannot store events now; retry after the time given.")
        count = 0
        for envelope in envelopes:
            count += envelope.count
            PUBLISHED_EVENTS.add(envelope.count, envelope.kind)
        PUBLISH_ROWS.observe((), count)
        return None

    def _seal(self, bodies: Sequence[Rows]) -> list[Envelope]:
        envelopes = []
        for rows in bodies:
            if len(rows.traces) > MAX_CARRIED:
                over = len(set(rows.traces)) - MAX_CARRIED
                TRACE_CONTEXTS_DROPPED.labels("envelope").inc(max(0, over))
            envelopes.append(seal(rows, envelope_id=self._new_id()))
        return envelopes

    def _measure(self, bytes_per_s: float) -> None:
        old = self._bytes_per_s
        self._bytes_per_s = old + RATE_WEIGHT * (bytes_per_s - old) if old else bytes_per_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Release the threads; ``run`` has ended before."""
        self._threads.shutdown(wait=False)


def _bodies_of(waiting: Sequence[Rows]) -> list[Rows]:
    large: list[Rows] = []
    small: list[Rows] = []
    for rows in waiting:
        (large if len(rows.data) > SEAL_INLINE_BYTES else small).append(rows)
    return large + gather(small)
