"""A queue far away with a spool at hand: what the edge publishes through (design, decision 5).

* While the queue answers, envelopes go to it, and the spool is not touched.
* One failed or slow publish opens the breaker: whoever waits for the queue then, and all that
  follows, is fsynced to the spool at once, and nobody waits for a time-out.
* One task drains the spool, oldest first, a portion at a time, beside the new traffic, which does
  not queue behind it. Portions grow while the answers are quick, so that a queue that has just come
  back is not overrun. A quick answer to a portion closes the breaker; a slow one does not, because
  clients would wait as long.
* The spool is a file with a bound in bytes; past it: ``QueueFullError``. Several processes may
  share it, and whoever starts there drains what another left.

What a crash leaves: envelopes in the spool, some of which the queue may have stored already. They
are published again under the same ids, which changes nothing downstream.
"""

import asyncio
import math
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final, Self

from sluice.core.envelope import Envelope
from sluice.core.errors import QueueUnavailableError
from sluice.core.retry import Breaker, State
from sluice.logs import get_logger
from sluice.queue.filling import Filling
from sluice.queue.protocol import TOPICS, Backlog, Delivery, Queue, QueueState, SpoolState
from sluice.telemetry import SPOOLED_ENVELOPES

log: Final = get_logger(__name__)

SPOOL_TOPICS: Final = {topic: (topic,) for topic in TOPICS}
"""The spool's own topics: one subscription each, the drainer's."""
PUBLISH_TIMEOUT_S: Final = 1.0
"""How long a publish may take before it goes to the spool instead."""
QUICK_S: Final = 0.5
"""An answer that takes longer does not close the breaker."""
DRAIN_TIMEOUT_S: Final = (2.0, 10.0)
"""For the first try of a portion, and at most; it doubles with each that fails."""
DRAIN_MESSAGES: Final = 32
DRAIN_BYTES: Final = 8 * 1024 * 1024
"""Uncompressed; one portion of the drainer at most."""
DRAIN_LEASE_S: Final = 15.0
LOOK_EVERY_S: Final = 5.0
"""How soon the drainer sees what another process left in the spool."""
RETRY_S: Final = (0.25, 2.0)
WATCH_EVERY_S: Final = 1.0


