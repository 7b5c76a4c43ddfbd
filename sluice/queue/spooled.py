"""A queue far away with a spool at hand: what the edge publishes through (design, decision 5).

* While the queue answers, envelopes go to it, and the spool is not touched.
* One failed or slow publish opens the breaker; from then on envelopes are fsynced to the spool at
  once, and nobody waits for a time-out.
* One task drains the spool, oldest first, a portion at a time, beside the new traffic, which does
  not queue behind it. Its first portion is the probe that closes the breaker.
* The spool is a file with a bound in bytes; past it: ``QueueFullError``. Several processes may
  share it, and whoever starts there drains what another left.

What a crash leaves: envelopes in the spool, some of which the queue may have stored already. They
are published again under the same ids, which changes nothing downstream.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final, Self

import structlog

from sluice.core.envelope import Envelope
from sluice.core.errors import QueueUnavailableError
from sluice.core.retry import Breaker, State
from sluice.queue.protocol import TOPICS, Backlog, Delivery, Queue, QueueState

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

SPOOL_TOPICS: Final = {topic: (topic,) for topic in TOPICS}
"""The spool's own topics: one subscription each, the drainer's."""
PUBLISH_TIMEOUT_S: Final = 1.0
"""How long a publish may take before it goes to the spool instead."""
DRAIN_TIMEOUT_S: Final = 10.0
DRAIN_MESSAGES: Final = 32
DRAIN_BYTES: Final = 8 * 1024 * 1024
"""Uncompressed; one portion of the drainer."""
DRAIN_LEASE_S: Final = 30.0
LOOK_EVERY_S: Final = 5.0
"""How soon the drainer sees what another process left in the spool."""
RETRY_S: Final = (0.25, 5.0)


class SpooledQueue:
    """The ``Queue`` protocol over a queue far away, with a spool; an async context manager."""

    def __init__(self, queue: Queue, spool: Queue) -> None:
        self._queue = queue
        self._spool = spool
        base_s, cap_s = RETRY_S
        self._breaker = Breaker(trip_after=1, base_s=base_s, cap_s=cap_s)
        self._has_spooled = asyncio.Event()
        self._open = AsyncExitStack()
        self._drainers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Open both, and begin to drain what is left in the spool."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._spool)
            await stack.enter_async_context(self._queue)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            self._drainers = [
                tasks.create_task(self._drain(topic), name=f"drain-{topic}")
                for topic in SPOOL_TOPICS
            ]
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Stop draining, then close both. What is in the spool stays."""
        for drainer in self._drainers:
            drainer.cancel()
        await self._open.aclose()

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        """Store envelopes in the queue, or else in the spool. See ``Queue.publish``."""
        if self._breaker.state is State.CLOSED and await self._sent(
            topic, envelopes, PUBLISH_TIMEOUT_S
        ):
            return
        await self._spool.publish(topic, envelopes)
        self._has_spooled.set()

    async def _sent(self, topic: str, envelopes: Sequence[Envelope], timeout_s: float) -> bool:
        was = self._breaker.state
        try:
            async with asyncio.timeout(timeout_s):
                await self._queue.publish(topic, envelopes)
        except (QueueUnavailableError, TimeoutError) as error:
            self._breaker.failed(time.monotonic(), jitter=random.random())  # noqa: S311 - see retry
            if was is State.CLOSED:
                detail = str(error) or f"no answer within {timeout_s:g} s"
                log.warning("Events go to the spool", detail=detail)
            return False
        self._breaker.succeeded()
        if was is not State.CLOSED:
            log.info("The queue answers again")
        return True

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
                is_more = False
            if not is_more:
                await self._rest()

    async def _drain_some(self, topic: str) -> bool:
        """Move one portion; return whether there may be more."""
        portion = await self._spool.pull(
            topic,
            max_messages=DRAIN_MESSAGES,
            max_bytes=DRAIN_BYTES,
            lease_s=DRAIN_LEASE_S,
            wait_s=0.0,
        )
        if not portion:
            if self._breaker.state is not State.CLOSED:
                await self._probe()
            return False
        envelopes = [delivery.envelope for delivery in portion]
        if await self._sent(topic, envelopes, DRAIN_TIMEOUT_S):
            await self._spool.ack(portion)
        else:
            await self._spool.release(portion)
        return True

    async def _probe(self) -> None:
        """Ask the queue how it is, where there is nothing to send."""
        if (await self._queue.state()).condition == "ok":
            self._breaker.succeeded()
        else:
            self._breaker.failed(time.monotonic(), jitter=random.random())  # noqa: S311 - see retry

    async def _rest(self) -> None:
        """Wait until something was spooled here, or for so long that another may have."""
        if self._breaker.state is not State.CLOSED:
            return
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._has_spooled.wait()
        except TimeoutError:
            return

    async def state(self) -> QueueState:
        """Return how the queue is, and how full the spool. Never raises."""
        there, here = await self._queue.state(), await self._spool.state()
        condition, detail = there.condition, there.detail
        if self._breaker.state is not State.CLOSED:
            condition = "unavailable" if here.condition == "ok" else here.condition
            detail = (
                f"{detail or 'The queue did not answer in time.'} Events go to the spool, which "
                f"holds {here.stored_bytes} of {here.max_bytes} bytes. {here.detail}"
            ).strip()
        return QueueState(
            condition=condition,
            detail=detail,
            since=there.since,
            stored_bytes=here.stored_bytes,
            max_bytes=here.max_bytes,
            drain_bytes_per_s=here.drain_bytes_per_s,
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
