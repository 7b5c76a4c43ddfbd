"""The queue file as its two threads hold it: opened, closed and reopened, one turn at a time."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from sluice.queue.local_schema import FileOptions, make_folder, open_for_reading, open_for_writing
from sluice.queue.turn import Turn

CHECKPOINT_EVERY_BYTES: Final = 4 * 1024 * 1024
"""Written since the last checkpoint before the next; keeps the WAL within a few megabytes."""
SHRINK_CHECK_EVERY_S: Final = 10.0
SHRINK_ABOVE_BYTES: Final = 64 * 1024 * 1024
"""Free bytes inside the file that are worth giving back to the disk."""
SHRINK_LIVE_BYTES: Final = 4 * 1024 * 1024
"""Shrinking copies what is live; above this it waits until the queue has emptied."""

_Inode = tuple[int, int]


class WritableFile:
    """The writer thread's connection and its turn among the processes."""

    def __init__(self, options: FileOptions) -> None:
        self._options = options
        self._connection: sqlite3.Connection | None = None
        self._turn: Turn | None = None
        self._inode: _Inode | None = None
        self._written = 0
        self._shrink_checked_at = float("-inf")

    def open(self) -> sqlite3.Connection:
        """Return the connection, opening the file if need be; not for writes."""
        path = self._options.path
        if self._connection is not None and self._inode != _inode_of(path):
            # Somebody moved or deleted the file: what would be written to it is lost to its name.
            self.drop()
        if self._connection is None:
            make_folder(path.parent)
            self._turn = self._turn or Turn(path, timeout_s=self._options.busy_timeout_s)
            with self._turn:
                self._connection = open_for_writing(self._options)
            self._inode = _inode_of(path)
        return self._connection

    @contextmanager
    def transaction(self, *, size: int) -> Iterator[sqlite3.Connection]:
        """Commit what the block does, durably, when it ends; undo it when it raises."""
        connection = self.open()
        assert self._turn is not None  # noqa: S101 - open() made it
        with self._turn:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self._written += size

    def tidy(self) -> None:
        """Move the WAL into the file when it has grown; give space back when the queue is empty."""
        connection, turn = self._connection, self._turn
        if connection is None or turn is None:
            return
        now = time.monotonic()
        if now - self._shrink_checked_at >= SHRINK_CHECK_EVERY_S:
            self._shrink_checked_at = now
            if _is_worth_shrinking(connection):
                # A favour to others on the disk: if it fails, it is tried again later.
                with suppress(sqlite3.OperationalError), turn:
                    connection.execute("VACUUM")
                self._written = CHECKPOINT_EVERY_BYTES
        if self._written >= CHECKPOINT_EVERY_BYTES:
            self._written = 0
            with turn:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def drop(self) -> None:
        """Close the file; the next use opens it anew."""
        connection, self._connection = self._connection, None
        turn, self._turn = self._turn, None
        if connection is None or turn is None:
            return
        try:
            with turn:  # the last connection to close checkpoints
                connection.close()
        except (sqlite3.Error, OSError):
            return  # it was broken or somebody hangs; the process's end closes it
        finally:
            turn.close()


class ReadableFile:
    """The reader thread's connection."""

    def __init__(self, path: Path, *, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._connection: sqlite3.Connection | None = None
        self._inode: _Inode | None = None

    def open(self) -> sqlite3.Connection:
        """Return the connection, opening the file if need be."""
        inode = _inode_of(self._path)
        if self._connection is not None and self._inode != inode:
            self.drop()
        if self._connection is None:
            self._connection = open_for_reading(self._path, busy_timeout_s=self._busy_timeout_s)
            self._inode = inode
        return self._connection

    def drop(self) -> None:
        """Close the file; the next use opens it anew."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _is_worth_shrinking(connection: sqlite3.Connection) -> bool:
    page_size, pages, free = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_size", "page_count", "freelist_count")
    )
    return free * page_size > SHRINK_ABOVE_BYTES and (pages - free) * page_size <= SHRINK_LIVE_BYTES


def _inode_of(path: Path) -> _Inode | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino
