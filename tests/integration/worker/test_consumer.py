"""What a consumer holds when its queue fails in the middle, on a file that fails on demand."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from sluice.core.errors import QueueUnavailableError
from sluice.queue.local import LocalQueue
from sluice.queue.protocol import Delivery
from sluice.telemetry import render_metrics
from tests.support.poll import poll_until
from tests.support.queues import make_envelope, pull
from tests.support.spans import KeptSpans
from tests.support.telemetry import sum_of
from worker.consumer import Consumer
from worker.core.batches import Limits
from worker.delivery import RetryLaterError, Waiting
from worker.traces import BatchTraces

FAILURES = 1
TRACED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class FaultyQueue(LocalQueue):
    """Fails some pulls after the first that brought something."""

    failures_left = 0

    async def pull(
        self,
        subscription: str,
        *,
        max_messages: int,
        max_bytes: int,
        lease_s: float,
        wait_s: float,
    ) -> list[Delivery]:
        """Pull one envelope, or fail."""
        if self.failures_left > 0:
            self.failures_left -= 1
            message = "The queue is away."
            raise QueueUnavailableError(message)
        taken = await super().pull(
            subscription, max_messages=1, max_bytes=max_bytes, lease_s=lease_s, wait_s=wait_s
        )
        if taken and self.failures_left == 0:
            self.failures_left = FAILURES
        elif taken:
            self.failures_left = 0
        return taken


class Kept:
    """A destination that keeps what it is given."""

    is_ready = True
    parked_events = 0
    troubles = ()
    freshness = None

    def __init__(self) -> None:
        self.ids: list[str] = []

    def waiting_of(self, _tenant: str) -> Waiting:
        """Nothing waits."""
        return Waiting()

    async def start(self, stop: asyncio.Event) -> None:
        """Nothing is needed."""

    def prepare(self, delivery: Delivery) -> str:
        """Return what is delivered."""
        return delivery.envelope.envelope_id

    async def deliver(self, prepared: Sequence[str]) -> None:
        """Keep it."""
        self.ids += prepared

    async def commit(self) -> None:
        """Nothing is left to do."""

    async def upkeep(self, stop: asyncio.Event) -> None:
        """Do nothing."""


@asynccontextmanager
async def running(
    queue: LocalQueue, kept: Kept, tracer: KeptSpans | None = None
) -> AsyncIterator[None]:
    """Run a consumer for the block."""
    stop = asyncio.Event()
    limits = Limits(max_rows=50_000, max_bytes=32 * 1024 * 1024, max_age_s=1.0)
    traces = BatchTraces(tracer, "warehouse")
    consumer = Consumer(queue, kept, subscription="warehouse", limits=limits, traces=traces)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(consumer.run(stop))
        try:
            yield
        finally:
            stop.set()


async def test_consumer_delivers_what_it_had_gathered_when_the_queue_failed(
    tmp_path: Path,
) -> None:
    envelopes = [make_envelope() for _ in range(3)]
    kept = Kept()
    async with FaultyQueue(tmp_path / "queue.sqlite") as queue:
        await queue.publish("events", envelopes)
        async with running(queue, kept):

            async def is_empty() -> bool:
                return (await queue.backlog("warehouse")).messages == 0

            await poll_until(is_empty, within_s=30, what="all is acknowledged")
    assert sorted(kept.ids) == sorted(one.envelope_id for one in envelopes)


class Away(Kept):
    """A destination that is away for so many tries."""

    def __init__(self, tries: float) -> None:
        super().__init__()
        self.tries_left = tries
        self.was_asked = asyncio.Event()

    async def deliver(self, prepared: Sequence[str]) -> None:
        """Keep it, once there are no tries left."""
        self.was_asked.set()
        if self.tries_left > 0:
            self.tries_left -= 1
            message = "away"
            raise RetryLaterError(message)
        await super().deliver(prepared)


async def test_failed_tries_the_last_delivery_and_batches_are_counted(tmp_path: Path) -> None:
    def figures(what: str) -> float:
        name = f"sluice_destination_{what}"
        return sum_of(render_metrics().decode(), name, destination="warehouse")

    failed, rows = figures("failures_total"), figures("batch_rows_sum")
    started = time.time()
    envelope = make_envelope()
    kept = Away(2)
    async with LocalQueue(tmp_path / "queue.sqlite") as queue:
        await queue.publish("events", [envelope])
        async with running(queue, kept):
            await poll_until(lambda: kept.ids, within_s=30, what="it is delivered")
    assert figures("failures_total") - failed == 2
    assert figures("batch_rows_sum") - rows == envelope.count
    assert figures("last_delivery_timestamp_seconds") >= started


async def test_one_span_tells_of_all_tries_of_a_batch_when_its_destination_was_away(
    tmp_path: Path,
) -> None:
    away, tracer = Away(2), KeptSpans()
    async with LocalQueue(tmp_path / "queue.sqlite") as queue, running(queue, away, tracer):
        await queue.publish("events", [make_envelope(traces=TRACED)])
        await poll_until(lambda: away.ids)
    [span] = tracer.spans
    assert (span.name, span.ends, span.attributes["sluice.tries"]) == ("process warehouse", 1, 3)
    assert "error.type" not in span.attributes


async def test_span_fails_when_the_worker_stops_before_the_batch_is_delivered(
    tmp_path: Path,
) -> None:
    away, tracer = Away(float("inf")), KeptSpans()
    async with LocalQueue(tmp_path / "queue.sqlite") as queue:
        async with running(queue, away, tracer):
            await queue.publish("events", [make_envelope(traces=TRACED)])
            await away.was_asked.wait()
        [delivery] = await pull(queue)
    [span] = tracer.spans
    assert (span.ends, span.attributes["error.type"]) == (1, "stopped")
    assert delivery.envelope.traces == TRACED
