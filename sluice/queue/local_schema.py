"""The tables of the local queue: how its file is made, opened and recognised.

``messages`` holds each envelope once, ``deliveries`` one row for each subscription that has not
acknowledged it, ``dead`` what was put aside. Triggers keep the sums in ``subscriptions`` and
``counters`` exact within the same transaction, whichever process writes, and delete a message with
its last delivery. They also spare the writer thread most of its calls into SQLite: each call gives
up the interpreter lock and has to win it back from a busy event loop.
"""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sluice.core.errors import QueueUnavailableError

APPLICATION_ID: Final = 0x534C5543
"""Marks the file as ours (``SLUC``), so that no other program's database is ever written to."""
SCHEMA_VERSION: Final = 1
MESSAGE_OVERHEAD_BYTES: Final = 512
"""What a message takes on disk beside its body; counted against the bound."""
WAL_KEEP_BYTES: Final = 16 * 1024 * 1024
"""The WAL is cut to this when it restarts. What stays lets acknowledgements, which free space,
be written while the disk is full."""

_TABLES: Final = """
CREATE TABLE counters (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  last_id INTEGER NOT NULL DEFAULT 0,
  stored_bytes INTEGER NOT NULL DEFAULT 0,
  freed_bytes INTEGER NOT NULL DEFAULT 0,
  probes INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO counters (only) VALUES (1);

CREATE TABLE subscriptions (
  subscription TEXT PRIMARY KEY,
  topic TEXT NOT NULL,
  messages INTEGER NOT NULL DEFAULT 0,
  events INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
  message_id INTEGER PRIMARY KEY,
  topic TEXT NOT NULL,
  envelope_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  events INTEGER NOT NULL,
  raw_bytes INTEGER NOT NULL,
  stored_bytes INTEGER NOT NULL,
  published_at REAL NOT NULL,
  body BLOB NOT NULL
) STRICT;

-- lease_until is 0 where the message waits to be pulled for the first time, or was given back.
CREATE TABLE deliveries (
  message_id INTEGER NOT NULL,
  subscription TEXT NOT NULL,
  lease_until REAL NOT NULL DEFAULT 0,
  lease_id TEXT NOT NULL DEFAULT '',
  attempt INTEGER NOT NULL DEFAULT 0,
  events INTEGER NOT NULL,
  raw_bytes INTEGER NOT NULL,
  PRIMARY KEY (message_id, subscription)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliverable ON deliveries (subscription, lease_until, message_id);

CREATE TABLE dead (
  message_id INTEGER NOT NULL,
  subscription TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  reason TEXT NOT NULL,
  died_at REAL NOT NULL,
  PRIMARY KEY (message_id, subscription)
) STRICT, WITHOUT ROWID;

-- Filled for a moment, to learn whether a full disk has room again.
CREATE TABLE scratch (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  filler BLOB NOT NULL
) STRICT;

CREATE TRIGGER message_added AFTER INSERT ON messages BEGIN
  UPDATE counters
    SET last_id = NEW.message_id, stored_bytes = stored_bytes + NEW.stored_bytes;
  UPDATE subscriptions
    SET messages = messages + 1, events = events + NEW.events, bytes = bytes + NEW.raw_bytes
    WHERE topic = NEW.topic;
  INSERT INTO deliveries (message_id, subscription, events, raw_bytes)
    SELECT NEW.message_id, subscription, NEW.events, NEW.raw_bytes
    FROM subscriptions WHERE topic = NEW.topic;
END;

CREATE TRIGGER delivery_removed AFTER DELETE ON deliveries BEGIN
  UPDATE subscriptions
    SET messages = messages - 1, events = events - OLD.events, bytes = bytes - OLD.raw_bytes
    WHERE subscription = OLD.subscription;
  DELETE FROM messages
    WHERE message_id = OLD.message_id
      AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message_id = OLD.message_id)
      AND NOT EXISTS (SELECT 1 FROM dead WHERE message_id = OLD.message_id);
END;

CREATE TRIGGER message_removed AFTER DELETE ON messages BEGIN
  UPDATE counters
    SET stored_bytes = stored_bytes - OLD.stored_bytes,
        freed_bytes = freed_bytes + OLD.stored_bytes;
END;

CREATE TRIGGER dead_added AFTER INSERT ON dead BEGIN
  UPDATE subscriptions SET dead = dead + 1 WHERE subscription = NEW.subscription;
END;
"""

_ADDED: Final = (("messages", "traces", "TEXT NOT NULL DEFAULT ''"),)
"""Columns that a file of schema 1 may lack, because it was made before there were any. Processes
that do not know them name the others in what they write and read, so both may share the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """How the file is opened."""

    path: Path
    topics: Mapping[str, tuple[str, ...]]
    max_pages: int | None = None
    """Bound on the file's pages; SQLite answers "disk is full" past it."""
    busy_timeout_s: float = 5.0
    """How long to wait for a program that holds the file's lock."""


def open_for_writing(options: FileOptions) -> sqlite3.Connection:
    """Open the file, making it and its tables where there is none yet.

    Raises:
        QueueUnavailableError: The file is another program's, or a newer Sluice's.
        sqlite3.Error: SQLite cannot open it.
        OSError: The file cannot be made.
    """
    # The events are somebody's data: the file is its owner's only. SQLite gives the same rights to
    # the WAL beside it. A file that is there is not opened here: SQLite's locks are POSIX locks, of
    # which a process loses all when it closes any descriptor of the file. Without them another
    # process that leaves takes itself for the last one and deletes the WAL that is in use.
    with suppress(FileExistsError):
        os.close(os.open(options.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(
        options.path, timeout=options.busy_timeout_s, isolation_level=None, cached_statements=64
    )
    try:
        _refuse_foreign(connection, options.path)
        _set_up(connection, options)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path, *, busy_timeout_s: float) -> sqlite3.Connection:
    """Open the file for reads, which never wait behind a commit."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=busy_timeout_s,
        isolation_level=None,
    )


def make_folder(folder: Path) -> None:
    """Make a folder whose name survives a power cut; nothing happens where it exists."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    parent = os.open(folder.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    application_id = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    if application_id == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            message = (
                f"The queue file {path} was written by a newer Sluice (schema {version}, this one "
                f"knows {SCHEMA_VERSION}): run that version, or set SLUICE_QUEUE_URL elsewhere."
            )
            raise QueueUnavailableError(message)
        return
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id or tables:
        message = (
            f"{path} is another program's SQLite file, not a Sluice queue; it was left untouched: "
            f"set SLUICE_QUEUE_URL to another path."
        )
        raise QueueUnavailableError(message)


def _set_up(connection: sqlite3.Connection, options: FileOptions) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        message = (
            f"The disk of {options.path} cannot hold a shared SQLite file (its journal stayed in "
            f"mode {mode!r}): put the queue on a local disk."
        )
        raise QueueUnavailableError(message)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # the writer does it after answering
    connection.execute(f"PRAGMA journal_size_limit = {WAL_KEEP_BYTES}")
    connection.execute("PRAGMA cache_size = -8192")
    if options.max_pages is not None:
        connection.execute(f"PRAGMA max_page_count = {options.max_pages}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _pragma(connection, "user_version") == 0:
            for statement in _statements(_TABLES):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        for table, column, kind in _ADDED:
            if not _has_column(connection, table, column):
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        connection.executemany(
            "INSERT OR IGNORE INTO subscriptions (subscription, topic) VALUES (?, ?)",
            [(name, topic) for topic, names in options.topics.items() for name in names],
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _has_column(connection: sqlite3.Connection, table: str, column: str) -> bool:
    (found,) = connection.execute(
        "SELECT count(*) FROM pragma_table_info(?) WHERE name = ?", (table, column)
    ).fetchone()
    return bool(found)


def _statements(script: str) -> list[str]:
    """Split a script, because ``executescript`` would commit the transaction first."""
    statements: list[str] = []
    gathered = ""
    for line in script.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            statements.append(gathered)
            gathered = ""
    return statements


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
