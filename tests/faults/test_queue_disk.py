"""The local queue when its disk or file fails: no false success, one clear sentence, recovery.

A disk that is full is made in two ways that need no rights: SQLite's own bound on pages, which
answers SQLITE_FULL like a full disk, and the process's limit on file sizes, at which ``write``
fails. A read-only disk is a read-only folder seen by a process without root's privileges.
"""

import asyncio
import fcntl
import hashlib
import os
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from sluice.core.envelope import Envelope
from sluice.core.errors import QueueUnavailableError
from sluice.queue.local import LocalOptions, LocalQueue
from sluice.queue.protocol import QueueState
from tests.support.poll import poll_until
from tests.support.queue_process import REPOSITORY, run_queue_process
from tests.support.queues import TOPICS, envelopes_of, make_envelope, pull


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the queue file is, in a folder that does not exist yet."""
    return tmp_path / "data" / "queue.sqlite"


def open_queue(
    path: Path, *, max_pages: int | None = None, retry_every_s: float = 0.02
) -> LocalQueue:
    """A queue that tries a broken disk often and waits shortly for a held lock."""
    return LocalQueue(
        path,
        LocalOptions(max_pages=max_pages, retry_every_s=retry_every_s, busy_timeout_s=0.1),
        topics=TOPICS,
    )


async def state_when_ok(queue: LocalQueue) -> QueueState:
    """Wait until the queue says that it takes envelopes."""

    async def ok_state() -> QueueState | None:
        state = await queue.state()
        return state if state.condition == "ok" else None

    return await poll_until(ok_state, what="the queue recovered")


async def assert_unavailable(queue: LocalQueue, word: str) -> None:
    """Publishes are refused with a sentence that has this word, and the state has the same."""
    with pytest.raises(QueueUnavailableError, match=word):
        await queue.publish("events", [make_envelope()])
    state = await queue.state()
    assert state.condition == "unavailable"
    assert word in state.detail
    assert "\n" not in state.detail
    assert abs(state.since - time.time()) < 60


async def stored_ids(path: Path) -> set[str]:
    """The ids of all envelopes in the file."""
    async with open_queue(path) as queue:
        deliveries = await pull(queue, max_messages=100_000, max_bytes=1_000_000_000)
    return {delivery.envelope.envelope_id for delivery in deliveries}


async def test_every_published_envelope_survives_kill_9_of_the_publisher(path: Path) -> None:
    """What ``publish`` returned for is in the file, whenever the process was killed."""
    promised: set[str] = set()
    for until_kill in (50, 217, 431):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.queue_process", "publish-for-ever", str(path)),
            cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(60):
            for _ in range(until_kill):
                promised.add((await process.stdout.readline()).decode().strip())
            process.kill()
            rest = (await process.stdout.read()).decode().splitlines(keepends=True)
            await process.wait()
        promised |= {line.strip() for line in rest if line.endswith("\n")}
    assert len(promised) >= 150
    assert promised <= await stored_ids(path)


async def test_queue_refuses_and_recovers_when_the_disk_is_full(path: Path) -> None:
    """Nothing is promised that is not stored, and acknowledging makes room again."""
    stored: list[Envelope] = []

    async def publish_for_ever() -> None:
        while True:
            envelope = make_envelope(body_bytes=20_000)
            await queue.publish("events", [envelope])
            stored.append(envelope)

    async with open_queue(path, max_pages=400) as queue:
        with pytest.raises(QueueUnavailableError, match="full"):
            await publish_for_ever()
        state = await queue.state()
        assert state.condition == "unavailable"
        assert "free some space" in state.detail
        assert len(stored) > 20
        for subscription in ("warehouse", "amplitude"):
            delivered = await pull(queue, subscription, max_messages=10_000)
            assert envelopes_of(delivered) == stored
            await queue.ack(delivered)
        await state_when_ok(queue)
        await queue.publish("events", [make_envelope(body_bytes=20_000)])


async def test_acknowledgement_succeeds_in_one_group_with_a_publish_that_finds_the_disk_full(
    path: Path,
) -> None:
    async with open_queue(path, max_pages=100) as queue:
        await queue.publish("events", [make_envelope(body_bytes=20_000)])
        held = await pull(queue)

        async def publish_too_much() -> str:
            try:
                await queue.publish("events", [make_envelope(body_bytes=900_000)])
            except QueueUnavailableError as error:
                return str(error)
            return ""

        async with asyncio.TaskGroup() as tasks:
            refused = tasks.create_task(publish_too_much())
            tasks.create_task(queue.ack(held))
        assert "full" in refused.result()
        assert (await queue.backlog("warehouse")).messages == 0


async def test_full_disk_stays_unavailable_until_it_has_room_for_what_it_refused(
    path: Path,
) -> None:
    async with open_queue(path, max_pages=100, retry_every_s=0) as queue:
        with pytest.raises(QueueUnavailableError):
            await queue.publish("events", [make_envelope(body_bytes=900_000)])
        for _ in range(3):
            assert (await queue.state()).condition == "unavailable"
        await queue.publish("events", [make_envelope(body_bytes=1_000)])
        assert (await queue.state()).condition == "ok"


async def test_queue_refuses_and_recovers_when_files_cannot_grow(path: Path) -> None:
    """Each promised envelope is there although writes began to fail in the midst of it."""
    said = await run_queue_process("publish-past-file-limit", path)
    *promised, refused, state, last = said
    assert refused.startswith("refused: The disk of the queue file")
    assert state.startswith("unavailable: The disk of the queue file")
    assert len(promised) > 20
    assert {*promised, last} <= await stored_ids(path)


async def test_queue_refuses_and_recovers_when_its_file_is_read_only(path: Path) -> None:
    async with open_queue(path) as queue:
        await queue.publish("events", [make_envelope()])
    refused, state, last = await run_queue_process("publish-to-read-only-file", path)
    assert refused.startswith("refused: Sluice may not use the queue file")
    assert state.startswith("unavailable: Sluice may not use the queue file")
    assert last in await stored_ids(path)


async def test_queue_is_unavailable_and_leaves_the_file_alone_when_its_head_is_damaged(
    path: Path,
) -> None:
    async with open_queue(path) as queue:
        await queue.publish("events", [make_envelope()])
    damage(path, at=0)
    before = digest(path)
    async with open_queue(path) as queue:
        await assert_unavailable(queue, "not a SQLite file")
        with pytest.raises(QueueUnavailableError):
            await pull(queue, wait_s=5)
        with pytest.raises(QueueUnavailableError):
            await queue.backlog("warehouse")
        assert digest(path) == before
        await asyncio.to_thread(path.rename, path.with_name("damaged.sqlite"))
        await state_when_ok(queue)
        await queue.publish("events", [make_envelope()])
    assert digest(path.with_name("damaged.sqlite")) == before


async def test_queue_is_unavailable_and_leaves_the_file_alone_when_its_pages_are_damaged(
    path: Path,
) -> None:
    async with open_queue(path) as queue:
        await queue.publish("events", [make_envelope(body_bytes=3_000) for _ in range(50)])
    damage(path, at=4096, size=10 * 4096)
    before = digest(path)
    async with open_queue(path) as queue:
        await assert_unavailable(queue, "damaged")
        assert str(path) in (await queue.state()).detail
    assert digest(path) == before


async def test_queue_does_not_touch_a_file_of_another_program(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE theirs (x)")
    foreign.close()
    before = digest(path)
    async with open_queue(path) as queue:
        await assert_unavailable(queue, "another program's")
    assert digest(path) == before


async def test_queue_does_not_touch_a_file_of_a_newer_version(path: Path) -> None:
    async with open_queue(path):
        pass
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    async with open_queue(path) as queue:
        await assert_unavailable(queue, "newer Sluice")


async def test_queue_is_unavailable_until_its_folder_can_be_made(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")
    async with open_queue(path) as queue:
        await assert_unavailable(queue, "cannot be opened")
        path.parent.unlink()
        await state_when_ok(queue)
        await queue.publish("events", [make_envelope()])


async def test_publish_is_stored_under_its_path_when_somebody_moved_the_file_away(
    path: Path,
) -> None:
    """A file without its name would take envelopes that nobody finds again."""
    async with open_queue(path) as queue:
        await queue.publish("events", [make_envelope()])
        for file in path.parent.iterdir():
            file.rename(file.with_name("old-" + file.name))
        envelope = make_envelope()
        await queue.publish("events", [envelope])
        assert (await queue.backlog("warehouse")).messages == 1
    assert await stored_ids(path) == {envelope.envelope_id}


async def test_publish_is_refused_in_time_when_another_program_keeps_the_file_locked(
    path: Path,
) -> None:
    async with open_queue(path) as queue:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        await assert_unavailable(queue, "locked")
        holder.execute("ROLLBACK")
        holder.close()
        await queue.publish("events", [make_envelope()])
        assert (await queue.state()).condition == "ok"


async def test_publish_is_refused_in_time_when_another_process_hangs_in_its_turn(
    path: Path,
) -> None:
    async with open_queue(path) as queue:
        turn = os.open(path.with_name(path.name + "-now"), os.O_RDWR)
        fcntl.flock(turn, fcntl.LOCK_EX)
        await assert_unavailable(queue, "locked")
        os.close(turn)
        await queue.publish("events", [make_envelope()])


async def test_broken_file_is_not_tried_again_before_its_pause_is_over(path: Path) -> None:
    """A thousand callers make no thousand tries: the file is mended, yet nobody looked."""
    async with open_queue(path):
        pass
    damage(path, at=0)
    async with open_queue(path, retry_every_s=1_000) as queue:
        await asyncio.to_thread(path.unlink)
        for _ in range(1_000):
            with pytest.raises(QueueUnavailableError, match="not a SQLite file"):
                await queue.publish("events", [make_envelope()])
        assert not await asyncio.to_thread(path.exists)


def damage(path: Path, *, at: int, size: int = 4096) -> None:
    """Overwrite a part of a file with noise."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(size))


def digest(path: Path) -> str:
    """What tells whether a file was changed."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_what_is_published_stays_in_the_file_when_another_process_leaves_it_in_order(
    path: Path,
) -> None:
    """The last connection to close deletes the WAL, so a queue in use must not lose its locks.

    They are POSIX locks: a process loses all that it has on a file when it closes any descriptor
    of it. A worker has two queues of one file open.
    """
    async with open_queue(path) as queue, open_queue(path) as second:
        await queue.publish("events", [make_envelope()])
        await second.publish("events", [make_envelope()])
        theirs = set(await run_queue_process("publish-some", path))
        ours = make_envelope()
        await queue.publish("events", [ours])
        assert (await queue.backlog("warehouse")).messages == 403
        found = await run_queue_process("list", path)
        assert theirs | {ours.envelope_id} <= set(found)
