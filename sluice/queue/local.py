"""The queue as one SQLite file that several processes share.

Constraints, in order of weight:

* What ``publish`` returned for survives ``kill -9`` and a power cut: WAL with ``synchronous=FULL``,
  and the answer comes after COMMIT. Nothing is acknowledged from memory.
* Each change is one transaction, so a crash at any point leaves either all of it or none. A lease
  whose holder died ends by its time; nothing needs repair at the start.
* The sums (stored bytes, backlog) are kept by triggers in the same transaction (``local_schema``),
  so the bound in bytes is exact however many processes publish.
* A damaged file is never deleted, overwritten or hidden: the queue says ``unavailable``, where the
  file is and what to do, and goes on by itself when the file is good again.

Two threads keep SQLite off the event loop: ``writer`` (group commit) and ``reader`` (figures, and
looking for envelopes that other processes published). What a crash leaves behind:

* before COMMIT: nothing of the group;
* after COMMIT, before the answer: envelopes that are stored but were not promised;
* after a pull's COMMIT: leases that end by their time, with ``attempt`` counted;
* after an acknowledgement's COMMIT: nothing, the message is gone with its last delivery.

Bounds: stored bytes (``QueueFullError``), bytes and calls on their way to the writer
(``QueueFullError`` for publishes, ``QueueUnavailableError`` for others), length of a lease and
number of attempts (``local_sql``). Space freed inside the file is used again; the file itself
shrinks when the queue runs empty.
"""

import asyncio
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

from sluice.core.envelope import Envelope
from sluice.core.errors import QueueFullError, QueueUnavailableError
from sluice.queue import local_sql
from sluice.queue.diagnosis import Failure
from sluice.queue.drain import DrainRate
from sluice.queue.filling import Filling
from sluice.queue.local_schema import FileOptions
from sluice.queue.protocol import TOPICS, Backlog, Delivery, QueueCondition, QueueState
from sluice.queue.reader import Reader
from sluice.queue.writer import Writer

MIB: Final = 1024 * 1024
OPEN_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 8.0
PROBE_TIMEOUT_S: Final = 2.0
"""How long ``state`` waits for the disk before it says that the disk does not answer."""
PROBE_AFTER_S: Final = 5.0
"""A write or failure younger than this speaks for itself; past it ``state`` probes the disk."""

MIN_ROOM_BYTES: Final = 64 * 1024
"""A disk that was full counts as usable again once it takes at least this, or what it refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """Bounds and paces of a local queue; the defaults serve every process."""

    max_bytes: int = 1024 * MIB
    """Bytes that may be stored; past it: ``QueueFullError``."""
    max_waiting_bytes: int = 64 * MIB
    """Bytes on their way to the disk in this process; past it: ``QueueFullError``."""
    retry_every_s: float = 1.0
    """A file that failed is tried again at most this often."""
    look_every_s: float = 0.025
    """How soon a waiting pull sees what another process published."""
    busy_timeout_s: float = 5.0
    """How long another program may hold the file's lock before calls fail."""
    max_pages: int | None = None
    """Bound on the file's pages of 4096 bytes; past it SQLite says that the disk is full."""


