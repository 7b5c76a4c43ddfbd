"""Statements of the worker's upkeep, by name: keys, rollups, copies. They concern all tenants."""

from typing import Final

from sluice.warehouse.queries import Query

NOW: Final = Query("now", "SELECT toString(now64(6, 'UTC'))")
"""The warehouse's clock: what was touched before this moment is seen by what starts after it."""

OTHER_WORKERS: Final = Query(
    "other_workers",
    """
SELECT worker_id, dateDiff('millisecond', max(heartbeat_at), now64(6)),
    argMax(is_stopped, heartbeat_at)
FROM workers
WHERE worker_id != {worker_id:String}
GROUP BY worker_id
""",
)
"""Milliseconds since each other worker's last sign, and whether that was its farewell."""

KEY_COPIES: Final = Query(
    "key_copies",
    """
SELECT DISTINCT tenant, toString(event_id), replaceOne(toString(received_at), ' ', 'T'), event_type
FROM event_keys
WHERE (tenant, event_id) IN (SELECT tenant, event_id FROM wanted)
    AND received_at >= toDateTime64({earliest:String}, 6, 'UTC')
    AND received_at <= toDateTime64({latest:String}, 6, 'UTC')
SETTINGS use_query_condition_cache = 0
""",
)
"""All accepted copies of the events in the external table ``wanted(tenant, event_id)``."""

ALL_KEYS: Final = Query("all_keys", "SELECT event_id FROM event_keys")
"""Streamed as RowBinary: 16 bytes a key."""

STALE_HOURS: Final = Query(
    "stale_hours",
    """
SELECT touched.tenant, toUInt32(touched.hour)
FROM (
    SELECT tenant, hour, max(touched_at) AS at FROM touched_hours GROUP BY tenant, hour
) AS touched
LEFT JOIN (
    SELECT tenant, hour, max(computed_at) AS at FROM rollups WHERE event_type = ''
    GROUP BY tenant, hour
) AS computed ON touched.tenant = computed.tenant AND touched.hour = computed.hour
WHERE touched.at >= computed.at
ORDER BY touched.at
LIMIT {limit:UInt32}
""",
)
"""Hours that somebody wrote to and nobody has recomputed since."""

RECOMPUTE: Final = Query(
    "recompute_rollups",
    """
INSERT INTO rollups (tenant, hour, event_type, event_count, users, computed_at)
WITH asked AS (
    SELECT pair.1 AS tenant, toDateTime(pair.2, 'UTC') AS hour
    FROM (SELECT arrayJoin(arrayZip({tenants:Array(String)}, {hours:Array(UInt32)})) AS pair)
)
SELECT tenant, toStartOfHour(received_at) AS hour, event_type, count(), uniqState(user_id),
    toDateTime64({computed_at:String}, 6, 'UTC')
FROM events FINAL
WHERE (tenant, toStartOfHour(received_at)) IN (SELECT tenant, hour FROM asked)
    AND received_at >= toDateTime64({start:UInt32}, 6, 'UTC')
    AND received_at < toDateTime64({end:UInt32}, 6, 'UTC')
    AND (tenant, toStartOfHour(received_at), event_type, event_id, received_at) NOT IN (
        SELECT tenant, hour, event_type, event_id, received_at FROM event_duplicates
        WHERE (tenant, hour) IN (SELECT tenant, hour FROM asked)
    )
GROUP BY tenant, hour, event_type
UNION ALL
SELECT tenant, hour, '' AS event_type, toUInt64(0), arrayReduce('uniqState', emptyArrayString()),
    toDateTime64({computed_at:String}, 6, 'UTC')
FROM asked
SETTINGS max_threads = 1, max_insert_threads = 1,
    do_not_merge_across_partitions_select_final = 1,
    min_insert_block_size_rows = 1048576,
    min_insert_block_size_bytes = 0
""",
)
"""Count hours anew from events; every hour asked for gets its mark, also one without events."""

_STORED_COPY: Final = """
    (tenant, toStartOfHour(received_at), event_type, event_id, received_at) IN (
        SELECT tenant, hour, event_type, event_id, received_at FROM event_duplicates
        WHERE detected_at >= now64(6) - INTERVAL 1 DAY
    )
"""

COPIES_STORED: Final = Query(
    "copies_stored", "SELECT count() FROM events WHERE {copies}".replace("{copies}", _STORED_COPY)
)
"""How many rows known to be later copies are still stored (no total counts them)."""

DELETE_COPIES: Final = Query(
    "delete_copies", "DELETE FROM events WHERE {copies}".replace("{copies}", _STORED_COPY)
)
