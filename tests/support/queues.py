"""The queue backends under the contract suite, and small things that its tests share."""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sluice.core.envelope import Envelope
from sluice.core.trace_context import pack_contexts
from sluice.queue.local import LocalOptions, LocalQueue
from sluice.queue.protocol import Delivery, Queue
from sluice.queue.pubsub import PubSubQueue
from sluice.queue.pubsub_setup import ensure_topics
from sluice.queue.pubsub_wire import Names

TOPICS: Final = {"events": ("warehouse", "amplitude"), "commands": ("workflows",)}
MAX_BYTES: Final = 1_000_000
BROKER_WAIT_S: Final = 1.0
TRACES: Final = pack_contexts(
    [f"00-{number:032x}-b7ad6b7169203331-01 vendor={'x' * 60}" for number in range(1, 33)]
)
"""As much as an envelope may carry of them, nearly."""
FOR_EVER_S: Final = 500.0
"""A lease that does not end within a test."""


class Clock:
    """A clock that goes on by itself and can be moved forward."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Let time pass at once; negative: somebody sets the clock back."""
        self._ahead_s += seconds


@dataclass(frozen=True, slots=True)
class Subject:
    """A queue under test."""

    queue: Queue
    reopen: Callable[[], AbstractAsyncContextManager[Queue]]
    """The same queue as another process sees it."""
    pass_time: Callable[[float], Coroutine[None, None, None]]
    """Let seconds pass as far as leases are concerned."""


@asynccontextmanager
async def local_subject(folder: Path) -> AsyncIterator[Subject]:
    """A fresh local queue."""
    clock = Clock()

    def another() -> LocalQueue:
        return LocalQueue(
            folder / "queue.sqlite", LocalOptions(max_bytes=MAX_BYTES), topics=TOPICS, clock=clock
        )

    async def pass_time(seconds: float) -> None:
        clock.advance(seconds)

    async with another() as queue:
        yield Subject(queue, another, pass_time)


@asynccontextmanager
async def pubsub_subject(_folder: Path) -> AsyncIterator[Subject]:
    """A fresh project on the emulator."""
    names = Names(f"project-{uuid.uuid4().hex[:12]}")
    await ensure_topics(names, TOPICS)

    def another() -> PubSubQueue:
        return PubSubQueue(names, topics=TOPICS)

    async with another() as queue:
        yield Subject(queue, another, asyncio.sleep)


BACKENDS: Final[dict[str, Callable[[Path], AbstractAsyncContextManager[Subject]]]] = {
    "local": local_subject,
    "pubsub": pubsub_subject,
}


def make_envelope(
    *, body_bytes: int = 100, raw_bytes: int = 1_000, count: int = 3, traces: str = ""
) -> Envelope:
    """An envelope of its own; nothing here looks into its body."""
    return Envelope(
        envelope_id=str(uuid.uuid4()),
        kind="events",
        count=count,
        raw_bytes=raw_bytes,
        body=os.urandom(body_bytes),
        traces=traces,
    )


async def pull(
    queue: Queue,
    subscription: str = "warehouse",
    *,
    max_messages: int = 100,
    max_bytes: int = 10_000_000,
    lease_s: float = FOR_EVER_S,
    wait_s: float | None = None,
) -> list[Delivery]:
    """Pull with generous bounds, so that a test names only the one that it is about.

    What was published is there at once in a file; a broker is given a moment.
    """
    if wait_s is None:
        wait_s = 0.0 if isinstance(queue, LocalQueue) else BROKER_WAIT_S
    return await queue.pull(
        subscription,
        max_messages=max_messages,
        max_bytes=max_bytes,
        lease_s=lease_s,
        wait_s=wait_s,
    )


def envelopes_of(deliveries: list[Delivery]) -> list[Envelope]:
    """What was delivered, in order."""
    return [delivery.envelope for delivery in deliveries]
