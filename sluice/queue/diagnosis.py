"""What SQLite and the operating system say when a disk fails, as one sentence for the operator."""

import errno
import sqlite3
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from sluice.core.errors import QueueUnavailableError
from sluice.queue.turn import TurnTimeoutError


class Failure(Enum):
    """What is wrong with the file, as far as it decides what is done next."""

    DISK_FULL = "disk_full"
    """The open file still serves reads and whatever needs no more room."""
    BUSY = "busy"
    """Another program holds the lock; nothing is wrong with the file."""
    BROKEN = "broken"
    """The file has to be opened anew."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One failed try to use the file."""

    failure: Failure
    sentence: str


_KEEP: Final = "nothing was deleted; what was accepted is in it"
_BUSY: Final = (
    "Another program keeps the queue file {path} locked: find it with `fuser {path}` and end it."
)

_BY_CODE: Final[dict[int, tuple[Failure, str]]] = {
    sqlite3.SQLITE_FULL: (
        Failure.DISK_FULL,
        "The disk of the queue file {path} is full: free some space.",
    ),
    sqlite3.SQLITE_BUSY: (Failure.BUSY, _BUSY),
    sqlite3.SQLITE_LOCKED: (Failure.BUSY, _BUSY),
    sqlite3.SQLITE_READONLY: (
        Failure.BROKEN,
        "The queue file {path} or its folder is read-only: make both writable.",
    ),
    sqlite3.SQLITE_PERM: (
        Failure.BROKEN,
        "Sluice may not use the queue file {path}: mend its permissions.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        Failure.BROKEN,
        "The queue file {path} cannot be opened: check that its folder exists and is writable.",
    ),
    sqlite3.SQLITE_CORRUPT: (
        Failure.BROKEN,
        "The queue file {path} is damaged ({error}); " + _KEEP + ": stop Sluice, move it away "
        "with its -wal and -shm, start again, and read it with `sqlite3 FILE .recover`.",
    ),
    sqlite3.SQLITE_NOTADB: (
        Failure.BROKEN,
        "{path} is not a SQLite file, or its head is damaged; nothing was deleted: move it away "
        "with its -wal and -shm, or set SLUICE_QUEUE_URL to another path.",
    ),
    sqlite3.SQLITE_IOERR: (
        Failure.BROKEN,
        "The disk of the queue file {path} answered with an I/O error ({error}): check the disk.",
    ),
}
_BY_ERRNO: Final[dict[int, int]] = {
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
    errno.EFBIG: sqlite3.SQLITE_FULL,
    errno.EROFS: sqlite3.SQLITE_READONLY,
    errno.EACCES: sqlite3.SQLITE_PERM,
    errno.EPERM: sqlite3.SQLITE_PERM,
    errno.EIO: sqlite3.SQLITE_IOERR,
}
_OTHER: Final = (Failure.BROKEN, "The queue file {path} cannot be used: {error}.")


def diagnose(error: Exception, path: Path) -> Diagnosis:
    """Return what an error of SQLite or the operating system means for the queue at ``path``."""
    if isinstance(error, QueueUnavailableError):
        return Diagnosis(Failure.BROKEN, str(error))
    if isinstance(error, TurnTimeoutError):
        return Diagnosis(Failure.BUSY, _BUSY.format(path=path))
    failure, sentence = _BY_CODE.get(_code_of(error), _OTHER)
    return Diagnosis(failure, sentence.format(path=path, error=error))


def _code_of(error: Exception) -> int:
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0, sqlite3.SQLITE_CANTOPEN)
    # An extended code keeps the plain one in its low byte. SQLite's own errors have one; what the
    # Python module raises itself ("Cannot operate on a closed database.") has none.
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
