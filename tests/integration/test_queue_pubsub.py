"""The queue on Google Pub/Sub, against Google's emulator."""

import asyncio
import math
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from google.api_core.exceptions import NotFound
from google.pubsub_v1.types import PubsubMessage

from loadtest.pubsub_gate import Forward, PubSubGate
from sluice.core.errors import QueueUnavailableError
from sluice.queue.protocol import Delivery
from sluice.queue.pubsub import PubSubQueue
from sluice.queue.pubsub_connect import Clients, connect
from sluice.queue.pubsub_link import Link
from sluice.queue.pubsub_plan import KEPT_S
from sluice.queue.pubsub_setup import ensure_topics
from sluice.queue.pubsub_wire import Names
from tests.support.broker_proxy import BrokerProxy
from tests.support.google_account import make_tls, write_service_account
from tests.support.poll import poll_until
from tests.support.ports import free_port
from tests.support.queues import TOPICS, make_envelope, pull

WITHIN_S = 20
SEEN_WITHIN_S = 10
"""Generous: 5 are promised, on a machine that does nothing else."""


@pytest.fixture
def names(pubsub_emulator: str) -> Names:
    """A project of the test's own, empty."""
    assert pubsub_emulator
    return Names(f"project-{uuid.uuid4().hex[:12]}")


@pytest.fixture
async def queue(names: Names) -> AsyncIterator[PubSubQueue]:
    """The queue of a project with all its topics."""
    await ensure_topics(names, TOPICS)
    async with PubSubQueue(names, topics=TOPICS) as queue:
        yield queue


async def pull_all(queue: PubSubQueue, subscription: str, count: int) -> list[Delivery]:
    """Pull until so many have come."""
    deliveries: list[Delivery] = []
    async with asyncio.timeout(WITHIN_S):
        while len(deliveries) < count:
            with suppress(QueueUnavailableError):  # it says so until its next try
                deliveries += await pull(queue, subscription, wait_s=1.0)
    return deliveries


async def test_envelope_comes_again_as_the_next_attempt_when_its_lease_ends(
    queue: PubSubQueue,
) -> None:
    envelope = make_envelope()
    await queue.publish("events", [envelope])
    [first] = await pull(queue, lease_s=1, wait_s=WITHIN_S)
    [again] = await pull(queue, wait_s=WITHIN_S)
    assert (again.envelope, again.published_at) == (envelope, first.published_at)
    assert (first.attempt, again.attempt) == (1, 2)


async def test_lease_that_is_extended_is_not_handed_over(queue: PubSubQueue) -> None:
    await queue.publish("events", [make_envelope()])
    held = await pull(queue, lease_s=2, wait_s=WITHIN_S)
    assert await queue.extend(held, lease_s=60) == held
    assert await pull(queue, wait_s=3) == []
    backlog = await queue.backlog("warehouse")
    assert (backlog.messages, backlog.leased, backlog.events) == (1, 1, 3)
    assert 0 < KEPT_S - backlog.time_to_loss_s < 60


async def test_acknowledged_envelope_is_gone_from_the_backlog(queue: PubSubQueue) -> None:
    await queue.publish("events", [make_envelope() for _ in range(30)])
    deliveries = await pull_all(queue, "warehouse", 30)
    await queue.ack(deliveries)
    backlog = await queue.backlog("warehouse")
    assert backlog.messages == 0
    assert backlog.oldest_age_s < 0.1
    assert backlog.time_to_loss_s == math.inf


async def test_pulled_but_not_handed_out_goes_to_another_process_at_closing(
    queue: PubSubQueue, names: Names
) -> None:
    await queue.publish("events", [make_envelope() for _ in range(20)])
    async with PubSubQueue(names, topics=TOPICS) as other:
        await other.ack(await pull(other, max_messages=1, wait_s=WITHIN_S))
    assert len(await pull_all(queue, "warehouse", 19)) == 19


async def test_cancelled_pull_loses_nothing(queue: PubSubQueue) -> None:
    await queue.publish("events", [make_envelope() for _ in range(10)])
    for tries in range(8):  # cancelled ever later on its way
        deliveries: list[Delivery] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(tries * 0.001):
                deliveries = await pull(queue, wait_s=1)
        await queue.release(deliveries)
    taken = await pull_all(queue, "warehouse", 10)
    assert len({delivery.envelope.envelope_id for delivery in taken}) == 10