class LocalQueue:
    """The ``Queue`` protocol over one SQLite file; an async context manager."""

    def __init__(
        self,
        path: Path,
        options: LocalOptions = LocalOptions(),
        *,
        topics: Mapping[str, tuple[str, ...]] = TOPICS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._options = options
        self._topics = topics
        self._clock = clock
        self._drain = DrainRate()
        self._filling = Filling()
        self._stored_bytes = 0
        self._refused_bytes = 1
        self._condition: QueueCondition = "ok"
        self._detail = ""
        self._since = clock()
        self._writer: Writer | None = None
        self._reader: Reader | None = None

    async def __aenter__(self) -> Self:
        """Open the file; where it is broken, ``state`` says so and the queue tries again later."""
        options = self._options
        self._writer = Writer(
            FileOptions(
                path=self._path,
                topics=self._topics,
                max_pages=options.max_pages,
                busy_timeout_s=options.busy_timeout_s,
            ),
            retry_every_s=options.retry_every_s,
            max_waiting_bytes=options.max_waiting_bytes,
        )
        self._reader = Reader(
            self._path,
            has_deliverable=self._has_deliverable,
            look_every_s=options.look_every_s,
            busy_timeout_s=options.busy_timeout_s,
        )
        await self.state()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Finish what was handed over, then close. What was published stays."""
        writer, reader = self._open_writer(), self._open_reader()
        writer.refuse()
        await reader.close(timeout_s=CLOSE_TIMEOUT_S)
        # Last, because a pull that lost its reader gives back what it leased, and because the last
        # connection to close moves the WAL into the file.
        await writer.close(timeout_s=CLOSE_TIMEOUT_S)

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        """Store envelopes, all or none; durable on return. See ``Queue.publish``."""
        if topic not in self._topics:
            message = f"unknown topic {topic!r}"
            raise ValueError(message)
        if not envelopes:
            return
        needed = local_sql.stored_size(envelopes)
        writer = self._open_writer()
        if not writer.has_room(needed):
            message = f"More than {self._options.max_waiting_bytes} bytes wait for the disk."
            raise QueueFullError(message, retry_after_s=1.0)
        try:
            is_stored, counters = await writer.submit(
                partial(self._publish, topic=topic, envelopes=tuple(envelopes)), size=needed
            )
        except QueueUnavailableError as error:
            self._see("unavailable", str(error))
            raise
        if counters is not None:
            self._note(counters)
        if not is_stored:
            self._refused_bytes = needed
            self._see("full", self._full_sentence())
            raise self._full(needed)
        if self._condition == "unavailable":
            self._see("ok", "")
        self._wake(topic)

    async def pull(
        self,
        subscription: str,
        *,
        max_messages: int,
        max_bytes: int,
        lease_s: float,
        wait_s: float,
    ) -> list[Delivery]:
        """Lease deliverable envelopes, oldest first. See ``Queue.pull``."""
        self._check(subscription)
        bounds = local_sql.PullBounds(
            max_messages=max_messages, max_bytes=max_bytes, lease_s=lease_s
        )
        deadline = time.monotonic() + wait_s
        while True:
            deliveries = await self._pull_once(subscription, bounds)
            left_s = deadline - time.monotonic()
            if deliveries or left_s <= 0:
                return deliveries
            await self._open_reader().wait_for_news(subscription, timeout_s=left_s)

    async def extend(self, deliveries: Sequence[Delivery], *, lease_s: float) -> list[Delivery]:
        """Renew the leases that are still held; return those deliveries."""
        if not deliveries:
            return []
        return await self._open_writer().submit(
            lambda connection: local_sql.extend(
                connection, deliveries, lease_s=lease_s, now=self._clock()
            )
        )

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge for good, in one durable step."""
        if deliveries:
            await self._open_writer().submit(partial(local_sql.ack, deliveries=deliveries))

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give envelopes back at once, as if they had not been delivered."""
        if deliveries:
            await self._open_writer().submit(partial(local_sql.release, deliveries=deliveries))
            for subscription in {delivery.subscription for delivery in deliveries}:
                self._open_reader().wake(subscription)

    async def dead_letter(self, deliveries: Sequence[Delivery], *, reason: str) -> None:
        """Put envelopes aside for good, still stored, with a reason."""
        if deliveries:
            await self._open_writer().submit(
                lambda connection: local_sql.put_aside(
                    connection, deliveries, reason=reason, now=self._clock()
                )
            )

    async def backlog(self, subscription: str) -> Backlog:
        """Return what the subscription has not acknowledged."""
        self._check(subscription)
        return await self._open_reader().submit(
            lambda connection: local_sql.read_backlog(connection, subscription, now=self._clock())
        )

    async def state(self) -> QueueState:
        """Return the condition from recent use, or a cheap probe when idle. Never raises."""
        fault = await self._find_fault()
        if fault:
            self._see("unavailable", fault)
        elif self._stored_bytes + self._refused_bytes > self._options.max_bytes:
            self._see("full", self._full_sentence())
        else:
            self._refused_bytes = 1
            self._see("ok", "")
        now = self._clock()
        return QueueState(
            condition=self._condition,
            detail=self._detail,
            since=self._since,
            stored_bytes=self._stored_bytes,
            max_bytes=self._options.max_bytes,
            drain_bytes_per_s=self._drain.bytes_per_s(now=now),
            time_to_full_s=self._filling.time_to_full_s(self._options.max_bytes),
        )

    async def _find_fault(self) -> str:
        """Return why the file cannot be used now; empty where it can."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._probe()
                self._note(await self._open_reader().submit(local_sql.read_counters))
        except QueueUnavailableError as error:
            return str(error)
        except TimeoutError:
            return f"The disk of the queue file {self._path} has not answered for a while."
        return ""

    async def _probe(self) -> None:
        """Write something where the last use does not tell enough."""
        writer = self._open_writer()
        outage = writer.health.outage
        if outage is not None and outage.diagnosis.failure is Failure.DISK_FULL:
            size = min(max(outage.needed_bytes, MIN_ROOM_BYTES), MIB)
            await writer.submit(partial(local_sql.fill_scratch, size=size), size=size)
            await writer.submit(local_sql.clear_scratch)
        elif outage is not None or time.monotonic() - writer.health.used_at > PROBE_AFTER_S:
            await writer.submit(local_sql.probe)

    # In the threads.

    def _publish(
        self, connection: sqlite3.Connection, *, topic: str, envelopes: Sequence[Envelope]
    ) -> tuple[bool, local_sql.Counters | None]:
        """Return whether there was room, and the counters where they are worth a look."""
        now = self._clock()
        is_stored = local_sql.publish(
            connection, topic, envelopes, now=now, max_bytes=self._options.max_bytes
        )
        if is_stored and not self._drain.is_due(now=now):
            return True, None
        return is_stored, local_sql.read_counters(connection)

    def _has_deliverable(self, connection: sqlite3.Connection, subscription: str) -> bool:
        return local_sql.has_deliverable(connection, subscription, now=self._clock())

    # On the event loop.

    async def _pull_once(self, subscription: str, bounds: local_sql.PullBounds) -> list[Delivery]:
        lease = self._open_writer().submit_if(
            lambda connection: self._has_deliverable(connection, subscription),
            lambda connection: local_sql.lease(
                connection, subscription, bounds, lease_id=secrets.token_hex(12), now=self._clock()
            ),
            undo=local_sql.give_back,
        )
        try:
            leased = await lease
            if leased is None or not leased.attempts:
                return []
            # Outside the transaction: bodies never change, and the lease keeps them from deletion.
            return await self._open_reader().submit(partial(local_sql.read, leased=leased))
        except BaseException:
            self._give_back(lease)
            raise

    def _give_back(self, lease: asyncio.Future[local_sql.Leased | None]) -> None:
        """Undo a lease that was made; one that is still on its way is undone by the writer."""
        if lease.done() and not lease.cancelled() and lease.exception() is None:
            leased = lease.result()
            if leased is not None:
                self._open_writer().submit_unattended(partial(local_sql.give_back, leased=leased))

    def _full(self, needed: int) -> QueueFullError:
        over = self._stored_bytes + needed - self._options.max_bytes
        return QueueFullError(
            f"{self._full_sentence()} It does not take {needed} more.",
            retry_after_s=self._drain.retry_after_s(over, now=self._clock()),
        )

    def _full_sentence(self) -> str:
        return (
            f"The queue {self._path} holds {self._stored_bytes} of {self._options.max_bytes} "
            f"bytes: look at what its consumers wait for, or raise SLUICE_QUEUE_MAX_BYTES."
        )

    def _see(self, condition: QueueCondition, detail: str) -> None:
        if condition != self._condition:
            self._since = self._clock()
        self._condition, self._detail = condition, detail

    def _check(self, subscription: str) -> None:
        if not any(subscription in names for names in self._topics.values()):
            message = f"unknown subscription {subscription!r}"
            raise ValueError(message)

    def _wake(self, topic: str) -> None:
        for subscription in self._topics[topic]:
            self._open_reader().wake(subscription)

    def _note(self, counters: local_sql.Counters) -> None:
        self._stored_bytes = counters.stored_bytes
        self._drain.note(counters.freed_bytes, now=self._clock())
        self._filling.note(counters.stored_bytes, now=time.monotonic())

    def _open_writer(self) -> Writer:
        if self._writer is None:
            message = f"The queue {self._path} is not open."
            raise QueueUnavailableError(message)
        return self._writer

    def _open_reader(self) -> Reader:
        if self._reader is None:
            message = f"The queue {self._path} is not open."
            raise QueueUnavailableError(message)
        return self._reader
