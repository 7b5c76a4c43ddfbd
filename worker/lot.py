"""The parking lot: events that wait for Amplitude, durable and in order, in one SQLite file.

Constraints:

* What ``park`` returned for survives ``kill -9`` and a power cut (WAL, ``synchronous=FULL``); the
  consumer acknowledges only after it.
* Events of one user come out in the order they went in. Parking one again, after a crash between
  parking and acknowledging, changes nothing while it is still there.
* One process at a time: a second one waits for the lock.
* Bounded in bytes: ``LotFullError`` past it, and the queue keeps what does not fit.

SQLite runs in a thread, one call at a time.
"""

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from sluice.core.errors import SluiceError
from sluice.private_files import ensure_private_dir
from worker import lot_rows
from worker.core.holds import EVERYBODY, Hold, catching_up
from worker.lot_rows import ROW_OVERHEAD_BYTES, SCHEMA, Events, Parked, ToPark
from worker.waiting import wait_for_event

T = TypeVar("T")

MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
LOCK_EVERY_S: Final = 0.1
BUSY_S: Final = 1.0
"""How long to wait for somebody else's lock; nobody who knows the file takes one."""
CACHE_KIB: Final = 8_192

Holds = dict[str, dict[str, Hold]]
"""By tenant, then by user (``EVERYBODY`` for the project)."""


_Figures = dict[str, tuple[int, int]]
"""Of each tenant, how many events wait and about what they take."""


class LotError(SluiceError):
    """The lot cannot be written or read now, as on a full disk; nothing was changed."""


class LotFullError(LotError):
    """The lot is at its bound; what does not fit stays in the queue."""