class SpooledQueue:
    """The ``Queue`` protocol over a queue far away, with a spool; an async context manager."""

    def __init__(self, queue: Queue, spool: Queue) -> None:
        self._queue = queue
        self._spool = spool
        base_s, cap_s = RETRY_S
        self._breaker = Breaker(trip_after=1, base_s=base_s, cap_s=cap_s)
        self._since = time.time()
        self._detail = ""
        self._waiting: set[asyncio.Timeout] = set()
        """Of each publish that waits for the queue."""
        self._portion = 1
        self._has_spooled = asyncio.Event()
        self._filling = Filling()
        self._open = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Open both, and begin to drain what is left in the spool."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._spool)
            await stack.enter_async_context(self._queue)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            self._tasks = [
                tasks.create_task(self._drain(topic), name=f"drain-{topic}")
                for topic in SPOOL_TOPICS
            ]
            self._tasks.append(tasks.create_task(self._watch(), name="watch-spool"))
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Stop draining, then close both. What is in the spool stays."""
        for task in self._tasks:
            task.cancel()
        await self._open.aclose()

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        """Store envelopes in the queue, or else in the spool. See ``Queue.publish``."""
        if self._breaker.state is State.CLOSED and await self._publish_there(topic, envelopes):
            return
        await self._spool.publish(topic, envelopes)
        SPOOLED_ENVELOPES.add(len(envelopes), "spooled")
        self._has_spooled.set()

    async def _publish_there(self, topic: str, envelopes: Sequence[Envelope]) -> bool:
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S) as deadline:
                self._waiting.add(deadline)
                try:
                    await self._queue.publish(topic, envelopes)
                finally:
                    self._waiting.discard(deadline)
        except (QueueUnavailableError, TimeoutError) as error:
            if self._breaker.state is State.CLOSED:
                self._failed(str(error) or f"No answer within {PUBLISH_TIMEOUT_S:g} s.")
            return False
        return True

    def _failed(self, detail: str) -> None:
        was = self._breaker.state
        self._breaker.failed(time.monotonic(), jitter=random.random())  # noqa: S311 - see retry
        self._detail = detail
        self._portion = 1
        if was is State.CLOSED:
            self._since = time.time()
            log.warning("Events go to the spool", detail=detail)
            now = asyncio.get_running_loop().time()
            for deadline in self._waiting:
                if not deadline.expired():
                    deadline.reschedule(now)

    def _succeeded(self) -> None:
        was = self._breaker.state
        self._breaker.succeeded()
        if was is not State.CLOSED:
            lasted_s = round(time.time() - self._since, 1)
            log.info("The queue answers again", detail=self._detail, after_s=lasted_s)
            self._since = time.time()
            self._detail = ""

    # Draining.

    async def _drain(self, topic: str) -> None:
        while True:
            wait_s = self._breaker.wait_s(time.monotonic())
            if wait_s:
                await asyncio.sleep(wait_s)
                continue
            self._has_spooled.clear()  # before the look, so that nothing is missed behind it
            try:
                is_more = await self._drain_some(topic)
            except QueueUnavailableError as error:
                log.warning("The spool cannot be drained now", detail=str(error))
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            if not is_more:
                await self._rest()

    async def _drain_some(self, topic: str) -> bool:
        """Move one portion; return whether there may be more."""
        portion = await self._spool.pull(
            topic,
            max_messages=self._portion,
            max_bytes=DRAIN_BYTES,
            lease_s=DRAIN_LEASE_S,
            wait_s=0.0,
        )
        if not portion:
            if self._breaker.state is not State.CLOSED:
                await self._probe()
            return False
        try:
            is_moved = await self._move(topic, portion)
        except BaseException:
            await self._spool.release(portion)
            raise
        if is_moved:
            await self._spool.ack(portion)
            SPOOLED_ENVELOPES.add(len(portion), "drained")
        else:
            await self._spool.release(portion)
        return True

    async def _move(self, topic: str, portion: Sequence[Delivery]) -> bool:
        first_s, longest_s = DRAIN_TIMEOUT_S
        timeout_s = min(longest_s, first_s * 2.0 ** min(self._breaker.failures, 8))
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                await self._queue.publish(topic, [delivery.envelope for delivery in portion])
        except (QueueUnavailableError, TimeoutError) as error:
            self._failed(str(error) or f"No answer within {timeout_s:g} s.")
            return False
        if time.monotonic() - started <= QUICK_S:
            self._portion = min(2 * self._portion, DRAIN_MESSAGES)
            self._succeeded()
        else:
            self._portion = max(1, self._portion // 2)
        return True

    async def _probe(self) -> None:
        """Ask the queue how it is, where there is nothing to send."""
        started = time.monotonic()
        state = await self._queue.state()
        if state.condition != "ok":
            self._failed(state.detail)
        elif time.monotonic() - started <= QUICK_S:
            self._succeeded()
        else:
            self._failed("It answers too slowly.")

    async def _rest(self) -> None:
        """Wait until something was spooled here, or for so long that another may have."""
        if self._breaker.state is not State.CLOSED:
            return
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._has_spooled.wait()
        except TimeoutError:
            return

    # Figures.

    async def _watch(self) -> None:
        while True:
            state = await self._spool.state()
            self._filling.note(state.stored_bytes, now=time.monotonic())
            await asyncio.sleep(WATCH_EVERY_S)

    async def state(self) -> QueueState:
        """Return how the queue is, and how full the spool. Never raises."""
        here = await self._spool.state()
        spool = await self._spool_state(here)
        if self._breaker.state is State.CLOSED:
            there = await self._queue.state()
            condition, detail, since = there.condition, there.detail, there.since
        else:
            condition, detail, since = "unavailable", self._detail, self._since
        if condition != "ok":
            condition = "degraded" if here.condition == "ok" else here.condition
        elif here.condition == "unavailable":
            condition, since = "degraded", here.since  # the next outage would find no spool
        if here.condition == "full":
            detail = f"{detail} The spool is full: {_used(spool)}; events are refused."
        elif here.condition != "ok":
            detail = f"{detail} {here.detail}"
        elif spool.is_in_use:
            detail = f"{detail} {_in_words(spool)}"
        detail = detail.strip()
        return QueueState(
            condition=condition,
            detail=detail,
            since=since,
            stored_bytes=here.stored_bytes,
            max_bytes=here.max_bytes,
            drain_bytes_per_s=here.drain_bytes_per_s,
            spool=spool,
        )

    async def _spool_state(self, here: QueueState) -> SpoolState:
        oldest_age_s = 0.0
        if here.stored_bytes:
            try:
                backlogs = [await self._spool.backlog(topic) for topic in SPOOL_TOPICS]
                oldest_age_s = max(backlog.oldest_age_s for backlog in backlogs)
            except QueueUnavailableError:
                pass  # its condition says so
        return SpoolState(
            stored_bytes=here.stored_bytes,
            max_bytes=here.max_bytes,
            oldest_age_s=oldest_age_s,
            time_to_full_s=self._filling.time_to_full_s(here.max_bytes),
            is_in_use=self._breaker.state is not State.CLOSED,
        )

    # What only consumers use goes to the queue itself.

    async def pull(
        self,
        subscription: str,
        *,
        max_messages: int,
        max_bytes: int,
        lease_s: float,
        wait_s: float,
    ) -> list[Delivery]:
        """See ``Queue.pull``."""
        return await self._queue.pull(
            subscription,
            max_messages=max_messages,
            max_bytes=max_bytes,
            lease_s=lease_s,
            wait_s=wait_s,
        )

    async def extend(self, deliveries: Sequence[Delivery], *, lease_s: float) -> list[Delivery]:
        """See ``Queue.extend``."""
        return await self._queue.extend(deliveries, lease_s=lease_s)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Queue.ack``."""
        await self._queue.ack(deliveries)

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Queue.release``."""
        await self._queue.release(deliveries)

    async def dead_letter(self, deliveries: Sequence[Delivery], *, reason: str) -> None:
        """See ``Queue.dead_letter``."""
        await self._queue.dead_letter(deliveries, reason=reason)

    async def backlog(self, subscription: str) -> Backlog:
        """See ``Queue.backlog``."""
        return await self._queue.backlog(subscription)


def _in_words(spool: SpoolState) -> str:
    text = f"Events go to the spool, which holds {_used(spool)}"
    if math.isfinite(spool.time_to_full_s):
        text += f" and is full in {spool.time_to_full_s:.0f} s at this rate"
    return text + "."


def _used(spool: SpoolState) -> str:
    return f"{spool.stored_bytes} of {spool.max_bytes} bytes"
