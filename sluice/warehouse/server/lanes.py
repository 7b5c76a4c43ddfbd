"""Lanes: threads that run statements, a bounded queue before them, and who gets in.

Three kinds of work never wait for each other: inserts, Sluice's own reads, people's queries. Other
writes (DDL, mutations) have one thread, so that only one runs at a time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar

from sluice.warehouse.server.errors import too_busy

P = ParamSpec("P")
T = TypeVar("T")

KILL_EVERY_S: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSpec:
    """What a lane is made of."""

    name: str
    threads: int
    max_waiting: int
    """Statements that may wait for a thread; one more is refused."""
    limit_s: float
    """Seconds after which a statement is killed, whatever its own settings say."""
    defaults: Mapping[str, str]
    """Settings in force unless the statement brings its own."""


class Worker:
    """One thread of a lane, held by one statement at a time."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    def start(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Begin a call in this thread, behind those begun before; await it with ``asyncio.shield``.

        Whoever gives up on it may do so: the next call waits for its end.
        """
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, lambda: call(*args, **kwargs))
        future.add_done_callback(_look_at)
        return future

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``call`` returns in this thread. If cancelled, wait for its end first."""
        return await self.run_or_kill(None, call, *args, **kwargs)

    async def run_or_kill(
        self,
        kill: Callable[[], None] | None,
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do the same; if cancelled, call ``kill`` (in another thread) until ``call`` has ended.

        The thread is never left running behind its statement's back: whoever comes next in the
        lane finds it idle.
        """
        loop = asyncio.get_running_loop()
        future = self.start(call, *args, **kwargs)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    if kill is not None:
                        await loop.run_in_executor(None, kill)
                    await asyncio.wait({future}, timeout=KILL_EVERY_S)
            raise

    def close(self) -> None:
        """End the thread; it is idle."""
        self._executor.shutdown(wait=True)


def _look_at(future: asyncio.Future[T]) -> None:
    """Take note of an error that nobody awaits any more, so that the loop does not report it."""
    if not future.cancelled():
        future.exception()


class Lane:
    """A bounded number of threads with a bounded queue before them."""

    def __init__(self, spec: LaneSpec) -> None:
        self.spec = spec
        self._idle: asyncio.LifoQueue[Worker] = asyncio.LifoQueue()
        self._workers = [Worker(f"{spec.name}-{n}") for n in range(spec.threads)]
        for worker in self._workers:
            self._idle.put_nowait(worker)
        self._waiting = 0

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """Give a thread for one statement, in the order of asking as far as the queue allows.

        Raises:
            StatementError: As many are waiting as may wait (code 202).
        """
        if self._idle.empty() and self._waiting >= self.spec.max_waiting:
            raise too_busy(self.spec.name, self._waiting)
        self._waiting += 1
        try:
            worker = await self._idle.get()
        finally:
            self._waiting -= 1
        try:
            yield worker
        finally:
            self._idle.put_nowait(worker)

    def close(self) -> None:
        """End all threads; nothing may run in them any more."""
        for worker in self._workers:
            worker.close()


@dataclass(frozen=True, slots=True)
class Lanes:
    """The four lanes of a server."""

    insert: Lane
    service: Lane
    people: Lane
    writer: Lane

    def close(self) -> None:
        """End all threads of all lanes."""
        for lane in (self.insert, self.service, self.people, self.writer):
            lane.close()


def make_lanes(*, threads: int, person_bytes: int) -> Lanes:
    """Return the lanes of a machine on which one statement may use ``threads`` threads."""
    person = {
        "final": "1",
        "max_threads": str(max(1, threads // 2)),
        "max_execution_time": "30",
        "max_memory_usage": str(person_bytes),
        "max_result_bytes": str(256 * 1024 * 1024),
    }
    return Lanes(
        # Two for a worker's large batch, one for what is small and must not wait behind it.
        insert=Lane(LaneSpec(name="insert", threads=3, max_waiting=64, limit_s=600, defaults={})),
        service=Lane(
            LaneSpec(name="service", threads=3, max_waiting=256, limit_s=600, defaults={})
        ),
        people=Lane(
            LaneSpec(name="people", threads=2, max_waiting=32, limit_s=33, defaults=person)
        ),
        writer=Lane(LaneSpec(name="writer", threads=1, max_waiting=64, limit_s=3600, defaults={})),
    )
