"""What was stored lately, for a live tail: how many events, and the newest of them.

Rows say when they were stored, but become visible a moment later, and not in that order. So a
window that overlaps with the one before is counted by the millisecond in which rows were stored, of
which there are few: an insert has one or two. Who asks knows by these counts what is new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import Query

_LATELY: Final = """
    WHERE tenant = {tenant:String}
        AND stored_at >= greatest(
            fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC'),
            now64(3, 'UTC') - toIntervalSecond({reach_s:UInt32})
        )
        AND toStartOfHour(received_at) IN (
            SELECT hour FROM touched_hours
            WHERE tenant = {tenant:String}
                AND touched_at >= greatest(
                    fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC'),
                    now64(3, 'UTC') - toIntervalSecond({reach_s:UInt32})
                )
            UNION DISTINCT
            SELECT toStartOfHour(now('UTC')) + 3600 * (number - 1) FROM numbers(3)
        )
        AND stored_at < now64(3, 'UTC')
        AND ({event_type:String} = '' OR event_type = {event_type:String})
        AND ({source:String} = '' OR source = {source:String})
        AND ({user_id:String} = '' OR user_id = {user_id:String})
"""

_BOUND: Final = """
SETTINGS max_execution_time = 5, max_result_rows = 6000
"""

_FRESH: Final = """
WITH fresh AS (
    SELECT toUnixTimestamp64Milli(stored_at) AS at, count() AS events
    FROM events {lately}
    GROUP BY at
    ORDER BY at DESC
    LIMIT 5000
)
SELECT 'now' AS kind, toUnixTimestamp64Milli(now64(3)) AS at, toUInt64(0) AS events, '' AS id,
    '' AS received, '' AS name, '' AS person, '' AS origin,
    CAST([], 'Array(Tuple(String, String))') AS members
UNION ALL
SELECT 'group', at, events, '', '', '', '', '', [] FROM fresh
UNION ALL
SELECT * FROM (
    SELECT 'event', toUnixTimestamp64Milli(stored_at) AS at, toUInt64(1), toString(event_id),
        replaceOne(toString(received_at), ' ', 'T'), event_type, user_id, source,
        arrayMap(
            member -> (substringUTF8(member.1, 1, 64), substring(member.2, 1, 1)),
            arraySlice(JSONExtractKeysAndValuesRaw(payload), 1, 30)
        )
    FROM events {lately}
        AND toUnixTimestamp64Milli(stored_at) IN (
            SELECT at FROM fresh
            WHERE NOT has({known:Array(String)}, concat(toString(at), ':', toString(events)))
        )
    ORDER BY stored_at DESC, events.received_at DESC, events.event_id DESC
    LIMIT {wanted:UInt32}
)
"""

TAIL: Final = Query("tail", _FRESH.replace("{lately}", _LATELY) + _BOUND)
"""When it was asked; how many events were stored in which millisecond; and of the milliseconds that
the asker does not know with the same count, the newest events. Values of properties stay behind: of
each only the first character is read, which says its type, and at most 30 names of 64 characters.

Rows from before 0008 have no time of their own: ClickHouse gives them that of the moment when they
are read, which is why what is stored now waits for the next look."""

TAIL_QUERIES: Final = (TAIL,)


@dataclass(frozen=True, slots=True, kw_only=True)
class TailFilter:
    """Which events are wanted; an empty text means any."""

    event_type: str = ""
    source: str = ""
    user_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TailAsk:
    """What is asked of one tenant's events."""

    since_ms: int
    """Unix milliseconds from which on rows were stored that count."""
    reach_s: int
    """How far back that may be at most."""
    known: Sequence[str]
    """Milliseconds with their counts, as ``at:count``, whose events are not needed."""
    wanted: int
    """How many events at most."""


class StoredEvent(msgspec.Struct, frozen=True):
    """One event as it was stored; ``members`` are property names with the first of each value."""

    at_ms: int
    event_id: str
    received_at: str
    event_type: str
    user_id: str
    source: str
    members: Sequence[tuple[str, str]]


class Tailed(msgspec.Struct, frozen=True):
    """The answer of one look."""

    now_ms: int
    """ClickHouse's clock when it was asked."""
    groups: dict[int, int]
    """Events by the millisecond in which they were stored."""
    events: list[StoredEvent]
    """The newest first."""


async def read_tail(warehouse: Warehouse, tenant: str, which: TailFilter, ask: TailAsk) -> Tailed:
    """Return what was stored lately.

    Raises:
        WarehouseError: The warehouse refused or did not answer.
    """
    rows = await warehouse.fetch(
        TAIL,
        tenant=tenant,
        event_type=which.event_type,
        source=which.source,
        user_id=which.user_id,
        since_ms=ask.since_ms,
        reach_s=ask.reach_s,
        known=list(ask.known),
        wanted=ask.wanted,
    )
    return _tailed(rows)


def _tailed(rows: Sequence[tuple[Any, ...]]) -> Tailed:
    now_ms = 0
    groups: dict[int, int] = {}
    events: list[StoredEvent] = []
    for kind, at, count, *rest in rows:
        if kind == "now":
            now_ms = at
        elif kind == "group":
            groups[at] = count
        else:
            events.append(StoredEvent(at, *rest))
    return Tailed(now_ms, groups, events)
