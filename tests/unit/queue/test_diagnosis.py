"""What the operator reads when SQLite or the operating system fails."""

import errno
import sqlite3
from pathlib import Path

import pytest

from sluice.core.errors import QueueUnavailableError
from sluice.queue.diagnosis import Failure, diagnose
from sluice.queue.turn import TurnTimeoutError

PATH = Path("data/queue.sqlite")


def sqlite_error(code: int) -> sqlite3.Error:
    """An error as the module raises it."""
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code
    return error


CASES = {
    "full": (sqlite_error(sqlite3.SQLITE_FULL), Failure.DISK_FULL, "free some space"),
    "no space": (OSError(errno.ENOSPC, "x"), Failure.DISK_FULL, "free some space"),
    "quota": (OSError(errno.EDQUOT, "x"), Failure.DISK_FULL, "free some space"),
    "busy": (sqlite_error(sqlite3.SQLITE_BUSY), Failure.BUSY, "keeps the queue file"),
    "snapshot": (sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), Failure.BUSY, "locked"),
    "turn": (TurnTimeoutError("x"), Failure.BUSY, "locked"),
    "read-only": (sqlite_error(sqlite3.SQLITE_READONLY), Failure.BROKEN, "read-only"),
    "read-only folder": (
        sqlite_error(sqlite3.SQLITE_READONLY_DIRECTORY),
        Failure.BROKEN,
        "read-only",
    ),
    "read-only disk": (OSError(errno.EROFS, "x"), Failure.BROKEN, "read-only"),
    "permission": (PermissionError(errno.EACCES, "x"), Failure.BROKEN, "permissions"),
    "missing": (FileNotFoundError(errno.ENOENT, "x"), Failure.BROKEN, "folder exists"),
    "cannot open": (sqlite_error(sqlite3.SQLITE_CANTOPEN), Failure.BROKEN, "folder exists"),
    "corrupt": (sqlite_error(sqlite3.SQLITE_CORRUPT), Failure.BROKEN, "damaged"),
    "not a database": (sqlite_error(sqlite3.SQLITE_NOTADB), Failure.BROKEN, "not a SQLite file"),
    "fsync": (sqlite_error(sqlite3.SQLITE_IOERR_FSYNC), Failure.BROKEN, "I/O error"),
    "EIO": (OSError(errno.EIO, "x"), Failure.BROKEN, "I/O error"),
    "closed": (sqlite3.ProgrammingError("x"), Failure.BROKEN, "cannot be used"),
    "anything": (ValueError("x"), Failure.BROKEN, "cannot be used"),
}


@pytest.mark.parametrize(("error", "failure", "words"), CASES.values(), ids=CASES.keys())
def test_error_becomes_one_sentence_that_names_the_file(
    error: Exception, failure: Failure, words: str
) -> None:
    diagnosis = diagnose(error, PATH)
    assert diagnosis.failure is failure
    assert words in diagnosis.sentence
    assert str(PATH) in diagnosis.sentence
    assert "\n" not in diagnosis.sentence


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB])
def test_damaged_file_is_never_said_to_be_deleted(code: int) -> None:
    assert "nothing was deleted" in diagnose(sqlite_error(code), PATH).sentence


def test_own_refusal_keeps_its_sentence() -> None:
    assert diagnose(QueueUnavailableError("as it was"), PATH).sentence == "as it was"