async def test_dead_letter_is_kept_with_its_reason(queue: PubSubQueue, names: Names) -> None:
    envelope = make_envelope()
    await queue.publish("events", [envelope])
    await queue.dead_letter(await pull(queue, wait_s=WITHIN_S), reason="the consumer died of it")
    async with PubSubQueue(names, topics={"dead-letters": ("dead-letters",)}) as kept:
        [dead] = await pull(kept, "dead-letters", wait_s=WITHIN_S)
    assert dead.envelope == envelope
    assert await pull(queue) == []


async def test_large_publish_is_cut_into_requests_that_pubsub_takes(queue: PubSubQueue) -> None:
    envelopes = [make_envelope(body_bytes=900_000) for _ in range(25)]
    await queue.publish("events", envelopes)
    taken = await pull_all(queue, "warehouse", 25)
    assert {one.envelope.envelope_id for one in taken} == {one.envelope_id for one in envelopes}


async def test_setup_makes_what_is_missing_and_nothing_twice(names: Names) -> None:
    made = await ensure_topics(names, TOPICS)
    assert all(made.values())
    assert names.topic("events") in made
    assert names.subscription("amplitude") in made
    assert await ensure_topics(names, TOPICS) == dict.fromkeys(made, False)


async def test_missing_topic_is_named_with_what_to_do(names: Names) -> None:
    async with PubSubQueue(names, topics=TOPICS, settle_s=0.0) as queue:
        with pytest.raises(QueueUnavailableError, match=r"topics/sluice-events .*sluice setup"):
            await queue.publish("events", [make_envelope()])
        with pytest.raises(QueueUnavailableError, match=r"sluice-warehouse .*sluice setup"):
            await pull(queue)
        state = await queue.state()
        assert state.condition == "unavailable"
        assert "run `sluice setup`" in state.detail
        await ensure_topics(names, TOPICS)
        assert (await queue.state()).condition == "ok"
        await queue.publish("events", [make_envelope()])
        assert len(await pull_all(queue, "warehouse", 1)) == 1


