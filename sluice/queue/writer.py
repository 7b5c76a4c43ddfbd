"""The one thread of a process that writes to the queue file: group commit (design, decision 3).

Calls arrive from the event loop and wait in a hand-over that is bounded in calls and bytes. The
thread takes all that wait, runs them in one transaction, commits it with one fsync, and answers
them together; what arrives meanwhile is the next group. No timer: a lone call commits at once.

* A call is answered only after its COMMIT has returned. If the transaction fails, each of its calls
  fails; none is answered twice.
* A call that refuses (the queue is full) refuses before it changes anything, so the others of its
  group are committed.
* On a full disk the calls that free space are tried again without those that need it.
* After a failure the file is tried again at most once every ``retry_every_s``; calls in between
  fail at once with the same sentence. No thread waits or spins for a broken disk.
* The WAL is checkpointed after the answers, so that no caller waits for it.

A crash before COMMIT leaves nothing of the group, a crash after it all of it: SQLite's WAL decides,
and an answer that was lost on the way is an envelope that was stored but not promised.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from sluice.core.errors import QueueUnavailableError
from sluice.logs import get_logger
from sluice.queue.diagnosis import Diagnosis, Failure, diagnose
from sluice.queue.file import WritableFile
from sluice.queue.local_schema import FileOptions

T = TypeVar("T")

log: Final = get_logger(__name__)

MAX_WAITING_CALLS: Final = 20_000
MAX_GROUP_CALLS: Final = 1_000
MAX_GROUP_BYTES: Final = 16 * 1024 * 1024
CALL_OVERHEAD_BYTES: Final = 8 * 1024
"""Pages that a call dirties beside its bodies, roughly; only paces checkpoints."""


@dataclass(slots=True, eq=False)
class Call(Generic[T]):
    """One operation on its way through the thread."""

    apply: Callable[[sqlite3.Connection], T]
    """Runs inside the transaction."""
    future: asyncio.Future[T] | None
    """None where nobody waits for the answer."""
    size: int = 0
    """Bytes that it asks to store; 0 for a call that needs no room or frees some."""
    is_needed: Callable[[sqlite3.Connection], bool] | None = None
    """A read that says whether a transaction is worth its fsync; None: always."""
    undo: Callable[[sqlite3.Connection, T], object] | None = None
    """Takes the effect back where the caller has gone before the answer."""
    result: T | None = None
    error: Exception | None = None

    @property
    def is_abandoned(self) -> bool:
        """Whether the caller has gone."""
        return self.future is not None and self.future.cancelled()

    @property
    def is_moot(self) -> bool:
        """Whether nothing is owed any more: what asks for room or gives a lease may be left out.

        An acknowledgement or release is still done, because what it tells is true.
        """
        return self.is_abandoned and (self.size > 0 or self.undo is not None)


@dataclass(frozen=True, slots=True)
class Outage:
    """Why calls fail at present."""

    diagnosis: Diagnosis
    needed_bytes: int
    """What the calls that failed asked to store."""
    next_try: float
    """On the monotonic clock; until then calls fail without a try."""


@dataclass(slots=True)
class Health:
    """What the last use of the file taught; written by the thread, read by the loop."""

    outage: Outage | None = None
    used_at: float = float("-inf")
    """Monotonic time of the last transaction, whether it failed or not."""


class Writer:
    """Runs calls in the thread; made and used on one event loop."""

    def __init__(
        self, options: FileOptions, *, retry_every_s: float, max_waiting_bytes: int
    ) -> None:
        self.health = Health()
        self._path = options.path
        self._retry_every_s = retry_every_s
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: SimpleQueue[Call[Any] | None] = SimpleQueue()
        self._waiting_calls = 0
        self._waiting_bytes = 0
        self._file = WritableFile(options)
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._is_refusing = False
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="queue-writer", daemon=True)
        self._thread.start()

    def has_room(self, size: int) -> bool:
        """Whether the hand-over takes a call of this size; an idle one takes any."""
        return self._waiting_calls < MAX_WAITING_CALLS and (
            self._waiting_calls == 0 or self._waiting_bytes + size <= self._max_waiting_bytes
        )

    def submit(
        self, apply: Callable[[sqlite3.Connection], T], *, size: int = 0
    ) -> asyncio.Future[T]:
        """Hand a call over; its future ends when the call is durable or has failed.

        Raises:
            QueueUnavailableError: The queue is closed, or too many calls wait.
        """
        self._admit()
        future: asyncio.Future[T] = self._loop.create_future()
        self._hand_over(Call(apply, future, size))
        return future

    def submit_if(
        self,
        is_needed: Callable[[sqlite3.Connection], bool],
        apply: Callable[[sqlite3.Connection], T],
        *,
        undo: Callable[[sqlite3.Connection, T], object],
    ) -> asyncio.Future[T | None]:
        """Hand a call over that is not worth an fsync unless a read says so; else it gives None.

        ``undo`` takes its effect back where the caller has gone before the answer.
        """
        self._admit()
        future: asyncio.Future[T | None] = self._loop.create_future()
        self._hand_over(Call(apply, future, is_needed=is_needed, undo=undo))
        return future

    def submit_unattended(self, apply: Callable[[sqlite3.Connection], object]) -> None:
        """Hand over a call that nobody waits for; it is done even while the writer closes."""
        self._hand_over(Call(apply, None))

    def refuse(self) -> None:
        """Take no more calls but unattended ones; what was handed over goes on."""
        self._is_refusing = True

    async def close(self, *, timeout_s: float) -> None:
        """Finish what was handed over, then close the file."""
        self.refuse()
        self._is_closing = True
        self._end_if_idle()
        await asyncio.wait([self._ended], timeout=timeout_s)

    # On the event loop.

    def _admit(self) -> None:
        if self._is_refusing:
            message = f"The queue {self._path} is closed."
            raise QueueUnavailableError(message)
        if self._waiting_calls >= MAX_WAITING_CALLS:
            message = (
                f"{MAX_WAITING_CALLS} calls wait for the queue file {self._path}: "
                f"its disk is too slow."
            )
            raise QueueUnavailableError(message)

    def _hand_over(self, call: Call[Any]) -> None:
        self._waiting_calls += 1
        self._waiting_bytes += call.size
        self._waiting.put(call)

    def _settle(self, calls: Sequence[Call[Any]]) -> None:
        for call in calls:
            self._waiting_calls -= 1
            self._waiting_bytes -= call.size
            if call.is_abandoned and call.undo is not None and call.result is not None:
                self.submit_unattended(partial(_undo, call=call))
            elif call.future is None or call.future.done():
                continue
            elif call.error is not None:
                call.future.set_exception(call.error)
            else:
                call.future.set_result(call.result)
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._is_closing and self._waiting_calls == 0:
            self._waiting.put(None)

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    # In the thread.

    def _run(self) -> None:
        is_last = False
        while not is_last:
            calls, is_last = self._gather()
            if calls:
                self._commit(calls)
                self._tell(self._settle, calls)
                self._tidy()
        self._file.drop()
        self._tell(self._end)

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            return  # the loop is closed: nobody waits for the answer any more

    def _gather(self) -> tuple[list[Call[Any]], bool]:
        calls: list[Call[Any]] = []
        size = 0
        call = self._waiting.get()
        while call is not None:
            calls.append(call)
            size += call.size
            if len(calls) >= MAX_GROUP_CALLS or size >= MAX_GROUP_BYTES:
                return calls, False
            try:
                call = self._waiting.get_nowait()
            except Empty:
                return calls, False
        return calls, True

    def _commit(self, calls: list[Call[Any]]) -> None:
        """Give each call its result or error."""
        live = self._hold_off([call for call in calls if not call.is_moot])
        if not live:
            return
        diagnosis = self._attempt(live)
        if diagnosis is not None and diagnosis.failure is Failure.DISK_FULL:
            freeing = [call for call in live if call.size == 0]
            if freeing and len(freeing) < len(live):
                self._attempt(freeing)

    def _hold_off(self, calls: list[Call[Any]]) -> list[Call[Any]]:
        """Fail the calls that would only fail again; return the others."""
        outage = self.health.outage
        if outage is None or time.monotonic() >= outage.next_try:
            return calls
        if outage.diagnosis.failure is Failure.DISK_FULL:
            _fail([call for call in calls if call.size > 0], outage.diagnosis)
            return [call for call in calls if call.size == 0]
        _fail(calls, outage.diagnosis)
        return []

    def _attempt(self, calls: list[Call[Any]]) -> Diagnosis | None:
        size = sum(call.size for call in calls)
        try:
            is_committed = self._transact(calls)
        except Exception as error:  # noqa: BLE001 - the thread outlives whatever a disk comes up with
            diagnosis = diagnose(error, self._path)
            self._note_failure(diagnosis, size)
            _fail(calls, diagnosis)
            return diagnosis
        if is_committed:
            self._note_success(size)
        return None

    def _transact(self, calls: list[Call[Any]]) -> bool:
        """Return whether anything had to be committed."""
        connection = self._file.open()
        for call in calls:
            call.result = call.error = None
        needed = [call for call in calls if call.is_needed is None or call.is_needed(connection)]
        if not needed:
            return False
        size = sum(call.size + CALL_OVERHEAD_BYTES for call in needed)
        with self._file.transaction(size=size) as connection:
            for call in needed:
                call.result = call.apply(connection)
        return True

    def _note_success(self, size: int) -> None:
        self.health.used_at = time.monotonic()
        outage = self.health.outage
        # That something was freed on a full disk does not show that there is room again.
        if outage is not None and (size or outage.diagnosis.failure is not Failure.DISK_FULL):
            self.health.outage = None
            log.info("Queue file recovered", path=str(self._path))

    def _note_failure(self, diagnosis: Diagnosis, size: int) -> None:
        now = time.monotonic()
        rest_s = 0.0 if diagnosis.failure is Failure.BUSY else self._retry_every_s
        outage, self.health.outage = self.health.outage, Outage(diagnosis, size, now + rest_s)
        self.health.used_at = now
        if outage is None or outage.diagnosis != diagnosis:
            log.error("Queue file failed", detail=diagnosis.sentence)
        if diagnosis.failure is Failure.BROKEN:
            self._file.drop()

    def _tidy(self) -> None:
        try:
            self._file.tidy()
        except (sqlite3.Error, OSError) as error:
            self._note_failure(diagnose(error, self._path), 0)


def _fail(calls: Sequence[Call[Any]], diagnosis: Diagnosis) -> None:
    for call in calls:
        call.result = None
        call.error = QueueUnavailableError(diagnosis.sentence)


def _undo(connection: sqlite3.Connection, *, call: Call[Any]) -> None:
    if call.undo is not None:
        call.undo(connection, call.result)
