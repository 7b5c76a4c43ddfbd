"""What was stored lately, for a live tail: how many events, and the newest of them.

Rows say when they were stored, but become visible a moment later, and not in that order. So a
window that overlaps with the one before is counted by the millisecond in which rows were stored, of
which there are few: an insert has one or two. Who asks knows by these counts what is new.
"""

from collections.abc import Mapping, Sequence
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

TAIL_COUNTS: Final = Query(
    "tail_counts",
    """
SELECT toUnixTimestamp64Milli(now64(3)) AS now, [] AS at, [] AS events
UNION ALL
SELECT 0, groupArray(at), groupArray(events) FROM (
    SELECT toUnixTimestamp64Milli(stored_at) AS at, count() AS events
    FROM events {lately}
    GROUP BY at
    ORDER BY at DESC
    LIMIT 5000
)
SETTINGS max_execution_time = 5
""".replace("{lately}", _LATELY),
)
"""How many events were stored in which millisecond, the latest first, and when it was asked.

Rows from before 0008 have no time of their own: ClickHouse gives them that of the moment when they
are read, which is why what is stored now waits for the next look."""

TAIL_EVENTS: Final = Query(
    "tail_events",
    """
SELECT toUnixTimestamp64Milli(stored_at) AS at, toString(event_id),
    replaceOne(toString(received_at), ' ', 'T'), event_type, user_id, source,
    arrayMap(
        member -> (substringUTF8(member.1, 1, 64), substring(member.2, 1, 1)),
        arraySlice(JSONExtractKeysAndValuesRaw(payload), 1, 30)
    )
FROM events {lately}
    AND toUnixTimestamp64Milli(stored_at) IN {fresh:Array(Int64)}
ORDER BY stored_at DESC, events.received_at DESC, events.event_id DESC
LIMIT {wanted:UInt32}
SETTINGS max_execution_time = 5
""".replace("{lately}", _LATELY),
)
"""The newest events of some milliseconds. Values of properties stay behind: of each only the first
character is read, which says its type, and at most 30 names of 64 characters."""

TAIL_QUERIES: Final = (TAIL_COUNTS, TAIL_EVENTS)
MAX_FRESH: Final = 1_000
"""Milliseconds whose events are looked for at a time, the latest."""


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
    known: Mapping[int, int]
    """Counts by milliseconds; where these are as they were, the events are not needed."""
    wanted: int
    """How many events at most; with 0 they are only counted."""


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
    asked: dict[str, Any] = {
        "tenant": tenant,
        "event_type": which.event_type,
        "source": which.source,
        "user_id": which.user_id,
        "since_ms": ask.since_ms,
        "reach_s": ask.reach_s,
    }
    rows = await warehouse.fetch(TAIL_COUNTS, **asked)
    now_ms = max(now for now, _, _ in rows)
    groups = {at: count for _, ats, counts in rows for at, count in zip(ats, counts, strict=True)}
    fresh = [at for at, count in groups.items() if ask.known.get(at) != count][:MAX_FRESH]
    if not (fresh and ask.wanted):
        return Tailed(now_ms, groups, [])
    found = await warehouse.fetch(TAIL_EVENTS, fresh=fresh, wanted=ask.wanted, **asked)
    return Tailed(now_ms, groups, [StoredEvent(*row) for row in found])
