"""Group commit: what the answer waits for, and what happens past each bound."""

import asyncio

import pytest

from gateway.group import Unstored
from gateway.publisher import LARGE_BYTES, SMALL_BYTES, Publisher
from sluice.core.envelope import Rows
from sluice.core.errors import ErrorType, QueueFullError, QueueUnavailableError
from tests.support.poll import poll_until
from tests.unit.gateway.queues import GatedQueue, running_publisher


def row(number: int = 0, *, size: int = 20) -> Rows:
    return Rows("events", 1, f'{{"n":{number},"p":"{"x" * size}"}}'.encode() + b"\n")


def why(outcome: Unstored | None) -> ErrorType | None:
    return None if outcome is None else outcome.error_type


async def test_publish_returns_only_when_the_queue_has_the_rows() -> None:
    queue = GatedQueue()
    queue.gate.clear()
    async with running_publisher(queue) as publisher, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(publisher.publish([row(1)]))
        await poll_until(lambda: queue.started == 1)
        assert not waiting.done()
        queue.gate.set()
        assert await waiting is None
        assert queue.rows() == [row(1).data.rstrip()]


async def test_requests_share_one_commit_when_another_is_in_flight() -> None:
    queue = GatedQueue()
    queue.gate.clear()
    async with running_publisher(queue) as publisher, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(publisher.publish([row(0)]))
        await poll_until(lambda: queue.started == 1)
        others = [tasks.create_task(publisher.publish([row(number)])) for number in range(1, 50)]
        await asyncio.sleep(0)
        queue.gate.set()
        assert [await one for one in (first, *others)] == [None] * 50
    assert [len(envelopes) for envelopes in queue.commits] == [1, 1]
    assert queue.rows() == [row(number).data.rstrip() for number in range(50)]


async def test_rows_are_published_when_their_client_hangs_up() -> None:
    queue = GatedQueue()
    queue.gate.clear()
    async with running_publisher(queue) as publisher, asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(publisher.publish([row(1)]))
        stays = tasks.create_task(publisher.publish([row(2)]))
        await poll_until(lambda: queue.started == 1)
        gone.cancel()
        await asyncio.sleep(0)
        queue.gate.set()
        assert await stays is None
    assert queue.rows() == [row(1).data.rstrip(), row(2).data.rstrip()]


async def test_publisher_says_overloaded_when_one_byte_goes_past_the_bound() -> None:
    queue = GatedQueue()
    queue.gate.clear()
    bound = 2 * len(row().data)
    async with (
        running_publisher(queue, max_pending_bytes=bound) as publisher,
        asyncio.TaskGroup() as tasks,
    ):
        admitted = [tasks.create_task(publisher.publish([row()])) for _ in range(2)]
        await poll_until(lambda: publisher.pending_bytes == bound)
        assert why(await publisher.publish([row()])) is ErrorType.OVERLOADED
        assert why(publisher.refuse(1)) is ErrorType.OVERLOADED
        queue.gate.set()
        assert [await one for one in admitted] == [None, None]
        assert publisher.refuse(1) is None
        assert await publisher.publish([row()]) is None
    assert len(queue.rows()) == 3


async def test_publisher_takes_rows_beyond_the_bound_when_nothing_waits() -> None:
    queue = GatedQueue()
    async with running_publisher(queue, max_pending_bytes=10) as publisher:
        assert await publisher.publish([row(size=1_000)]) is None


async def test_publisher_says_spool_full_and_when_to_return_when_the_queue_is_full() -> None:
    queue = GatedQueue()
    queue.error = QueueFullError("full", retry_after_s=7.5)
    async with running_publisher(queue) as publisher:
        outcome = await publisher.publish([row()])
        assert outcome is not None
        assert (outcome.error_type, outcome.retry_after_s) == (ErrorType.SPOOL_FULL, 7.5)
        queue.error = None
        assert await publisher.publish([row(2)]) is None
        assert publisher.pending_bytes == 0


@pytest.mark.parametrize("error", [QueueUnavailableError("disk"), RuntimeError("bug")])
async def test_publisher_goes_on_when_the_queue_fails(error: Exception) -> None:
    queue = GatedQueue()
    queue.error = error
    async with running_publisher(queue) as publisher:
        assert why(await publisher.publish([row()])) is ErrorType.SPOOL_FULL
        queue.error = None
        assert await publisher.publish([row()]) is None


