"""The promises of ``sluice/queue/protocol.py``, kept by every backend."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from sluice.core.errors import QueueFullError, QueueUnavailableError
from sluice.queue.protocol import Queue
from tests.support.queues import (
    BACKENDS,
    MAX_BYTES,
    TRACES,
    Subject,
    envelopes_of,
    make_envelope,
    pull,
)

ANOTHER_TOPICS_SUBSCRIPTION = "workflows"

EXACT = pytest.mark.parametrize("subject", ["local"], indirect=True)
"""What a file does and Pub/Sub does not: it knows its order and backlog, has a bound in bytes,
counts no attempt that was given back, and its clock can be moved by a test."""


@pytest.fixture(params=BACKENDS)
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    """A fresh queue of each backend."""
    if request.param == "pubsub":
        request.getfixturevalue("pubsub_emulator")
    async with BACKENDS[request.param](tmp_path) as subject:
        yield subject


@pytest.fixture
def queue(subject: Subject) -> Queue:
    """The queue alone."""
    return subject.queue


async def test_envelope_is_delivered_whole_to_every_subscription_of_its_topic(
    queue: Queue,
) -> None:
    envelope = make_envelope()
    before = time.time()
    await queue.publish("events", [envelope])
    for subscription in ("warehouse", "amplitude"):
        [delivery] = await pull(queue, subscription)
        assert delivery.envelope == envelope
        assert delivery.subscription == subscription
        assert delivery.attempt == 1
        assert delivery.published_at == pytest.approx(before, abs=5)
    assert await pull(queue, ANOTHER_TOPICS_SUBSCRIPTION) == []


async def test_envelope_keeps_the_contexts_of_its_traces_when_it_is_delivered_again(
    queue: Queue,
) -> None:
    assert len(TRACES) > 3_000
    envelope = make_envelope(traces=TRACES)
    await queue.publish("events", [envelope, make_envelope()])
    deliveries = await pull(queue)
    while len(deliveries) < 2:
        deliveries += await pull(queue)
    assert {one.envelope.traces for one in deliveries} == {TRACES, ""}
    await queue.release(deliveries)
    again = await pull(queue)
    while len(again) < 2:
        again += await pull(queue)
    assert envelope in envelopes_of(again)


@EXACT
async def test_envelopes_are_pulled_oldest_first(queue: Queue) -> None:
    envelopes = [make_envelope() for _ in range(5)]
    await queue.publish("events", envelopes[:2])
    await queue.publish("events", envelopes[2:])
    assert envelopes_of(await pull(queue, max_messages=3)) == envelopes[:3]
    assert envelopes_of(await pull(queue)) == envelopes[3:]


@EXACT
async def test_publish_of_nothing_stores_nothing(queue: Queue) -> None:
    await queue.publish("events", [])
    assert (await queue.backlog("warehouse")).messages == 0


async def test_publish_raises_when_the_topic_is_unknown(queue: Queue) -> None:
    with pytest.raises(ValueError, match="evnets"):
        await queue.publish("evnets", [make_envelope()])


async def test_pull_raises_when_the_subscription_is_unknown(queue: Queue) -> None:
    with pytest.raises(ValueError, match="warehuose"):
        await pull(queue, "warehuose")


@EXACT
async def test_pull_takes_no_more_than_its_bound_in_bytes(queue: Queue) -> None:
    await queue.publish("events", [make_envelope(raw_bytes=400) for _ in range(5)])
    assert len(await pull(queue, max_bytes=1_000)) == 2
    assert len(await pull(queue, max_bytes=1_200)) == 3


@EXACT
async def test_pull_delivers_an_envelope_above_its_bound_alone(queue: Queue) -> None:
    large, small = make_envelope(raw_bytes=5_000), make_envelope(raw_bytes=10)
    await queue.publish("events", [large, small])
    assert envelopes_of(await pull(queue, max_bytes=1_000)) == [large]
    assert envelopes_of(await pull(queue, max_bytes=1_000)) == [small]


async def test_pull_returns_nothing_after_its_wait_when_nothing_comes(queue: Queue) -> None:
    started = time.monotonic()
    assert await pull(queue, wait_s=0.2) == []
    assert 0.19 <= time.monotonic() - started < 5


async def test_pull_returns_at_once_when_an_envelope_is_published_meanwhile(queue: Queue) -> None:
    envelope = make_envelope()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(pull(queue, wait_s=60))
        tasks.create_task(queue.publish("events", [envelope]))
    assert envelopes_of(waiting.result()) == [envelope]


async def test_pull_returns_when_another_process_publishes_meanwhile(subject: Subject) -> None:
    envelope = make_envelope()
    async with subject.reopen() as publisher, asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(pull(subject.queue, wait_s=60))
        tasks.create_task(publisher.publish("events", [envelope]))
    assert envelopes_of(waiting.result()) == [envelope]


@EXACT
async def test_waiting_pull_gets_an_envelope_whose_lease_ends_meanwhile(subject: Subject) -> None:
    await subject.queue.publish("events", [make_envelope()])
    await pull(subject.queue, lease_s=30)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(pull(subject.queue, wait_s=60))
        tasks.create_task(subject.pass_time(31))
    assert [delivery.attempt for delivery in waiting.result()] == [2]


@EXACT
async def test_each_envelope_goes_to_one_of_two_that_pull_at_once(subject: Subject) -> None:
    envelopes = [make_envelope() for _ in range(40)]
    await subject.queue.publish("events", envelopes)
    async with subject.reopen() as other, asyncio.TaskGroup() as tasks:
        pulls = [
            tasks.create_task(pull(queue, max_messages=5)) for queue in (subject.queue, other) * 4
        ]
    taken = [each.envelope.envelope_id for task in pulls for each in task.result()]
    assert sorted(taken) == sorted(envelope.envelope_id for envelope in envelopes)


async def test_leased_envelope_is_not_delivered_again(queue: Queue) -> None:
    await queue.publish("events", [make_envelope()])
    assert len(await pull(queue)) == 1
    assert await pull(queue) == []


@EXACT
async def test_envelope_is_redelivered_with_the_next_attempt_when_its_lease_ends(
    subject: Subject,
) -> None:
    await subject.queue.publish("events", [make_envelope()])
    [first] = await pull(subject.queue, lease_s=30)
    await subject.pass_time(31)
    [again] = await pull(subject.queue)
    assert again.envelope == first.envelope
    assert again.attempt == 2
    assert again.lease_id != first.lease_id
    assert again.published_at == first.published_at


@EXACT
async def test_older_envelope_comes_first_when_its_lease_ended(subject: Subject) -> None:
    old, new = make_envelope(), make_envelope()
    await subject.queue.publish("events", [old])
    await pull(subject.queue, lease_s=30)
    await subject.queue.publish("events", [new])
    await subject.pass_time(31)
    assert envelopes_of(await pull(subject.queue)) == [old, new]


@EXACT
async def test_acknowledged_envelope_never_comes_back(subject: Subject) -> None:
    await subject.queue.publish("events", [make_envelope(), make_envelope()])
    await subject.queue.ack(await pull(subject.queue, lease_s=30))
    await subject.pass_time(31)
    assert await pull(subject.queue) == []


async def test_acknowledgement_by_one_subscription_leaves_the_others_alone(queue: Queue) -> None:
    await queue.publish("events", [make_envelope()])
    await queue.ack(await pull(queue, "warehouse"))
    assert len(await pull(queue, "amplitude")) == 1


@EXACT
async def test_envelope_takes_room_until_all_subscriptions_have_acknowledged(queue: Queue) -> None:
    empty = (await queue.state()).stored_bytes
    await queue.publish("events", [make_envelope(body_bytes=1_000)])
    full = (await queue.state()).stored_bytes
    assert full >= empty + 1_000
    await queue.ack(await pull(queue, "warehouse"))
    assert (await queue.state()).stored_bytes == full
    await queue.ack(await pull(queue, "amplitude"))
    assert (await queue.state()).stored_bytes == empty


@EXACT
async def test_expired_lease_still_acknowledges_when_nobody_took_the_envelope(
    subject: Subject,
) -> None:
    await subject.queue.publish("events", [make_envelope()])
    held = await pull(subject.queue, lease_s=30)
    await subject.pass_time(31)
    await subject.queue.ack(held)
    assert await pull(subject.queue) == []
    assert (await subject.queue.backlog("warehouse")).messages == 0


@EXACT
@pytest.mark.parametrize("late", ["ack", "release", "dead_letter", "extend"])
async def test_late_holder_changes_nothing_when_the_envelope_was_handed_over_again(
    subject: Subject, late: str
) -> None:
    queue = subject.queue
    await queue.publish("events", [make_envelope()])
    stale = await pull(queue, lease_s=30)
    await subject.pass_time(31)
    [current] = await pull(queue, lease_s=30)
    match late:
        case "ack":
            await queue.ack(stale)
        case "release":
            await queue.release(stale)
        case "dead_letter":
            await queue.dead_letter(stale, reason="late")
        case _:
            assert await queue.extend(stale, lease_s=100) == []
    assert await pull(queue) == []
    backlog = await queue.backlog("warehouse")
    assert (backlog.messages, backlog.leased, backlog.dead) == (1, 1, 0)
    assert await queue.extend([current], lease_s=30) == [current]


@EXACT
async def test_acknowledgement_with_a_made_up_lease_is_ignored(queue: Queue) -> None:
    await queue.publish("events", [make_envelope()])
    [delivery] = await pull(queue)
    await queue.ack([replace(delivery, lease_id="made-up")])
    assert (await queue.backlog("warehouse")).messages == 1


@EXACT
async def test_acknowledging_twice_is_harmless(queue: Queue) -> None:
    await queue.publish("events", [make_envelope(), make_envelope()])
    [first] = await pull(queue, max_messages=1)
    await queue.ack([first])
    await queue.ack([first])
    assert (await queue.backlog("warehouse")).messages == 1


@EXACT
async def test_extended_lease_outlives_its_first_end(subject: Subject) -> None:
    await subject.queue.publish("events", [make_envelope()])
    held = await pull(subject.queue, lease_s=30)
    await subject.pass_time(20)
    assert await subject.queue.extend(held, lease_s=30) == held
    await subject.pass_time(20)
    assert await pull(subject.queue) == []
    await subject.pass_time(20)
    assert len(await pull(subject.queue)) == 1


@EXACT
async def test_expired_lease_cannot_be_extended(subject: Subject) -> None:
    await subject.queue.publish("events", [make_envelope()])
    held = await pull(subject.queue, lease_s=30)
    await subject.pass_time(31)
    assert await subject.queue.extend(held, lease_s=30) == []


@EXACT
async def test_released_envelope_comes_back_at_once_with_the_same_attempt(queue: Queue) -> None:
    await queue.publish("events", [make_envelope()])
    for _ in range(3):
        [delivery] = await pull(queue)
        assert delivery.attempt == 1
        await queue.release([delivery])


async def test_waiting_pull_gets_an_envelope_that_is_released_meanwhile(queue: Queue) -> None:
    await queue.publish("events", [make_envelope()])
    held = await pull(queue)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(pull(queue, wait_s=60))
        tasks.create_task(queue.release(held))
    assert len(waiting.result()) == 1


@EXACT
async def test_cancelled_pull_gives_back_what_it_had_leased(queue: Queue) -> None:
    envelopes = [make_envelope() for _ in range(20)]
    await queue.publish("events", envelopes)
    for tries in range(8):  # cancelled ever later on its way
        with suppress(TimeoutError):
            async with asyncio.timeout(tries * 0.0002):
                await queue.release(await pull(queue))
    deliveries: list[str] = []
    async with asyncio.timeout(30):
        while len(deliveries) < len(envelopes):
            pulled = await pull(queue, wait_s=5)
            assert all(delivery.attempt == 1 for delivery in pulled)
            deliveries += [delivery.envelope.envelope_id for delivery in pulled]
    assert deliveries == [envelope.envelope_id for envelope in envelopes]


@EXACT
async def test_dead_letter_is_kept_and_counted_but_not_delivered(subject: Subject) -> None:
    queue = subject.queue
    await queue.publish("events", [make_envelope(), make_envelope()])
    dead, good = await pull(queue, lease_s=30)
    await queue.dead_letter([dead], reason="the consumer died of it")
    await queue.ack([good])
    await queue.ack(await pull(queue, "amplitude"))
    await subject.pass_time(31)
    assert await pull(queue) == []
    backlog = await queue.backlog("warehouse")
    assert (backlog.messages, backlog.dead) == (0, 1)
    assert (await queue.state()).stored_bytes > 0


@EXACT
async def test_envelope_is_put_aside_when_it_was_delivered_too_often(subject: Subject) -> None:
    queue = subject.queue
    await queue.publish("commands", [make_envelope()])
    attempts = 0
    while deliveries := await pull(queue, "workflows", lease_s=10):
        attempts = deliveries[0].attempt
        await subject.pass_time(11)
    assert attempts >= 5
    backlog = await queue.backlog("workflows")
    assert (backlog.messages, backlog.dead) == (0, 1)


@EXACT
async def test_backlog_counts_what_is_not_acknowledged(subject: Subject) -> None:
    queue = subject.queue
    await queue.publish("events", [make_envelope(raw_bytes=700, count=4) for _ in range(3)])
    await subject.pass_time(50)
    await queue.publish("events", [make_envelope(raw_bytes=200, count=1)])
    [oldest] = await pull(queue, max_messages=1)
    backlog = await queue.backlog("warehouse")
    assert (backlog.messages, backlog.events, backlog.bytes) == (4, 13, 2_300)
    assert (backlog.leased, backlog.dead) == (1, 0)
    assert backlog.oldest_age_s == pytest.approx(50, abs=5)
    await queue.ack([oldest, *await pull(queue, max_messages=2)])
    backlog = await queue.backlog("warehouse")
    assert (backlog.messages, backlog.events, backlog.bytes) == (1, 1, 200)
    assert backlog.leased == 0
    assert backlog.oldest_age_s < 5


@EXACT
async def test_backlog_is_zero_when_nothing_was_published(queue: Queue) -> None:
    backlog = await queue.backlog("warehouse")
    assert (backlog.messages, backlog.events, backlog.bytes, backlog.leased) == (0, 0, 0, 0)
    assert backlog.oldest_age_s == 0


@EXACT
async def test_publish_is_refused_whole_when_it_would_pass_the_bound(queue: Queue) -> None:
    await queue.publish("events", [make_envelope(body_bytes=MAX_BYTES // 2)])
    stored = (await queue.state()).stored_bytes
    too_much = [make_envelope(body_bytes=10), make_envelope(body_bytes=MAX_BYTES // 2)]
    with pytest.raises(QueueFullError) as refused:
        await queue.publish("events", too_much)
    assert refused.value.retry_after_s == 30
    state = await queue.state()
    assert state.condition == "full"
    assert state.stored_bytes == stored
    assert (await queue.backlog("warehouse")).messages == 1


@EXACT
async def test_full_queue_takes_envelopes_again_when_room_was_made(queue: Queue) -> None:
    half = make_envelope(body_bytes=MAX_BYTES // 2)
    await queue.publish("events", [half])
    with pytest.raises(QueueFullError):
        await queue.publish("events", [half])
    for subscription in ("warehouse", "amplitude"):
        await queue.ack(await pull(queue, subscription))
    assert (await queue.state()).condition == "ok"
    await queue.publish("events", [half])


@EXACT
async def test_refusal_of_one_publish_does_not_touch_its_neighbours(queue: Queue) -> None:
    async def publish(body_bytes: int) -> bool:
        try:
            await queue.publish("events", [make_envelope(body_bytes=body_bytes)])
        except QueueFullError:
            return False
        return True

    sizes = [100, MAX_BYTES + 1, 100, MAX_BYTES + 1, 100]
    async with asyncio.TaskGroup() as tasks:
        results = [tasks.create_task(publish(size)) for size in sizes]
    assert [task.result() for task in results] == [True, False, True, False, True]
    assert (await queue.backlog("warehouse")).messages == 3


@EXACT
async def test_bound_holds_exactly_when_many_publish_at_once(subject: Subject) -> None:
    size = MAX_BYTES // 20

    async def publish_until_full(queue: Queue) -> int:
        for stored in range(100):
            try:
                await queue.publish("events", [make_envelope(body_bytes=size)])
            except QueueFullError:
                return stored
        return 100

    async with subject.reopen() as other, asyncio.TaskGroup() as tasks:
        results = [tasks.create_task(publish_until_full(q)) for q in (subject.queue, other) * 3]
    assert sum(task.result() for task in results) == 19  # each takes a little more than its body
    assert (await subject.queue.state()).stored_bytes <= MAX_BYTES


@EXACT
async def test_retry_after_follows_from_how_fast_the_queue_drains(subject: Subject) -> None:
    queue = subject.queue
    size = MAX_BYTES // 10
    for _ in range(9):
        await queue.publish("commands", [make_envelope(body_bytes=size)])
    await queue.state()
    await subject.pass_time(2)
    await queue.ack(await pull(queue, "workflows", max_messages=4))
    drained = await queue.state()
    assert drained.drain_bytes_per_s == pytest.approx(4 * size / 2, rel=0.5)
    with pytest.raises(QueueFullError) as refused:
        await queue.publish("commands", [make_envelope(body_bytes=size * 9)])
    assert 1 <= refused.value.retry_after_s < 10


@EXACT
async def test_queue_keeps_everything_when_it_is_closed_and_opened_again(
    subject: Subject,
) -> None:
    envelopes = [make_envelope() for _ in range(3)]
    async with subject.reopen() as queue:
        await queue.publish("events", envelopes)
        await queue.ack(await pull(queue, max_messages=1))
        await pull(queue, max_messages=1)
    async with subject.reopen() as queue:
        assert envelopes_of(await pull(queue)) == envelopes[2:]
        assert (await queue.backlog("warehouse")).messages == 2


async def test_closed_queue_says_that_it_is_closed(subject: Subject) -> None:
    async with subject.reopen() as queue:
        pass
    with pytest.raises(QueueUnavailableError, match="closed"):
        await queue.publish("events", [make_envelope()])
    with pytest.raises(QueueUnavailableError, match="closed"):
        await pull(queue)
    assert (await queue.state()).condition == "unavailable"


@EXACT
async def test_closing_finishes_what_was_started(subject: Subject) -> None:
    envelopes = [make_envelope() for _ in range(50)]
    async with asyncio.TaskGroup() as tasks, subject.reopen() as queue:
        for envelope in envelopes:
            tasks.create_task(queue.publish("events", [envelope]))
        await asyncio.sleep(0)
    assert (await subject.queue.backlog("warehouse")).messages == 50


async def test_pull_that_waits_ends_when_the_queue_is_closed(subject: Subject) -> None:
    async def wait_in_vain(queue: Queue) -> str:
        try:
            await pull(queue, wait_s=60)
        except QueueUnavailableError as error:
            return str(error)
        return ""

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks, subject.reopen() as queue:
        waiting = tasks.create_task(wait_in_vain(queue))
        await queue.state()
        await queue.state()
    assert "closed" in waiting.result()


@EXACT
async def test_state_is_ok_when_there_is_room(queue: Queue) -> None:
    state = await queue.state()
    assert (state.condition, state.detail, state.max_bytes) == ("ok", "", MAX_BYTES)
