"""The statements of the parking lot's file (``worker.lot``)."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import starmap
from typing import Final

from worker.core.holds import EVERYBODY, Hold

Events = AbstractSet[tuple[str, str]]
"""Tenant and id of some events."""

ROW_OVERHEAD_BYTES: Final = 200
"""What a row costs beside its text: keys and two indexes."""

FORGET_ROWS: Final = 5_000
"""How many are looked at in one go: whoever parks waits for no longer."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS parked (
    place INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    event_id TEXT NOT NULL,
    received_at TEXT NOT NULL,
    row BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS parked_by_user ON parked (tenant, user, place);
CREATE UNIQUE INDEX IF NOT EXISTS parked_once ON parked (event_id, tenant);
CREATE TABLE IF NOT EXISTS figures (
    tenant TEXT PRIMARY KEY, events INTEGER NOT NULL, bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS parked_in AFTER INSERT ON parked BEGIN
    INSERT INTO figures VALUES (new.tenant, 1, length(new.row) + @overhead@)
    ON CONFLICT (tenant) DO UPDATE SET
        events = events + 1, bytes = bytes + length(new.row) + @overhead@;
END;
CREATE TRIGGER IF NOT EXISTS parked_out AFTER DELETE ON parked BEGIN
    UPDATE figures SET events = events - 1, bytes = bytes - length(old.row) - @overhead@
    WHERE tenant = old.tenant;
END;
CREATE TABLE IF NOT EXISTS holds (
    tenant TEXT NOT NULL,
    user TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    since REAL NOT NULL,
    until REAL NOT NULL,
    failures INTEGER NOT NULL,
    has_rows INTEGER NOT NULL,
    PRIMARY KEY (tenant, user)
) WITHOUT ROWID;
""".replace("@overhead@", str(ROW_OVERHEAD_BYTES))

_ALL_HOLDS: Final = (
    "SELECT tenant, user, reason, detail, since, until, failures, has_rows FROM holds"
)
_SET_HOLD: Final = (
    "INSERT OR REPLACE INTO holds"
    " (tenant, user, reason, detail, since, until, failures, has_rows)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_PARK: Final = (
    "INSERT OR IGNORE INTO parked (tenant, user, event_id, received_at, row) VALUES (?, ?, ?, ?, ?)"
)
_HOLD_NEW: Final = (
    "INSERT INTO holds (tenant, user, reason, detail, since, until, failures, has_rows)"
    " SELECT DISTINCT tenant, user, ?, ?, ?, ?, ?, ? FROM parked WHERE place > ? AND NOT EXISTS"
    " (SELECT 1 FROM holds WHERE tenant = parked.tenant AND user IN (parked.user, ''))"
    " RETURNING tenant, user"
)
_FREE: Final = (
    "NOT EXISTS (SELECT 1 FROM holds WHERE holds.tenant = parked.tenant"
    " AND holds.user = parked.user AND parked.user != '')"
)
_PAGE: Final = "SELECT place, user, event_id, received_at, row FROM parked"


@dataclass(frozen=True, slots=True)
class Parked:
    """An event in the lot."""

    place: int
    """Ascending in the order of arrival."""
    user_id: str
    event_id: str
    received_at: str
    row: bytes


@dataclass(frozen=True, slots=True)
class ToPark:
    """An event on its way into the lot."""

    tenant: str
    user_id: str
    event_id: str
    received_at: str
    row: bytes


def park(
    connection: sqlite3.Connection,
    rows: Sequence[ToPark],
    holds: Mapping[tuple[str, str], Hold],
    *,
    late: Hold,
) -> tuple[Events, Sequence[tuple[str, str]]]:
    """Take events in and note who waits; whoever has no hold then gets ``late``.

    Returns:
        Which events were there already, and who got ``late``.
    """
    last = _last_place(connection)
    connection.executemany(
        _PARK,
        [(row.tenant, row.user_id, row.event_id, row.received_at, row.row) for row in rows],
    )
    write_holds(connection, holds.items())
    held = connection.execute(_HOLD_NEW, (*_columns(late), last)).fetchall()
    return _there_before(connection, rows, last), held


def read(
    connection: sqlite3.Connection,
    tenant: str,
    users: Sequence[str] | None,
    *,
    after: int,
    limit: int,
) -> Iterator[Parked]:
    """Yield events in order of arrival; arguments as of ``Lot.page``."""
    if users is None:
        sql = f"{_PAGE} WHERE tenant = ? AND place > ? AND {_FREE} ORDER BY place LIMIT ?"
        yield from starmap(Parked, connection.execute(sql, (tenant, after, limit)))
        return
    sql = f"{_PAGE} WHERE tenant = ? AND user = ? AND place > ? ORDER BY place LIMIT ?"
    for user in users:
        of_user = connection.execute(sql, (tenant, user, after, limit))
        yield from starmap(Parked, of_user)


def forget(
    connection: sqlite3.Connection,
    tenant: str,
    before: str,
    is_erased: Callable[[bytes], bool],
    *,
    after: int,
) -> tuple[int, int]:
    """Take out erased events of the next ``FORGET_ROWS``; arguments as of ``Lot.forget``.

    Returns:
        How many they were, and behind which place to go on; 0 at the end.
    """
    sql = (
        "SELECT place, row FROM parked WHERE tenant = ? AND received_at < ? AND place > ?"
        " ORDER BY place LIMIT ?"
    )
    found = connection.execute(sql, (tenant, before, after, FORGET_ROWS)).fetchall()
    gone = [(place,) for place, row in found if is_erased(row)]
    connection.executemany("DELETE FROM parked WHERE place = ?", gone)
    return len(gone), found[-1][0] if len(found) == FORGET_ROWS else 0


def read_holds(connection: sqlite3.Connection) -> Iterator[tuple[tuple[str, str], Hold]]:
    """Yield who waits: tenant and user, and their hold."""
    for tenant, user, *fields in connection.execute(_ALL_HOLDS):
        reason, detail, since, until, failures, has_rows = fields
        yield (
            (tenant, user),
            Hold(
                reason=reason,
                detail=detail,
                since=since,
                until=until,
                failures=failures,
                has_rows=bool(has_rows),
            ),
        )


def has_waiting(connection: sqlite3.Connection, tenant: str, user: str) -> bool:
    """Say whether events wait under the hold of a user, or of the whole project."""
    if user != EVERYBODY:
        sql = "SELECT 1 FROM parked WHERE tenant = ? AND user = ? LIMIT 1"
        return connection.execute(sql, (tenant, user)).fetchone() is not None
    sql = f"{_PAGE} WHERE tenant = ? AND {_FREE} LIMIT 1"
    return connection.execute(sql, (tenant,)).fetchone() is not None


def write_holds(
    connection: sqlite3.Connection, holds: Iterable[tuple[tuple[str, str], Hold]]
) -> None:
    """Note who waits."""
    connection.executemany(
        _SET_HOLD,
        [(tenant, user, *_columns(hold)) for (tenant, user), hold in holds],
    )


def _columns(hold: Hold) -> tuple[str, str, float, float, int, bool]:
    return (
        *(hold.reason, hold.detail, hold.since, hold.until),
        *(hold.failures, hold.has_rows),
    )


def _last_place(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT ifnull(max(place), 0) FROM parked").fetchone()[0])


def _there_before(connection: sqlite3.Connection, rows: Sequence[ToPark], last: int) -> Events:
    sql = "SELECT count(*) FROM parked WHERE place > ?"
    if connection.execute(sql, (last,)).fetchone()[0] == len(rows):
        return frozenset()
    sql = "SELECT 1 FROM parked WHERE event_id = ? AND tenant = ? AND place <= ?"
    return {
        (row.tenant, row.event_id)
        for row in rows
        if connection.execute(sql, (row.event_id, row.tenant, last)).fetchone()
    }