async def test_broker_that_is_away_is_named(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    with pytest.raises(QueueUnavailableError, match="does not answer"):
        await ensure_topics(names, TOPICS)
    async with PubSubQueue(names, topics=TOPICS) as queue:
        state = await queue.state()
        assert (state.condition, "does not answer" in state.detail) == ("unavailable", True)


async def test_missing_credentials_are_named_with_what_to_do(
    names: Names, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    async with PubSubQueue(names, topics=TOPICS) as queue:
        with pytest.raises(QueueUnavailableError, match="gcloud auth application-default login"):
            await queue.publish("events", [make_envelope()])


async def test_message_that_is_none_of_sluices_is_put_aside_as_it_is(
    queue: PubSubQueue, names: Names
) -> None:
    clients = await connect()
    stranger = PubsubMessage(data=b"hello", attributes={"from": "somebody"})
    await clients.publisher.publish(topic=names.topic("events"), messages=[stranger])
    envelope = make_envelope()
    await queue.publish("events", [envelope])
    [delivery] = await pull_all(queue, "warehouse", 1)
    assert delivery.envelope == envelope
    kept = await clients.subscriber.pull(
        subscription=names.kept_dead_letters(), max_messages=10, timeout=WITHIN_S
    )
    [received] = kept.received_messages
    await clients.channel.close()
    assert received.message.data == b"hello"
    assert received.message.attributes["from"] == "somebody"
    assert "no kind that Sluice knows" in received.message.attributes["reason"]


async def test_connection_that_swallows_everything_is_replaced(
    pubsub_emulator: str, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with BrokerProxy(pubsub_emulator) as proxy:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", proxy.host)
        await ensure_topics(names, TOPICS)
        async with PubSubQueue(names, topics=TOPICS) as queue:
            await proxy.use("hang")
            for _ in range(2):
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await queue.publish("events", [make_envelope()])
            await proxy.use("pass")  # the old connection stays dead

            async def works() -> bool:
                return (await queue.state()).condition == "ok"

            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await queue.publish("events", [make_envelope()])
            await poll_until(works, within_s=WITHIN_S, what="a new connection is used")
            await queue.publish("events", [make_envelope()])


async def test_topic_that_was_missing_is_not_published_to_before_it_may_have_subscriptions(
    names: Names,
) -> None:
    async with PubSubQueue(names, topics=TOPICS, settle_s=1.0) as queue:
        envelope = make_envelope()
        with pytest.raises(QueueUnavailableError, match="does not exist"):
            await queue.publish("events", [envelope])
        await ensure_topics(names, TOPICS)
        with pytest.raises(QueueUnavailableError, match="was missing until a moment ago"):
            await queue.publish("events", [envelope])
        assert (await queue.state()).condition == "unavailable"

        async def is_settled() -> bool:
            return (await queue.state()).condition == "ok"

        await poll_until(is_settled, within_s=WITHIN_S, what="the topic has settled")
        await queue.publish("events", [envelope])
        assert len(await pull_all(queue, "warehouse", 1)) == 1


async def test_setup_makes_no_topic_anew_while_its_old_subscription_stands_in_the_way(
    names: Names,
) -> None:
    await ensure_topics(names, TOPICS)
    clients = await connect()
    await clients.publisher.delete_topic(topic=names.topic("events"))
    with pytest.raises(QueueUnavailableError, match=r"topic was deleted.*subscriptions delete"):
        await ensure_topics(names, TOPICS)
    with pytest.raises(NotFound):
        await clients.publisher.get_topic(topic=names.topic("events"))
    for subscription in TOPICS["events"]:
        await clients.subscriber.delete_subscription(subscription=names.subscription(subscription))
    await clients.channel.close()
    made = await ensure_topics(names, TOPICS)
    assert {name for name, is_new in made.items() if is_new} == {
        names.topic("events"),
        *map(names.subscription, TOPICS["events"]),
    }


async def test_idle_consumer_tells_of_an_outage_and_its_end_within_seconds(
    pubsub_emulator: str, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with BrokerProxy(pubsub_emulator) as proxy:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", proxy.host)
        await ensure_topics(names, TOPICS)
        async with PubSubQueue(names, topics=TOPICS) as queue:

            async def is_well() -> bool:
                try:
                    await queue.backlog("warehouse")
                except QueueUnavailableError:
                    return False
                return True

            async def is_ill() -> bool:
                return not await is_well()

            assert await pull(queue, wait_s=0.1) == []
            for mode in ("hang", "refuse"):
                await proxy.use(mode)
                await poll_until(is_ill, within_s=SEEN_WITHIN_S, what=f"{mode} is seen")
                await proxy.use("pass")
                await poll_until(is_well, within_s=WITHIN_S, what=f"the end of {mode} is seen")


@pytest.fixture
async def gate(
    pubsub_emulator: str, names: Names, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PubSubGate]:
    """A gate before the emulator, where all topics are."""
    await ensure_topics(names, TOPICS)
    async with PubSubGate(pubsub_emulator) as gate:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", gate.host)
        yield gate


async def reads_nothing(_request: bytes, _forward: Forward) -> bytes:
    return b"\xff\xff\xff"


async def comes_empty(_request: bytes, _forward: Forward) -> bytes:
    return b""


@pytest.mark.parametrize("ends", ["empty", "as too late"])
async def test_pulls_that_end_at_once_and_empty_are_made_with_pauses(
    gate: PubSubGate, names: Names, ends: str
) -> None:
    if ends == "empty":
        gate.acts["Pull"] = comes_empty
    else:
        gate.refuse("Pull", status=grpc.StatusCode.DEADLINE_EXCEEDED)
    async with PubSubQueue(names, topics=TOPICS) as queue:
        assert await pull(queue, wait_s=2.0) == []
        assert 3 <= gate.calls["Pull"] <= 20
        gate.acts.clear()
        envelope = make_envelope()
        await queue.publish("events", [envelope])
        [delivery] = await pull(queue, wait_s=WITHIN_S)
        assert delivery.envelope == envelope


async def test_answer_that_cannot_be_read_is_a_failure_like_any_other(
    gate: PubSubGate, names: Names
) -> None:
    gate.acts |= dict.fromkeys(("Pull", "TestIamPermissions"), reads_nothing)
    async with PubSubQueue(names, topics=TOPICS) as queue:
        assert "the answer cannot be read" in (await queue.state()).detail
        with pytest.raises(QueueUnavailableError, match="the answer cannot be read"):
            await pull(queue, wait_s=0.5)
        gate.acts.clear()
        envelope = make_envelope()
        await queue.publish("events", [envelope])
        [delivery] = await pull_all(queue, "warehouse", 1)
        assert delivery.envelope == envelope


async def test_calls_that_come_at_once_share_one_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "account.json"
    write_service_account(account, key=make_tls().key, token_url="http://127.0.0.1:1/token")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "some-project")
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    used: list[Clients] = []

    async def use(clients: Clients) -> None:
        used.append(clients)

    link = Link("some-project", f"127.0.0.1:{free_port()}")
    async with asyncio.TaskGroup() as tasks:
        for _ in range(16):
            tasks.create_task(link.call(use, "a-topic", "a-role"))
    await link.close()
    assert len(used) == 16
    assert all(one is used[0] for one in used)
