"""A queue in memory whose commits the test lets through, one by one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from gateway.publisher import SPACE_S, Publisher
from sluice.core.envelope import Envelope, Kind, split, unseal


class GatedQueue:
    """Keeps what was published once ``gate`` is open; fails with ``error`` while that is set."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.commits: list[list[Envelope]] = []
        self.started = 0

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        """Store all or none."""
        assert topic == "events"
        self.started += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.commits.append(list(envelopes))

    def rows(self, kind: Kind = "events") -> list[bytes]:
        """Return every stored row of a kind, in order."""
        return [
            row
            for envelopes in self.commits
            for envelope in envelopes
            if envelope.kind == kind
            for row in split(unseal(envelope))
        ]


@asynccontextmanager
async def running_publisher(
    queue: GatedQueue,
    *,
    max_pending_bytes: int = 10_000_000,
    timeout_s: float = 5.0,
    max_in_flight: int = 1,
    space_s: float = SPACE_S,
) -> AsyncIterator[Publisher]:
    """Run a publisher for the block; then let it flush."""
    stop = asyncio.Event()
    async with (
        Publisher(
            queue,
            max_pending_bytes=max_pending_bytes,
            timeout_s=timeout_s,
            max_in_flight=max_in_flight,
            space_s=space_s,
        ) as publisher,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(publisher.run(stop))
        try:
            yield publisher
        finally:
            stop.set()