class Lot:
    """The lot's file; ``open`` it before anything else."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lot")
        self._connection: sqlite3.Connection | None = None
        self._lock_file = -1
        self._file: tuple[int, int] | None = None
        self._figures: _Figures = {}
        self.holds: Holds = {}
        """As the file has them; changed only through this class."""

    async def open(self, stop: asyncio.Event) -> bool:
        """Open the file once no other process has it; False if ``stop`` came first.

        Raises:
            LotError: It cannot be opened or is damaged; it is left as it is.
            OSError: Its directory cannot be written.
        """
        ensure_private_dir(self._path.parent)
        self._lock_file = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        while not _is_locked(self._lock_file):
            await wait_for_event(stop, LOCK_EVERY_S)
            if stop.is_set():
                self._unlock()
                return False
        try:
            await self._in_thread(self._open)
        except LotError:
            await self._disconnect()
            raise
        return True

    async def close(self) -> None:
        """Close the file and let another process have it."""
        await self._disconnect()
        self._thread.shutdown()

    @property
    def stored_bytes(self) -> int:
        """About what the events in it take."""
        return sum(size for _, size in self._figures.values())

    @property
    def events(self) -> int:
        """How many events wait."""
        return sum(count for count, _ in self._figures.values())

    def count(self, tenant: str) -> int:
        """Return how many events of a tenant wait."""
        return self._figures.get(tenant, (0, 0))[0]

    def tenants(self) -> list[str]:
        """Return the tenants of which something waits."""
        return [tenant for tenant, (count, _) in self._figures.items() if count]

    def hold_of(self, tenant: str, user: str = EVERYBODY) -> Hold | None:
        """Return the hold of a user or of the whole project."""
        return self.holds.get(tenant, {}).get(user)

    async def park(self, rows: Sequence[ToPark], holds: Mapping[tuple[str, str], Hold]) -> Events:
        """Take events in, behind those that are there, and note who waits; durable on return.

        Whoever has no hold gets one that is due at once: it may have ended while the events were
        on their way, and nobody looks for events without one.

        Returns:
            Tenant and id of the events that were there already.

        Raises:
            LotFullError: They do not fit; nothing was changed.
            LotError: The file cannot be written; neither was anything. So do the other methods.
        """
        size = sum(len(row.row) + ROW_OVERHEAD_BYTES for row in rows)
        if rows and self.stored_bytes + size > self._max_bytes:
            message = f"the lot of parked events is full ({self._max_bytes} bytes)"
            raise LotFullError(f"{message}: the rest waits in the queue")

        hold = catching_up(time.time())

        def store(connection: sqlite3.Connection) -> tuple[Events, Sequence[tuple[str, str]]]:
            self._check_file()
            return lot_rows.park(connection, rows, holds, late=hold)

        found, late = await self._in_transaction(store)
        self._note(holds)
        self._note(dict.fromkeys(late, hold))
        return found

    async def page(
        self,
        tenant: str,
        users: Sequence[str] | None,
        *,
        after: int = 0,
        limit: int,
        max_bytes: int = MAX_PAGE_BYTES,
    ) -> list[Parked]:
        """Return events in order of arrival.

        Args:
            tenant: Whose.
            users: Of these users only, ``limit`` of each; None: of all without a hold of their own.
            after: Only events behind this place.
            limit: How many at most.
            max_bytes: No more once their rows have so many; one comes whatever its size.
        """

        def read(connection: sqlite3.Connection) -> list[Parked]:
            found: list[Parked] = []
            size = 0
            for one in lot_rows.read(connection, tenant, users, after=after, limit=limit):
                found.append(one)
                size += len(one.row)
                if size >= max_bytes:
                    break
            return found

        return await self._in_thread(read)

    async def settle(
        self, tenant: str, places: Sequence[int], holds: Mapping[tuple[str, str], Hold]
    ) -> None:
        """Take settled events out and note who waits on; durable on return."""

        def remove(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM parked WHERE place = ?", [(p,) for p in places])
            lot_rows.write_holds(connection, holds.items())

        await self._in_transaction(remove)
        self._note(holds)

    async def forget(self, tenant: str, *, before: str, is_erased: Callable[[bytes], bool]) -> int:
        """Take out a tenant's events that are erased; return how many they were.

        Args:
            tenant: Whose.
            before: Only events that were received before this moment are looked at.
            is_erased: Says it of a row.
        """
        gone = after = 0
        while True:

            def remove(connection: sqlite3.Connection, after: int = after) -> tuple[int, int]:
                return lot_rows.forget(connection, tenant, before, is_erased, after=after)

            some, after = await self._in_transaction(remove)
            gone += some
            if not after:
                # The log beside the file still has what was written to it, until it is cut.
                await self._in_thread(lambda to: to.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
                return gone

    async def let_go(self, tenant: str, users: Iterable[str]) -> list[str]:
        """End the holds of users of whom nothing waits any more; return these users.

        ``EVERYBODY`` ends when nothing waits but events of users that have a hold of their own.
        """

        def end(connection: sqlite3.Connection) -> list[str]:
            free = [user for user in users if not lot_rows.has_waiting(connection, tenant, user)]
            connection.executemany(
                "DELETE FROM holds WHERE tenant = ? AND user = ?", [(tenant, user) for user in free]
            )
            return free

        free = await self._in_transaction(end)
        for user in free:
            self.holds.get(tenant, {}).pop(user, None)
        return free

    async def oldest(self, tenant: str) -> str:
        """Return when the event was received that waits longest; empty when none does."""

        def read(connection: sqlite3.Connection) -> str:
            sql = "SELECT received_at FROM parked WHERE tenant = ? ORDER BY place LIMIT 1"
            row = connection.execute(sql, (tenant,)).fetchone()
            return str(row[0]) if row else ""

        return await self._in_thread(read)

    def _open(self, _unused: object = None) -> None:
        connection = sqlite3.connect(
            self._path, check_same_thread=False, isolation_level=None, timeout=BUSY_S
        )
        self._connection = connection
        os.chmod(self._path, 0o600)  # noqa: PTH101 - as the lock file beside it
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")  # what was taken out is not on the disk
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        connection.executescript(SCHEMA)
        self._file = _identity(self._path)
        for (tenant, user), hold in lot_rows.read_holds(connection):
            self.holds.setdefault(tenant, {})[user] = hold
        self._figures = _figures_of(connection)

    async def _disconnect(self) -> None:
        await self._in_thread(_close)
        self._connection = None
        self._unlock()

    def _unlock(self) -> None:
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    def _check_file(self) -> None:
        """Take nothing into a file that has no name any more: it ends with this process.

        Raises:
            LotError: It was deleted, or another stands in its place.
        """
        if _identity(self._path) != self._file:
            message = f"{self._path} was deleted or replaced: put it back, or start the worker anew"
            raise LotError(message)

    def _note(self, holds: Mapping[tuple[str, str], Hold]) -> None:
        for (tenant, user), hold in holds.items():
            self.holds.setdefault(tenant, {})[user] = hold

    async def _in_transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            try:
                done = work(connection)
                figures = _figures_of(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # some errors end it themselves
                    connection.execute("ROLLBACK")
                raise
            self._figures = figures
            return done

        return await self._in_thread(run)

    async def _in_thread(self, work: Callable[[Any], T]) -> T:
        # A call that is cancelled still ends; the next one waits for it in the thread's line.
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, lambda: work(self._connection))
        except sqlite3.Error as error:  # also of a file that is damaged
            message = f"the lot of parked events cannot be used: {error}"
            raise LotError(message) from error


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()


def _figures_of(connection: sqlite3.Connection) -> _Figures:
    found = connection.execute("SELECT tenant, events, bytes FROM figures").fetchall()
    return {tenant: (events, size) for tenant, events, size in found}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
