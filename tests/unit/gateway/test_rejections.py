"""Error records: one for each refusal, few for a flood, none lost at a graceful stop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import orjson

from gateway import rejections
from gateway.rejections import Rejections
from sluice.core.errors import ErrorType, QueueUnavailableError, Rejected
from tests.unit.gateway.queues import GatedQueue, running_publisher

MISSING = Rejected(ErrorType.USER_ID_MISSING, "user_id is required.", field="user_id", index=1)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(1_800_000_000 + self.seconds, UTC)


def numbered_ids(count: int) -> Sequence[str]:
    return [f"id-{number}" for number in range(count)]


@asynccontextmanager
async def recording(queue: GatedQueue, clock: Clock) -> AsyncIterator[Rejections]:
    """Yield rejections over a publisher; nothing flushes them but the test."""
    async with running_publisher(queue) as publisher:
        yield Rejections(publisher, new_ids=numbered_ids, now=clock.now, monotonic=clock.monotonic)


def records(queue: GatedQueue) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in queue.rows("errors")]


async def test_refusal_leaves_a_record_with_all_that_is_known() -> None:
    queue, clock = GatedQueue(), Clock()
    async with recording(queue, clock) as told:
        rejected = Rejected(
            ErrorType.PAYLOAD_INVALID,
            "payload must be an object, not a list.",
            field="payload",
            index=3,
            event_id="e-1",
            event_type="signup",
            user_id="u-1",
        )
        told.record("acme", "batch", [rejected], "req-1")
        clock.seconds += rejections.COLLECT_S
        await told.flush(clock.seconds)
    (record,) = records(queue)
    assert record == {
        "tenant": "acme",
        "error_id": "id-0",
        "ts": "2027-01-15T08:16:40.000000",
        "source": "batch",
        "error_type": "payload_invalid",
        "detail": "payload must be an object, not a list.",
        "event_index": 3,
        "event_id": "e-1",
        "event_type": "signup",
        "user_id": "u-1",
        "request_id": "req-1",
    }


async def test_flood_of_equal_refusals_is_one_record_with_a_count() -> None:
    queue, clock = GatedQueue(), Clock()
    async with recording(queue, clock) as told:
        for _ in range(1_000):
            told.record("acme", "batch", [MISSING], "req")
        clock.seconds += rejections.COLLECT_S
        await told.flush(clock.seconds)
        for _ in range(500):
            told.record("acme", "batch", [MISSING], "req")
        clock.seconds += rejections.WINDOW_S - 0.1
        await told.flush(clock.seconds)
        assert [record["occurrences"] for record in records(queue)] == [1_000]
        clock.seconds += 0.1
        await told.flush(clock.seconds)
    assert [record["occurrences"] for record in records(queue)] == [1_000, 500]


async def test_different_refusals_are_different_records() -> None:
    queue, clock = GatedQueue(), Clock()
    async with recording(queue, clock) as told:
        for index in range(150):
            told.record(
                "acme", "batch", [Rejected(ErrorType.USER_ID_MISSING, "no", index=index)], "req"
            )
        await told.flush(float("inf"))
    assert [record["event_index"] for record in records(queue)] == list(range(150))


async def test_flood_of_different_refusals_is_capped_and_counted() -> None:
    queue, clock = GatedQueue(), Clock()
    sent = 3 * rejections.MAX_DISTINCT
    async with recording(queue, clock) as told:
        for number in range(sent):
            rejected = Rejected(ErrorType.USER_ID_INVALID, "no", user_id=f"u-{number}")
            told.record("acme", "track", [rejected], "req")
        told.record("other", "track", [MISSING], "req")
        await told.flush(float("inf"))
    written = records(queue)
    assert len(written) == rejections.MAX_DISTINCT + 1 + 1
    counts = [record.get("occurrences", 1) for record in written if record["tenant"] == "acme"]
    assert sum(int(str(count)) for count in counts) == sent


async def test_refusal_leaves_no_record_when_the_tenant_is_unknown_or_the_table_says_so() -> None:
    queue, clock = GatedQueue(), Clock()
    async with recording(queue, clock) as told:
        told.record(None, "track", [MISSING], "req")
        told.record("acme", "track", [Rejected(ErrorType.OVERLOADED, "busy")], "req")
        await told.flush(float("inf"))
    assert records(queue) == []


async def test_records_are_kept_for_the_next_round_when_the_queue_fails() -> None:
    queue, clock = GatedQueue(), Clock()
    async with recording(queue, clock) as told:
        queue.error = QueueUnavailableError("disk")
        told.record("acme", "batch", [MISSING], "req")
        await told.flush(float("inf"))
        assert records(queue) == []
        queue.error = None
        await told.flush(float("inf"))
    assert len(records(queue)) == 1


async def test_windows_are_forgotten_when_nothing_more_comes() -> None:
    queue, clock = GatedQueue(), Clock()
    async with recording(queue, clock) as told:
        told.record("acme", "batch", [MISSING], "req")
        for _ in range(3):
            await told.flush(float("inf"))
        assert len(records(queue)) == 1
        told.record("acme", "batch", [MISSING], "req-2")
        await told.flush(float("inf"))
    assert [record["request_id"] for record in records(queue)] == ["req", "req-2"]


async def test_run_flushes_everything_when_it_is_stopped() -> None:
    queue, stop = GatedQueue(), asyncio.Event()
    async with running_publisher(queue) as publisher:
        told = Rejections(publisher, new_ids=numbered_ids, collect_s=60)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(told.run(stop))
            await asyncio.sleep(0)
            told.record("acme", "batch", [MISSING], "req")
            stop.set()
    assert len(records(queue)) == 1
