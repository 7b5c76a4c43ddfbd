"""What a reconciliation compares with Amplitude: what was delivered, and what an export gave.

Amplitude counts by the event's own time, so that here the window of a day is one of ``occurred_at``
and that of ``received_at`` is wider. What the warehouse could not take may be at Amplitude all the
same: the destinations do not wait for each other.
"""

from typing import Final

from sluice.warehouse.ledgers import made_of_parts
from sluice.warehouse.queries import Query

_OCCURRED: Final = "toUInt32(toStartOfHour(toDateTime64(occurred_at, 6, 'UTC')))"
_DELIVERED: Final = """
    SELECT held.event_id AS event_id, held.event_type AS event_type,
        held.received_at AS received_at, said.said_at AS said_at, held.hour AS hour
    FROM (
        SELECT event_id, event_type, received_at, @occurred@ AS hour
        FROM (
            @stored@
            UNION ALL
            SELECT event_id, event_type, received_at, occurred_at FROM (@dead@) WHERE @window@
        )
        WHERE @slice@
            AND occurred_at >= toDateTime64({first:String}, 9, 'UTC')
            AND occurred_at < toDateTime64({end:String}, 9, 'UTC')
    ) AS held
    INNER JOIN (@outcomes@) AS said USING (event_id)
    WHERE said.fate = 'delivered'
"""
_PAIRS: Final = """(
    SELECT pair.1, pair.2 FROM (
        SELECT arrayJoin(arrayZip({pair_hours:Array(UInt32)}, {pair_types:Array(String)})) AS pair
    )
)"""
_EXPORTS: Final = """
    SELECT insert_id, event_type, event_time, uid, library
    FROM amplitude_exports FINAL
    WHERE tenant = {tenant:String}
        AND run_id = {run_id:String}
"""


def _query(name: str, sql: str) -> Query:
    parts = {"delivered": _DELIVERED, "pairs": _PAIRS, "exports": _EXPORTS, "occurred": _OCCURRED}
    for part, text in parts.items():
        sql = sql.replace(f"@{part}@", text)
    return made_of_parts(name, sql)


DELIVERED: Final = _query(
    "ledger_delivered",
    """
SELECT hour, event_type, count() AS events
FROM (@delivered@)
GROUP BY hour, event_type
@settings@
""",
)
"""Delivered events by the hour of their own time, and type."""

UPLOADED: Final = _query(
    "ledger_uploaded",
    """
SELECT toUInt32(toStartOfHour(min(received_at))) AS first,
    toUInt32(toStartOfHour(max(said_at))) AS last, count() AS events
FROM (@delivered@)
WHERE (hour, event_type) IN @pairs@
@settings@
""",
)
"""Between which hours the events of some hours and types were sent."""

NOT_EXPORTED: Final = _query(
    "ledger_not_exported",
    """
SELECT toString(event_id) AS id, event_type,
    replaceOne(toString(received_at), ' ', 'T') AS received, toUnixTimestamp(said_at) AS at
FROM (@delivered@)
WHERE (hour, event_type) IN @pairs@
    AND toString(event_id) NOT IN (SELECT insert_id FROM (@exports@))
ORDER BY received_at, event_id
LIMIT {limit:UInt32}
@settings@
""",
)
"""Delivered events that the export does not hold."""

EXPORTED_TWICE: Final = _query(
    "ledger_exported_twice",
    """
SELECT insert_id AS id, any(event_type) AS event_type, uniqExact(uid) AS copies,
    toUInt32(toStartOfHour(min(event_time))) AS hour
FROM (@exports@)
WHERE insert_id != ''
GROUP BY insert_id
HAVING copies > 1
ORDER BY id
LIMIT {limit:UInt32}
@settings@
""",
)
"""Events that Amplitude counts more than once."""

ONLY_EXPORTED: Final = _query(
    "ledger_only_exported",
    """
SELECT insert_id AS id, any(event_type) AS event_type, any(library) AS library,
    uniqExact(uid) AS copies, toUInt32(toStartOfHour(min(event_time))) AS hour
FROM (@exports@)
WHERE toUUIDOrZero(insert_id) NOT IN (SELECT event_id FROM (@delivered@))
    AND toUUIDOrZero(insert_id) NOT IN (SELECT event_id FROM (@erased@))
GROUP BY insert_id
ORDER BY id
LIMIT {limit:UInt32}
@settings@
""",
)
"""Events that Amplitude has and that were not delivered, as far as is known in the window."""

ERASED_EXPORTED: Final = _query(
    "ledger_erased_exported",
    """
SELECT uniqExact(insert_id) AS events
FROM (@exports@)
WHERE toUUIDOrZero(insert_id) NOT IN (SELECT event_id FROM (@delivered@))
    AND toUUIDOrZero(insert_id) IN (SELECT event_id FROM (@erased@))
@settings@
""",
)
"""How many events Amplitude still has of people who were erased: it takes up to 30 days."""

FATES_OF: Final = _query(
    "ledger_fates_of",
    """
SELECT toString(event_id) AS id, argMax(outcome, at) AS fate
FROM outcomes
WHERE tenant = {tenant:String}
    AND destination = {destination:String}
    AND event_id IN {ids:Array(UUID)}
GROUP BY id
LIMIT 5000
""",
)
"""The last outcome of some events, in whatever window."""

FORGET_EXPORTS: Final = _query(
    "ledger_forget_exports",
    """
DELETE FROM amplitude_exports
WHERE tenant = {tenant:String}
    AND run_id = {run_id:String}
""",
)

AMPLITUDE_QUERIES: Final = (
    DELIVERED,
    UPLOADED,
    NOT_EXPORTED,
    EXPORTED_TWICE,
    ONLY_EXPORTED,
    ERASED_EXPORTED,
    FATES_OF,
    FORGET_EXPORTS,
)