async def test_publisher_says_timeout_and_drops_what_only_gathered() -> None:
    queue = GatedQueue()
    queue.gate.clear()
    async with (
        running_publisher(queue, timeout_s=0.05) as publisher,
        asyncio.TaskGroup() as tasks,
    ):
        in_flight = tasks.create_task(publisher.publish([row(1)]))
        await poll_until(lambda: queue.started == 1)
        gathering = tasks.create_task(publisher.publish([row(2)]))
        assert why(await in_flight) is ErrorType.PUBLISH_TIMEOUT
        assert why(await gathering) is ErrorType.PUBLISH_TIMEOUT
        assert publisher.pending_bytes == len(row(1).data)
        queue.gate.set()
        await poll_until(lambda: publisher.pending_bytes == 0)
        assert await publisher.publish([row(3)]) is None
    assert queue.rows() == [row(1).data.rstrip(), row(3).data.rstrip()]


async def test_publisher_seals_large_rows_side_by_side_and_keeps_every_byte() -> None:
    queue = GatedQueue()
    large = [row(number, size=100_000) for number in range(8)]
    async with running_publisher(queue) as publisher, asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(publisher.publish([one])) for one in large]
    assert [await one for one in waiting] == [None] * 8
    assert sorted(queue.rows()) == sorted(one.data.rstrip() for one in large)
    ids = [envelope.envelope_id for commit in queue.commits for envelope in commit]
    assert len(set(ids)) == 8


async def test_publisher_flushes_what_gathered_when_it_is_stopped() -> None:
    queue = GatedQueue()
    stop = asyncio.Event()
    async with (
        Publisher(queue, max_pending_bytes=1_000_000, timeout_s=5) as publisher,
        asyncio.TaskGroup() as tasks,
    ):
        waiting = tasks.create_task(publisher.publish([row(1)]))
        await asyncio.sleep(0)
        stop.set()
        await publisher.run(stop)
    assert await waiting is None
    assert len(queue.rows()) == 1


async def started(queue: GatedQueue, count: int) -> None:
    await poll_until(lambda: queue.started == count)


async def test_lone_request_does_not_wait_for_another_on_its_way_to_a_slow_queue() -> None:
    queue = GatedQueue()
    queue.gate.clear()
    async with (
        running_publisher(queue, max_in_flight=4) as publisher,
        asyncio.TaskGroup() as tasks,
    ):
        waiting = []
        for number in range(4):
            waiting.append(tasks.create_task(publisher.publish([row(number)])))
            await started(queue, number + 1)
        others = [tasks.create_task(publisher.publish([row(number)])) for number in range(4, 9)]
        await poll_until(lambda: publisher.pending_bytes == 9 * len(row(1).data))
        assert queue.started == 4
        queue.gate.set()
        assert [await one for one in (*waiting, *others)] == [None] * 9
    assert [len(queue.rows()), len(queue.commits)] == [9, 5]


async def test_group_that_waited_for_its_turn_takes_along_what_has_arrived_by_then() -> None:
    queue = GatedQueue()
    queue.gate.clear()
    async with running_publisher(queue, max_in_flight=2) as publisher:

        async def send_again() -> None:
            await publisher.publish([row(2)])
            await publisher.publish([row(4)])

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publisher.publish([row(1)]))
            await started(queue, 1)
            tasks.create_task(send_again())
            await started(queue, 2)
            tasks.create_task(publisher.publish([row(3)]))
            await asyncio.sleep(0)
            queue.gate.set()
    assert len(queue.commits) == 3
    assert queue.rows() == [row(number).data.rstrip() for number in (1, 2, 3, 4)]


async def test_large_group_does_not_wait_for_its_turn() -> None:
    queue = GatedQueue()
    queue.gate.clear()
    async with (
        running_publisher(queue, max_in_flight=2) as publisher,
        asyncio.TaskGroup() as tasks,
    ):
        small = tasks.create_task(publisher.publish([row(1)]))
        await poll_until(lambda: queue.started == 1)
        large = tasks.create_task(publisher.publish([row(2, size=LARGE_BYTES)]))
        await poll_until(lambda: queue.started == 2)
        queue.gate.set()
        assert [await small, await large] == [None, None]


LONG_S = 3600.0
"""Of space between commits: who waits for it is not answered in a test."""


async def test_lone_client_is_never_kept_waiting_for_others() -> None:
    queue = GatedQueue()
    async with running_publisher(queue, space_s=LONG_S) as publisher:
        for number in range(5):
            assert await publisher.publish([row(number)]) is None
    assert len(queue.commits) == 5


