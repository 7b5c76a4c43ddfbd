"""A gateway on Pub/Sub, against Google's emulator behind a gate that refuses or dawdles."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import orjson
import pytest

from loadtest.pubsub_gate import Forward, PubSubGate
from sluice.queue import pubsub
from sluice.queue.local import LocalOptions, LocalQueue
from sluice.queue.pubsub_setup import ensure_topics
from sluice.queue.pubsub_wire import Names
from sluice.queue.spooled import SPOOL_TOPICS
from tests.support.gateway import Gateway, running_gateway
from tests.support.poll import poll_until
from tests.support.queues import pull

SEEN_WITHIN_S = 5
"""Health shows a fault at run time within this."""


@pytest.fixture
async def gate(pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PubSubGate]:
    """The way to the emulator."""
    monkeypatch.setattr(pubsub, "SETTLE_S", 1.0)  # a test need not wait as long
    async with PubSubGate(pubsub_emulator) as gate:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", gate.host)
        yield gate


@pytest.fixture
async def gateway(gate: PubSubGate, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway on a project with all its topics."""
    assert gate.host
    names = Names(f"project-{uuid.uuid4().hex[:12]}")
    await ensure_topics(names)
    async with running_gateway(tmp_path, queue_url=f"pubsub://{names.project}") as gateway:
        yield gateway


async def ready(gateway: Gateway) -> dict[str, dict[str, object]]:
    """Return what ``/readyz`` says."""
    answer = await gateway.ask("GET", "/readyz")
    assert answer.status == 200
    body: dict[str, dict[str, object]] = orjson.loads(answer.body)
    return body


async def topic_word(gateway: Gateway) -> str:
    """Return the word that health has for the topic."""
    answer = await gateway.ask("GET", "/api/ingestion/health")
    return str(orjson.loads(answer.body)["pubsub_topic"])


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "grant roles/pubsub.publisher"),
        (grpc.StatusCode.NOT_FOUND, "run `sluice setup`"),
        (grpc.StatusCode.UNAUTHENTICATED, "gcloud auth application-default login"),
        (grpc.StatusCode.UNAVAILABLE, "does not answer"),
    ],
)
async def test_fault_at_run_time_is_seen_in_health_while_events_are_taken(
    gateway: Gateway,
    gate: PubSubGate,
    status: grpc.StatusCode,
    remedy: str,
) -> None:
    assert (await gateway.send(gateway.track_bytes())).status == 202
    assert await topic_word(gateway) == "ok"
    gate.refuse("Publish", "GetTopic", status=status)
    assert (await gateway.send(gateway.track_bytes())).status == 202

    async def is_seen() -> bool:
        return await topic_word(gateway) == "degraded"

    await poll_until(is_seen, within_s=SEEN_WITHIN_S, what="health shows the fault")
    said = await ready(gateway)
    assert remedy in str(said["queue"]["detail"])
    assert said["spool"]["is_in_use"] is True
    metrics = (await gateway.ask("GET", "/metrics")).body.decode()
    assert "sluice_spool_in_use 1.0" in metrics
    gate.acts.clear()

    async def is_mended() -> bool:
        is_ok = await topic_word(gateway) == "ok"
        return is_ok and (await ready(gateway))["spool"]["stored_bytes"] == 0

    await poll_until(is_mended, within_s=30, what="the spool is drained")


async def test_slow_broker_keeps_new_events_on_the_disk_and_is_drained_to_all_the_same(
    gateway: Gateway, gate: PubSubGate
) -> None:
    async def dawdle(request: bytes, forward: Forward) -> bytes:
        await asyncio.sleep(1.5)
        return await forward(request)

    gate.acts["Publish"] = dawdle
    assert (await gateway.send(gateway.track_bytes())).status == 202
    assert (await ready(gateway))["spool"]["is_in_use"] is True
    before = gate.calls["Publish"]

    async def is_drained() -> bool:
        state = (await ready(gateway))["spool"]
        return gate.calls["Publish"] > before and state["stored_bytes"] == 0

    await poll_until(is_drained, within_s=30, what="the spool is drained to the slow broker")


async def test_all_who_wait_for_a_broker_that_hangs_go_to_the_spool_together(
    gateway: Gateway, gate: PubSubGate
) -> None:
    async def hang(_request: bytes, _forward: Forward) -> bytes:
        await asyncio.Event().wait()
        return b""

    gate.acts["Publish"] = hang
    loop = asyncio.get_running_loop()
    ended: list[float] = []

    async def send() -> None:
        assert (await gateway.send(gateway.track_bytes())).status == 202
        ended.append(loop.time())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send())
        await poll_until(lambda: gate.calls.get("Publish", 0) == 1, within_s=30)
        for _ in range(5):
            tasks.create_task(send())
    assert max(ended) - min(ended) < 0.5  # the later ones waited for less than a time-out


async def test_portion_on_its_way_is_left_for_whoever_starts_next(
    gate: PubSubGate, tmp_path: Path
) -> None:
    async def hang(_request: bytes, _forward: Forward) -> bytes:
        await asyncio.Event().wait()
        return b""

    names = Names(f"project-{uuid.uuid4().hex[:12]}")
    await ensure_topics(names)
    gate.acts["Publish"] = hang
    async with running_gateway(tmp_path, queue_url=f"pubsub://{names.project}") as gateway:
        assert (await gateway.send(gateway.track_bytes())).status == 202
        before = gate.calls["Publish"]
        await poll_until(lambda: gate.calls["Publish"] > before, within_s=30)
    spool = tmp_path / "spool.sqlite"
    async with LocalQueue(spool, LocalOptions(), topics=SPOOL_TOPICS) as left:
        assert len(await pull(left, "events")) == 1
