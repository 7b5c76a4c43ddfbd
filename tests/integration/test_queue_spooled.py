"""The edge's queue while Pub/Sub is cut off, against Google's emulator behind a proxy."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from sluice.core.errors import QueueFullError, QueueUnavailableError
from sluice.queue.local import LocalOptions, LocalQueue
from sluice.queue.protocol import Delivery
from sluice.queue.pubsub import PubSubQueue
from sluice.queue.pubsub_setup import ensure_topics
from sluice.queue.pubsub_wire import Names
from sluice.queue.spooled import SPOOL_TOPICS, SpooledQueue
from tests.support.poll import poll_until
from tests.support.proxy import TcpProxy
from tests.support.queues import TRACES, make_envelope, pull

WITHIN_S = 20
MAX_BYTES = 200_000


@pytest.fixture
async def proxy(pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TcpProxy]:
    """The way to the emulator, which can be cut."""
    async with TcpProxy(f"http://{pubsub_emulator}") as proxy:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", proxy.url.removeprefix("http://").rstrip("/"))
        yield proxy


@pytest.fixture
async def names(proxy: TcpProxy) -> Names:
    """A project with its topics."""
    assert proxy.url
    names = Names(f"project-{uuid.uuid4().hex[:12]}")
    await ensure_topics(names)
    return names


def edge_queue(names: Names, folder: Path) -> SpooledQueue:
    """Return the queue as a gateway opens it."""
    options = LocalOptions(max_bytes=MAX_BYTES)
    spool = LocalQueue(folder / "spool.sqlite", options, topics=SPOOL_TOPICS)
    return SpooledQueue(PubSubQueue(names), spool)


async def arrived(names: Names, count: int) -> set[str]:
    """Return the ids of what a worker gets, once there are so many."""
    ids: set[str] = set()
    async with PubSubQueue(names) as queue, asyncio.timeout(WITHIN_S):
        while len(ids) < count:
            with suppress(QueueUnavailableError):
                deliveries = await pull(queue)
                ids |= {delivery.envelope.envelope_id for delivery in deliveries}
                await queue.ack(deliveries)
    return ids


async def spooled_bytes(queue: SpooledQueue) -> int:
    """Return what is in the spool."""
    return (await queue.state()).stored_bytes


async def test_contexts_of_traces_survive_the_spool(
    names: Names, proxy: TcpProxy, tmp_path: Path
) -> None:
    envelope = make_envelope(traces=TRACES)
    async with edge_queue(names, tmp_path) as queue:
        await proxy.cut()
        await queue.publish("events", [envelope])
        assert await spooled_bytes(queue)
        await proxy.mend()
        async with PubSubQueue(names) as worker, asyncio.timeout(WITHIN_S):
            deliveries: list[Delivery] = []
            while not deliveries:
                with suppress(QueueUnavailableError):
                    deliveries = await pull(worker)
    assert [delivery.envelope for delivery in deliveries] == [envelope]


async def test_spool_is_not_touched_while_the_queue_answers(names: Names, tmp_path: Path) -> None:
    async with edge_queue(names, tmp_path) as queue:
        envelope = make_envelope()
        await queue.publish("events", [envelope])
        assert await spooled_bytes(queue) == 0
        assert await arrived(names, 1) == {envelope.envelope_id}


async def test_nothing_is_refused_or_lost_while_the_broker_is_cut_off(
    names: Names, proxy: TcpProxy, tmp_path: Path
) -> None:
    envelopes = [make_envelope() for _ in range(30)]
    async with edge_queue(names, tmp_path) as queue:
        for envelope in envelopes[:10]:
            await queue.publish("events", [envelope])
        await proxy.cut()
        await queue.publish("events", [envelopes[10]])  # notices it
        started = time.monotonic()
        for envelope in envelopes[11:20]:
            await queue.publish("events", [envelope])
        assert time.monotonic() - started < 1  # nobody waits for a time-out any more
        state = await queue.state()
        assert (state.condition, "the spool" in state.detail) == ("degraded", True)
        assert state.stored_bytes > 0
        await proxy.mend()
        for envelope in envelopes[20:]:
            await queue.publish("events", [envelope])

        async def is_drained() -> bool:
            return await spooled_bytes(queue) == 0 and (await queue.state()).condition == "ok"

        await poll_until(is_drained, within_s=WITHIN_S, what="the spool is drained")
        assert await arrived(names, 30) == {envelope.envelope_id for envelope in envelopes}


async def test_spool_of_a_process_that_died_is_drained_by_the_next(
    names: Names, proxy: TcpProxy, tmp_path: Path
) -> None:
    envelope = make_envelope()
    await proxy.cut()
    async with edge_queue(names, tmp_path) as queue:
        await queue.publish("events", [envelope])
        assert await spooled_bytes(queue) > 0
    await proxy.mend()
    async with edge_queue(names, tmp_path):
        assert await arrived(names, 1) == {envelope.envelope_id}


async def test_spool_at_its_bound_refuses_and_clears_by_itself(
    names: Names, proxy: TcpProxy, tmp_path: Path
) -> None:
    envelopes = [make_envelope(body_bytes=MAX_BYTES // 5) for _ in range(5)]
    await proxy.cut()
    async with edge_queue(names, tmp_path) as queue:
        for envelope in envelopes[:4]:
            await queue.publish("events", [envelope])
        with pytest.raises(QueueFullError) as refused:
            await queue.publish("events", [envelopes[4]])
        assert refused.value.retry_after_s > 0
        assert (await queue.state()).condition == "full"
        await proxy.mend()

        async def takes_again() -> bool:
            return (await queue.state()).condition == "ok"

        await poll_until(takes_again, within_s=WITHIN_S, what="the queue takes envelopes again")
        await queue.publish("events", [envelopes[4]])
        assert await arrived(names, 5) == {envelope.envelope_id for envelope in envelopes}