async def test_small_group_waits_for_as_many_as_waited_when_the_last_commit_ended() -> None:
    queue = GatedQueue()
    queue.gate.clear()
    async with (
        running_publisher(queue, space_s=LONG_S) as publisher,
        asyncio.TaskGroup() as tasks,
    ):
        first = tasks.create_task(publisher.publish([row(0)]))
        await started(queue, 1)
        second = tasks.create_task(publisher.publish([row(1)]))
        await poll_until(lambda: publisher.pending_bytes == 2 * len(row(0).data))
        queue.gate.set()
        assert await first is None
        for _ in range(100):
            await asyncio.sleep(0)
        assert (queue.started, second.done()) == (1, False)
        assert await publisher.publish([row(2)]) is None
        assert await second is None
    assert len(queue.commits) == 2


@pytest.mark.parametrize("size", [SMALL_BYTES, 20])
async def test_group_does_not_wait_when_it_is_large_or_the_space_is_over(size: int) -> None:
    queue = GatedQueue()
    queue.gate.clear()
    space_s = LONG_S if size == SMALL_BYTES else 0.001
    async with (
        running_publisher(queue, space_s=space_s) as publisher,
        asyncio.TaskGroup() as tasks,
    ):
        first = tasks.create_task(publisher.publish([row(0)]))
        await started(queue, 1)
        second = tasks.create_task(publisher.publish([row(1, size=size)]))
        await poll_until(lambda: publisher.pending_bytes > size + len(row(0).data))
        queue.gate.set()
        assert [await first, await second] == [None, None]


async def test_group_that_waits_for_others_is_committed_at_once_when_the_publisher_is_stopped() -> (
    None
):
    queue = GatedQueue()
    queue.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        async with running_publisher(queue, space_s=LONG_S) as publisher:
            first = tasks.create_task(publisher.publish([row(0)]))
            await started(queue, 1)
            second = tasks.create_task(publisher.publish([row(1)]))
            await poll_until(lambda: publisher.pending_bytes == 2 * len(row(0).data))
            queue.gate.set()
            assert await first is None
        assert await second is None


class Announced:
    """Requests whose rows are made late, as those of the fast path."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.rows: list[Rows] = []
        self.told: list[Unstored | None] = []

    def take(self, one: Rows) -> None:
        """Take a request in hand."""
        group = self._publisher.announce(self._make)
        group.count += 1
        group.announced += len(one.data)
        self.rows.append(one)

    def _make(self) -> None:
        rows, self.rows = self.rows, []
        self._publisher.offer(rows, self.told.append)


async def test_rows_that_were_announced_are_made_once_when_their_group_is_committed() -> None:
    queue = GatedQueue()
    queue.gate.clear()
    async with running_publisher(queue) as publisher, asyncio.TaskGroup() as tasks:
        announced = Announced(publisher)
        first = tasks.create_task(publisher.publish([row(0)]))
        await started(queue, 1)
        second = tasks.create_task(publisher.publish([row(1)]))
        announced.take(row(2))
        announced.take(row(3))
        await poll_until(lambda: publisher.pending_bytes == 2 * len(row(0).data))
        assert len(announced.rows) == 2
        queue.gate.set()
        assert [await first, await second] == [None, None]
        await poll_until(lambda: announced.told == [None])
    assert queue.rows() == [row(number).data.rstrip() for number in range(4)]
    assert len(queue.commits) == 2


async def test_announced_requests_are_told_when_their_group_is_given_up() -> None:
    queue = GatedQueue()
    queue.gate.clear()
    async with (
        running_publisher(queue, timeout_s=0.05) as publisher,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(publisher.publish([row(0)]))
        await started(queue, 1)
        announced = Announced(publisher)
        announced.take(row(1))
        await poll_until(lambda: bool(announced.told))
        assert why(announced.told[0]) is ErrorType.PUBLISH_TIMEOUT
        queue.gate.set()
    assert queue.rows() == [row(0).data.rstrip()]


async def test_publisher_waits_for_all_that_is_on_its_way_when_it_is_stopped() -> None:
    queue = GatedQueue()
    queue.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        async with running_publisher(queue, max_in_flight=4) as publisher:
            waiting = []
            for number in range(3):
                waiting.append(tasks.create_task(publisher.publish([row(number)])))
                await started(queue, number + 1)
            queue.gate.set()
        assert [one.result() for one in waiting] == [None] * 3
