"""Pulls envelopes of one subscription and hands them to its destination; knows none by name.

Order of operations, and what a crash leaves: pull (leases end by themselves), prepare, deliver
(idempotent), commit, acknowledge. Whatever was not acknowledged is delivered again.

While the destination is away the consumer keeps what it holds, renews the leases and pulls nothing
more; it neither gives good envelopes back nor puts them aside (design, decision 6). It holds three
batches at most: one that is being committed, one that is being delivered, and one that gathers.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sluice.core.errors import QueueUnavailableError
from sluice.core.retry import Breaker, State, backoff_s
from sluice.logs import get_logger
from sluice.queue.protocol import Delivery, Queue
from sluice.telemetry import DESTINATION_BATCH, DESTINATION_FAILURES, DESTINATION_LAST_DELIVERY
from worker.core.batches import MAX_PAUSE_S, Gathering, Limits, is_due, is_full, pause_s
from worker.delivery import Deliverer, RetryLaterError
from worker.traces import BatchTrace, BatchTraces
from worker.waiting import wait_for_event

LEASE_S: Final = 10.0
PULL_WAIT_S: Final = 0.5
"""How long one pull waits for the first envelope: also how soon a stop is seen."""
PULL_MESSAGES: Final = 1_000
PULL_BYTES: Final = 8 * 1024 * 1024
QUEUE_BACKOFF_S: Final = (0.1, 5.0)
ACK_TRIES: Final = 5
"""After these the leases run out and the envelopes come again, which changes nothing."""

log: Final = get_logger(__name__)


@dataclass(slots=True)
class _Batch:
    deliveries: list[Delivery] = field(default_factory=list)
    prepared: list[Any] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    started_at: float = 0.0


class Consumer:
    """One subscription's way to its destination."""

    def __init__(
        self,
        queue: Queue,
        deliverer: Deliverer[Any],
        *,
        subscription: str,
        limits: Limits,
        is_ordered: bool = False,
        name: str = "",
        traces: BatchTraces | None = None,
    ) -> None:
        """Take the parts; ``name`` is the destination's in metrics, else the subscription's."""
        self._traces = traces or BatchTraces(None, subscription)
        self._queue = queue
        self._deliverer = deliverer
        self._subscription = subscription
        self._limits = limits
        self._is_ordered = is_ordered
        self._is_started = False
        self._breaker = Breaker()
        self._held: dict[str, Delivery] = {}
        self._handed: _Batch | None = None
        self._has_work = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._last_handed_at = -1e9
        self._beat_at = time.monotonic()
        name = name or subscription
        self._failures = DESTINATION_FAILURES.labels(name)
        self._batch_rows = DESTINATION_BATCH.labels(name)
        self._name = name

    @property
    def breaker(self) -> State:
        """Whether the destination is being left alone."""
        return self._breaker.state

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the consumer last showed that it is not stuck."""
        # One that has not started waits for another process, which may take as long as it likes.
        return time.monotonic() - self._beat_at if self._is_started else 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until ``stop``; then finish the batch in hand and give the rest back."""
        await self._deliverer.start(stop)
        if self._is_ordered:
            await self._let_leases_end(stop)
        self._beat_at = time.monotonic()
        self._is_started = True
        async with asyncio.TaskGroup() as tasks:
            keeper = tasks.create_task(self._keep_leases(), name="leases")
            deliverer = tasks.create_task(self._deliver_all(stop), name="deliver")
            await self._gather_all(stop)
            self._has_work.set()
            await deliverer
            keeper.cancel()
        await self._release(list(self._held.values()))

    async def _let_leases_end(self, stop: asyncio.Event) -> None:
        """Wait until what a worker held that died can be pulled again, before what came later.

        Where another worker lives its leases go on; then a lease's length is waited for in vain.
        """
        until = time.monotonic() + LEASE_S
        while time.monotonic() < until and not stop.is_set():
            try:
                if not (await self._queue.backlog(self._subscription)).leased:
                    return
            except QueueUnavailableError as error:
                log.debug("The queue did not answer", detail=str(error))
            await wait_for_event(stop, PULL_WAIT_S)

    async def _gather_all(self, stop: asyncio.Event) -> None:
        failures = 0
        batch = _Batch()
        while not stop.is_set():
            try:
                await self._gather_one(batch, stop)
                batch = _Batch()
                failures = 0
            except QueueUnavailableError as error:
                failures += 1
                log.warning("The queue did not answer", detail=str(error), failures=failures)
                base_s, cap_s = QUEUE_BACKOFF_S
                wait_s = backoff_s(failures, base_s=base_s, cap_s=cap_s, jitter=_jitter())
                await wait_for_event(stop, wait_s)

    async def _gather_one(self, batch: _Batch, stop: asyncio.Event) -> None:
        """Add to a batch until it is handed over; if the queue fails, what it holds stays in it."""
        is_drained = False
        while not stop.is_set():
            self._beat_at = time.monotonic()
            state = self._gathering(batch, is_drained=is_drained)
            if is_due(state, self._limits):
                if self._is_idle.is_set():
                    self._hand_over(batch)
                    return
                if is_full(state, self._limits):
                    await wait_for_event(self._is_idle, PULL_WAIT_S)
                    continue
                await wait_for_event(self._is_idle, MAX_PAUSE_S)
            elif batch.rows:
                await wait_for_event(stop, pause_s(state, self._limits))
            is_drained = not await self._pull_into(batch)

    def _gathering(self, batch: _Batch, *, is_drained: bool) -> Gathering:
        now = time.monotonic()
        return Gathering(
            rows=batch.rows,
            bytes=batch.bytes,
            age_s=now - batch.started_at if batch.rows else 0.0,
            since_last_s=now - self._last_handed_at,
            is_drained=is_drained,
        )

    async def _pull_into(self, batch: _Batch) -> bool:
        """Pull once; return whether there is likely more at once."""
        room = max(1, min(PULL_BYTES, self._limits.max_bytes - batch.bytes))
        deliveries = await self._queue.pull(
            self._subscription,
            max_messages=PULL_MESSAGES,
            max_bytes=room,
            lease_s=LEASE_S,
            wait_s=0.0 if batch.rows else PULL_WAIT_S,
        )
        if not deliveries:
            return False
        self._held.update((delivery.lease_id, delivery) for delivery in deliveries)
        if not batch.rows:
            batch.started_at = time.monotonic()
        prepared = await asyncio.to_thread(self._prepare, deliveries)
        pulled_bytes = sum(delivery.envelope.raw_bytes for delivery in deliveries)
        batch.deliveries += deliveries
        batch.prepared += prepared
        batch.rows += sum(delivery.envelope.count for delivery in deliveries)
        batch.bytes += pulled_bytes
        return 2 * len(deliveries) >= PULL_MESSAGES or 2 * pulled_bytes >= room

    def _prepare(self, deliveries: Sequence[Delivery]) -> list[Any]:
        return [self._deliverer.prepare(delivery) for delivery in deliveries]

    def _hand_over(self, batch: _Batch) -> None:
        self._handed = batch
        self._last_handed_at = time.monotonic()
        self._is_idle.clear()
        self._has_work.set()

    async def _deliver_all(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            finishing: asyncio.Task[None] | None = None
            while True:
                await self._has_work.wait()
                self._has_work.clear()
                batch, self._handed = self._handed, None
                if batch is not None:
                    if await self._deliver_one(batch, stop):
                        if finishing is not None:
                            await finishing
                        finishing = tasks.create_task(self._finish(batch, stop), name="finish")
                    self._is_idle.set()
                elif stop.is_set():
                    return
                if stop.is_set():
                    self._has_work.set()

    async def _finish(self, batch: _Batch, stop: asyncio.Event) -> None:
        """Commit and acknowledge a delivered batch; not if stopped before it is committed."""
        base_s, cap_s = QUEUE_BACKOFF_S
        failures = 0
        while True:
            try:
                await self._deliverer.commit()
                break
            except RetryLaterError as error:
                failures += 1
                log.warning("A batch could not be committed", detail=str(error), failures=failures)
                if stop.is_set():
                    return
                wait_s = backoff_s(failures, base_s=base_s, cap_s=cap_s, jitter=_jitter())
                await wait_for_event(stop, wait_s)
        await self._ack(batch.deliveries, stop)

    async def _deliver_one(self, batch: _Batch, stop: asyncio.Event) -> bool:
        """Deliver, trying again while the destination is away; False if stopped before."""
        with self._traces.delivering(batch.deliveries) as trace:
            is_delivered = await self._try_until_taken(batch, stop, trace)
            if trace is not None and not is_delivered:
                trace.fail("stopped")
        return is_delivered

    async def _try_until_taken(
        self, batch: _Batch, stop: asyncio.Event, trace: BatchTrace | None
    ) -> bool:
        while True:
            wait_s = self._breaker.wait_s(time.monotonic())
            if wait_s:
                await wait_for_event(stop, wait_s)
                if stop.is_set():
                    return False
                continue
            if trace is not None:
                trace.tried()
            try:
                await self._deliverer.deliver(batch.prepared)
            except RetryLaterError as error:
                self._failures.inc()
                was = self._breaker.state
                self._breaker.failed(time.monotonic(), jitter=_jitter())
                self._report(was, str(error))
                if stop.is_set():
                    return False
            else:
                was = self._breaker.state
                self._breaker.succeeded()
                self._batch_rows.observe(batch.rows)
                # Its first value makes the series: 0 would say that the last was in 1970.
                DESTINATION_LAST_DELIVERY.labels(self._name).set_to_current_time()
                self._report(was, "")
                return True

    def _report(self, was: State, detail: str) -> None:
        now = self._breaker.state
        if was is not State.OPEN and now is State.OPEN and was is not State.HALF_OPEN:
            log.warning("Breaker opened", subscription=self._subscription, detail=detail)
        elif was is not State.CLOSED and now is State.CLOSED:
            log.info("Breaker closed", subscription=self._subscription)

    async def _ack(self, deliveries: list[Delivery], stop: asyncio.Event) -> None:
        base_s, cap_s = QUEUE_BACKOFF_S
        for failures in range(1, ACK_TRIES + 1):
            try:
                await self._queue.ack(deliveries)
                break
            except QueueUnavailableError as error:
                log.warning("An acknowledgement failed", detail=str(error), failures=failures)
                wait_s = backoff_s(failures, base_s=base_s, cap_s=cap_s, jitter=_jitter())
                await wait_for_event(stop, wait_s)
        for delivery in deliveries:
            self._held.pop(delivery.lease_id, None)

    async def _keep_leases(self) -> None:
        """Renew the leases of all that is held; a lost one is left to whoever has it now."""
        while True:
            await asyncio.sleep(LEASE_S / 2)
            held = list(self._held.values())
            if not held:
                continue
            try:
                kept = await self._queue.extend(held, lease_s=LEASE_S)
            except QueueUnavailableError as error:
                log.warning("Leases could not be renewed", detail=str(error))
                continue
            # What was acknowledged meanwhile has no lease either.
            gone = {one.lease_id for one in held} - {one.lease_id for one in kept}
            if lost := gone & self._held.keys():
                log.warning("Leases were lost; these envelopes come again", lost=len(lost))

    async def _release(self, deliveries: list[Delivery]) -> None:
        self._held.clear()
        if not deliveries:
            return
        try:
            await self._queue.release(deliveries)
        except QueueUnavailableError as error:
            log.warning("Leases were left to run out", detail=str(error))


def _jitter() -> float:
    return random.random()  # noqa: S311 - spreads retries, guards nothing
