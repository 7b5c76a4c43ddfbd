"""A process of its own that uses a local queue, to be killed or starved of disk by a test.

``python -m tests.support.queue_process ACTION PATH``; prints what it was promised, a line each.
"""

import asyncio
import ctypes
import os
import resource
import sys
from pathlib import Path

from sluice.core.errors import QueueUnavailableError
from sluice.queue.local import LocalOptions, LocalQueue
from sluice.queue.protocol import QueueState
from tests.support.poll import poll_until
from tests.support.queues import TOPICS, make_envelope, pull

REPOSITORY = Path(__file__).parents[2]
FILE_LIMIT_BYTES = 2_000_000
CAPABILITY_VERSION_3 = 0x20080522


async def run_queue_process(action: str, path: Path) -> list[str]:
    """Run a queue in a process of its own to its end; return the lines that it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, action, str(path)),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode().splitlines()


def say(word: str) -> None:
    """Tell the test, at once."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def open_queue(path: Path) -> LocalQueue:
    """A queue that tries a broken disk often."""
    return LocalQueue(path, LocalOptions(retry_every_s=0.02), topics=TOPICS)


async def publish_one(queue: LocalQueue) -> None:
    """Publish an envelope, then say its id: from then on it is promised."""
    envelope = make_envelope(body_bytes=5_000)
    await queue.publish("events", [envelope])
    say(envelope.envelope_id)


async def publish_for_ever(path: Path) -> None:
    """Publish from many tasks until somebody kills this process."""

    async def go_on() -> None:
        while True:
            await publish_one(queue)

    async with open_queue(path) as queue, asyncio.TaskGroup() as tasks:
        for _ in range(16):
            tasks.create_task(go_on())


async def publish_some(path: Path) -> None:
    """Publish 400 envelopes, four at a time."""

    async def publish_share() -> None:
        for _ in range(100):
            await publish_one(queue)

    async with open_queue(path) as queue, asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(publish_share())


async def publish_past_file_limit(path: Path) -> None:
    """Publish until no file may grow any more, then lift the limit and publish again."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with open_queue(path) as queue:
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, hard))
        await _publish_until_unavailable(queue)
        state = await queue.state()
        say(f"{state.condition}: {state.detail}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await poll_until(lambda: _is_ok(queue), what="the queue recovered")
        await publish_one(queue)


async def publish_to_read_only_file(path: Path) -> None:
    """Publish to a file that may only be read, then once more when it may be written."""
    drop_privileges()
    files = [path, *(path.with_name(path.name + end) for end in ("-next", "-now"))]
    for file in files:
        file.chmod(0o400)
    path.parent.chmod(0o500)
    async with open_queue(path) as queue:
        await _publish_until_unavailable(queue)
        state = await queue.state()
        say(f"{state.condition}: {state.detail}")
        path.parent.chmod(0o700)
        for file in files:
            file.chmod(0o600)
        await poll_until(lambda: _is_ok(queue), what="the queue recovered")
        await publish_one(queue)


async def list_all(path: Path) -> None:
    """Say the id of every envelope in the file, as a process sees it that has just come."""
    async with open_queue(path) as queue:
        pulled = await pull(queue, max_messages=100_000, max_bytes=1_000_000_000)
        for delivery in pulled:
            say(delivery.envelope.envelope_id)
        await queue.release(pulled)


def drop_privileges() -> None:
    """Give up what lets root write to read-only files; for others this changes nothing.

    Only for the calling thread and those that it starts: call it first.
    """
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
        nothing = (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None, use_errno=True).capset(header, nothing) != 0:
            raise OSError(ctypes.get_errno(), "capset failed")


async def _publish_until_unavailable(queue: LocalQueue) -> None:
    try:
        while True:
            await publish_one(queue)
    except QueueUnavailableError as error:
        say(f"refused: {error}")


async def _is_ok(queue: LocalQueue) -> bool:
    state: QueueState = await queue.state()
    return state.condition == "ok"


ACTIONS = {
    "publish-for-ever": publish_for_ever,
    "publish-some": publish_some,
    "list": list_all,
    "publish-past-file-limit": publish_past_file_limit,
    "publish-to-read-only-file": publish_to_read_only_file,
}

if __name__ == "__main__":
    asyncio.run(ACTIONS[sys.argv[1]](Path(sys.argv[2])))
