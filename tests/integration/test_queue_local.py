"""What only the local queue promises: group commit, sharing, the file and its bounds."""

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from sluice.core.errors import QueueFullError
from sluice.queue.local import LocalOptions, LocalQueue
from sluice.queue.local_schema import (
    FileOptions,
    open_for_writing,
)
from sluice.queue.turn import Turn
from sluice.queue.writer import Writer
from tests.support.poll import poll_until
from tests.support.queue_process import run_queue_process
from tests.support.queues import TOPICS, TRACES, Clock, make_envelope, pull

MIB = 1024 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the queue file is."""
    return tmp_path / "queue.sqlite"


@pytest.fixture
async def writer(path: Path) -> AsyncIterator[Writer]:
    """The writer thread alone."""
    writer = Writer(FileOptions(path=path, topics=TOPICS), retry_every_s=1, max_waiting_bytes=MIB)
    yield writer
    await writer.close(timeout_s=5)


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


async def test_each_envelope_of_two_publishing_processes_is_delivered_once(path: Path) -> None:
    """Nothing is lost or doubled while three processes share the file."""
    delivered: list[str] = []
    async with LocalQueue(path, topics=TOPICS) as queue, asyncio.TaskGroup() as tasks:
        publishers = [tasks.create_task(run_queue_process("publish-some", path)) for _ in range(2)]
        async with asyncio.timeout(60):
            while len(delivered) < 800:
                deliveries = await pull(queue, max_messages=50, wait_s=5)
                await queue.ack(deliveries)
                delivered += [delivery.envelope.envelope_id for delivery in deliveries]
    promised = [line for publisher in publishers for line in publisher.result()]
    assert sorted(delivered) == sorted(promised)


async def test_calls_that_arrive_during_a_commit_share_the_next_transaction(
    writer: Writer, path: Path
) -> None:
    go_on = threading.Event()
    visible: list[int] = []

    def insert(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO dead SELECT count(*), '', 0, '', 0 FROM dead")

    def hold_up(connection: sqlite3.Connection) -> None:
        insert(connection)
        go_on.wait(10)

    def look_from_outside(_connection: sqlite3.Connection) -> None:
        with closing(sqlite3.connect(path)) as other:
            visible.append(other.execute("SELECT count(*) FROM dead").fetchone()[0])

    first = writer.submit(hold_up)
    others = [writer.submit(insert) for _ in range(50)]
    last = writer.submit(look_from_outside)
    go_on.set()
    await asyncio.wait([first, *others, last])
    # The fifty were not committed yet when the last call of their transaction ran. Whether the
    # first was alone depends on when the thread woke up.
    assert visible in ([0], [1])
    assert await writer.submit(lambda c: c.execute("SELECT count(*) FROM dead").fetchone()) == (51,)


async def test_commit_syncs_the_disk(path: Path) -> None:
    with closing(open_for_writing(FileOptions(path=path, topics=TOPICS))) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_queue_file_is_its_owners_only(path: Path) -> None:
    async with LocalQueue(path, topics=TOPICS) as queue:
        await queue.publish("events", [make_envelope()])
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}


async def test_pull_and_figures_need_no_lock_when_there_is_nothing_to_lease(path: Path) -> None:
    async with LocalQueue(path, LocalOptions(busy_timeout_s=0.05), topics=TOPICS) as queue:
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            assert await pull(queue, wait_s=0.1) == []
            assert (await queue.backlog("warehouse")).messages == 0
            assert (await queue.state()).condition == "ok"


async def test_publish_is_refused_when_too_many_bytes_wait_for_the_disk(path: Path) -> None:
    options = LocalOptions(max_waiting_bytes=50_000)
    async with LocalQueue(path, options, topics=TOPICS) as queue, asyncio.TaskGroup() as tasks:
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            for _ in range(4):
                tasks.create_task(queue.publish("events", [make_envelope(body_bytes=10_000)]))
            await asyncio.sleep(0)
            with pytest.raises(QueueFullError) as refused:
                await queue.publish("events", [make_envelope(body_bytes=10_000)])
            assert refused.value.retry_after_s == 1
            holder.execute("ROLLBACK")
    async with LocalQueue(path, topics=TOPICS) as queue:
        assert (await queue.backlog("warehouse")).messages == 4


async def test_lease_counts_as_expired_when_the_clock_was_set_back_far(path: Path) -> None:
    clock = Clock()
    async with LocalQueue(path, topics=TOPICS, clock=clock) as queue:
        await queue.publish("events", [make_envelope()])
        await pull(queue, lease_s=30)
        clock.advance(-3_600)
        assert len(await pull(queue)) == 1
        assert (await queue.backlog("warehouse")).oldest_age_s == 0


async def test_lease_is_never_longer_than_ten_minutes(path: Path) -> None:
    clock = Clock()
    async with LocalQueue(path, topics=TOPICS, clock=clock) as queue:
        await queue.publish("events", [make_envelope()])
        held = await pull(queue, lease_s=86_400)
        await queue.extend(held, lease_s=86_400)
        clock.advance(601)
        assert len(await pull(queue)) == 1


async def test_file_and_wal_stay_small_under_steady_load(path: Path) -> None:
    """Space is used again: 60 MB pass through, the files hold a fraction."""
    async with LocalQueue(path, topics=TOPICS) as queue:
        largest = 0
        for _ in range(60):
            await queue.publish("commands", [make_envelope(body_bytes=MIB)])
            await queue.ack(await pull(queue, "workflows"))
            wal = path.with_name(path.name + "-wal")
            largest = max(largest, size_of(path) + size_of(wal))
    assert largest < 20 * MIB


async def test_file_shrinks_when_the_queue_has_emptied(path: Path) -> None:
    async with LocalQueue(path, topics=TOPICS) as queue:
        for _ in range(10):
            await queue.publish("commands", [make_envelope(body_bytes=7 * MIB)])
        await queue.ack(await pull(queue, "workflows", max_bytes=10**9))
    assert size_of(path) > 64 * MIB
    async with LocalQueue(path, topics=TOPICS):
        await poll_until(lambda: size_of(path) < MIB, within_s=60, what="the file shrank")


def test_turn_goes_to_the_one_who_waits_before_its_holder_comes_round_again(path: Path) -> None:
    order: list[str] = []

    def take_second() -> None:
        with Turn(path, timeout_s=10):
            order.append("second")

    first = Turn(path, timeout_s=10)
    with first:
        thread = threading.Thread(target=take_second)
        thread.start()
        wait_until_somebody_waits(path)
    with first:
        order.append("first again")
    thread.join()
    assert order == ["second", "first again"]


def wait_until_somebody_waits(path: Path) -> None:
    """Return when the lock of those who come next is held."""
    lock = os.open(path.with_name(path.name + "-next"), os.O_RDWR)
    for _ in range(1_000_000):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            break
        fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


async def test_file_of_a_sluice_that_knew_no_traces_serves_on_and_takes_them(path: Path) -> None:
    """A file of schema 1 as it was made before: without the column, with a message in it."""
    first, second = make_envelope(), make_envelope(traces=TRACES)
    async with LocalQueue(path, topics=TOPICS) as queue:
        await queue.publish("events", [first])
    with closing(sqlite3.connect(path)) as old:
        old.execute("ALTER TABLE messages DROP COLUMN traces")
        old.commit()
    async with LocalQueue(path, topics=TOPICS) as queue:
        await queue.publish("events", [second])
        assert [one.envelope for one in await pull(queue)] == [first, second]


async def test_sluice_that_knows_no_traces_shares_the_file_of_one_that_does(path: Path) -> None:
    """The statements of a gateway and a worker of before, on a file that has the column."""
    envelope = make_envelope(traces=TRACES)
    async with LocalQueue(path, topics=TOPICS) as queue:
        await queue.publish("events", [envelope])
        with closing(sqlite3.connect(path)) as old:
            assert old.execute("PRAGMA user_version").fetchone() == (1,)
            old.execute(
                "INSERT INTO messages (message_id, topic, envelope_id, kind, events, raw_bytes,"
                " stored_bytes, published_at, body)"
                " SELECT last_id + 1, 'events', 'e', 'events', 1, 10, 522, 1.0, x'00' FROM counters"
            )
            old.commit()
            found = old.execute("SELECT body FROM messages ORDER BY message_id").fetchall()
        assert found == [(envelope.body,), (b"\x00",)]
        assert [one.envelope.traces for one in await pull(queue)] == [TRACES, ""]
