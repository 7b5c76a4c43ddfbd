"""The one thread of a process that only reads the queue file: figures, and news for those who wait.

Reads have a connection of their own, so that they never wait behind a commit. While somebody waits
for envelopes the thread looks for deliverable ones every few milliseconds, because another process
may have published them and a lease may expire without anybody writing; otherwise it sleeps.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from sluice.core.errors import QueueUnavailableError
from sluice.queue.diagnosis import diagnose
from sluice.queue.file import ReadableFile

T = TypeVar("T")

MAX_WAITING_READS: Final = 256
_Read = tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]


class Reader:
    """Runs reads in the thread, and wakes those who wait; made and used on one event loop."""

    def __init__(
        self,
        path: Path,
        *,
        has_deliverable: Callable[[sqlite3.Connection, str], bool],
        look_every_s: float,
        busy_timeout_s: float,
    ) -> None:
        self._path = path
        self._has_deliverable = has_deliverable
        self._look_every_s = look_every_s
        self._file = ReadableFile(path, busy_timeout_s=busy_timeout_s)
        self._reads: SimpleQueue[_Read | None] = SimpleQueue()
        self._waiting_reads = 0
        self._sleepers: dict[str, set[asyncio.Future[None]]] = {}
        self._watched: tuple[str, ...] = ()
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="queue-reader", daemon=True)
        self._thread.start()

    def submit(self, read: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Hand a read over.

        Raises:
            QueueUnavailableError: The queue is closed, or too many reads wait.
        """
        if self._is_closed or self._waiting_reads >= MAX_WAITING_READS:
            reason = "is closed" if self._is_closed else "does not answer its reads"
            message = f"The queue {self._path} {reason}."
            raise QueueUnavailableError(message)
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting_reads += 1
        self._reads.put((read, future))
        return future

    async def wait_for_news(self, subscription: str, *, timeout_s: float) -> None:
        """Return when the subscription may have something deliverable, or after the time-out."""
        if self._is_closed:
            return
        news = self._loop.create_future()
        sleepers = self._sleepers.setdefault(subscription, set())
        sleepers.add(news)
        if subscription not in self._watched:
            self._watched = tuple(self._sleepers)
            self._reads.put(None)
        try:
            await asyncio.wait([news], timeout=timeout_s)
        finally:
            sleepers.discard(news)
            if not sleepers and self._sleepers.get(subscription) is sleepers:
                del self._sleepers[subscription]
                self._watched = tuple(self._sleepers)

    def wake(self, subscription: str) -> None:
        """End the waiting for this subscription."""
        for news in self._sleepers.get(subscription, ()):
            if not news.done():
                news.set_result(None)

    async def close(self, *, timeout_s: float) -> None:
        """Finish the reads that were handed over, then close the file."""
        if not self._is_closed:
            self._is_closed = True
            self._reads.put(None)
        for subscription in tuple(self._sleepers):
            self.wake(subscription)
        await asyncio.wait([self._ended], timeout=timeout_s)

    # On the event loop, called by the thread.

    def _settle(self, future: asyncio.Future[T], result: T, error: Exception | None) -> None:
        self._waiting_reads -= 1
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    # In the thread.

    def _run(self) -> None:
        while not (self._is_closed and self._reads.empty()):
            try:
                read = self._reads.get(timeout=self._look_every_s if self._watched else None)
            except Empty:
                self._look()
                continue
            if read is not None:
                self._answer(*read)
        self._file.drop()
        self._tell(self._end)

    def _answer(
        self, read: Callable[[sqlite3.Connection], Any], future: asyncio.Future[Any]
    ) -> None:
        result, error = None, None
        try:
            result = read(self._file.open())
        except Exception as raised:  # noqa: BLE001 - the thread outlives a broken disk
            self._file.drop()
            error = QueueUnavailableError(diagnose(raised, self._path).sentence)
        self._tell(self._settle, future, result, error)

    def _look(self) -> None:
        for subscription in self._watched:
            try:
                found = self._has_deliverable(self._file.open(), subscription)
            except Exception:  # noqa: BLE001 - the thread outlives a broken disk
                self._file.drop()
                found = True  # the pull that follows tells what is wrong
            if found:
                self._tell(self.wake, subscription)

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            return  # the loop is closed: nobody waits for the answer any more
