"""Every SELECT on behalf of a tenant, by name.

Parameters are typed and bound by ClickHouse (``{name:Type}``), never put into the text; each query
binds the tenant, and a test proves it. Statements of the worker's upkeep, which concern all
tenants, are in ``upkeep``.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Query:
    """A statement with a name for logs and metrics."""

    name: str
    sql: str


STATS_SPANS: Final = Query(
    "stats_spans",
    """
SELECT span_s, toUInt32(start) AS at,
    toUnixTimestamp64Micro(argMax(computed_at, (version, computed_at))),
    max(version), argMax(if(span_s = 3600, arraySum(event_counts), 0), version),
    argMax(user_count, version),
    argMax(if(span_s = {bucket_s:UInt32}, event_types, []), version),
    argMax(if(span_s = {bucket_s:UInt32}, event_counts, []), version)
FROM rollup_spans
WHERE tenant = {tenant:String}
    AND span_s IN (3600, 21600, 86400)
    AND start >= toDateTime({start:UInt32}, 'UTC') AND start < toDateTime({end:UInt32}, 'UTC')
GROUP BY span_s, at
UNION ALL
SELECT 0, toUInt32(hour), toUnixTimestamp64Micro(max(touched_at)), 0, 0, 0, [], []
FROM touched_hours
WHERE tenant = {tenant:String}
    AND hour >= toDateTime({start:UInt32}, 'UTC') AND hour < toDateTime({end:UInt32}, 'UTC')
GROUP BY hour
UNION ALL
SELECT 1, 0, toUnixTimestamp64Micro(now64(6)), 0, 0, 0, [], []
""",
)
"""What is known of a window: its spans with the moment, version, events of an hour, users and, of
those as long as a bucket, events by type; the hours with the moment they were last written to
(length 0), and the warehouse's clock (length 1). No sets of users are read."""

STATS_USERS: Final = Query(
    "stats_users",
    """
SELECT uniqMerge(users)
FROM rollup_spans FINAL
WHERE tenant = {tenant:String}
    AND ((span_s = 86400 AND has({days:Array(UInt32)}, toUInt32(start)))
        OR (span_s = 21600 AND has({quarters:Array(UInt32)}, toUInt32(start)))
        OR (span_s = 3600 AND has({hours:Array(UInt32)}, toUInt32(start))))
SETTINGS do_not_merge_across_partitions_select_final = 1, max_threads = 1
""",
)
"""How many users there are in some spans together."""

_COUNTED: Final = """
    SELECT start, event_types, event_counts, users
    FROM rollup_spans FINAL
    WHERE tenant = {tenant:String}
        AND ((span_s = 86400 AND has({days:Array(UInt32)}, toUInt32(start)))
            OR (span_s = 3600 AND has({hours:Array(UInt32)}, toUInt32(start))))
        AND start >= toDateTime({start:UInt32}, 'UTC') AND start < toDateTime({end:UInt32}, 'UTC')
"""

_LIVE: Final = """
    SELECT toStartOfHour(received_at) AS start, [event_type] AS event_types,
        [count()] AS event_counts, uniqState(user_id) AS users
    FROM events FINAL
    WHERE tenant = {tenant:String}
        AND toStartOfHour(received_at) IN (
            SELECT toDateTime(arrayJoin({live_hours:Array(UInt32)}), 'UTC')
        )
        AND received_at >= toDateTime64({start:UInt32}, 6, 'UTC')
        AND received_at < toDateTime64({end:UInt32}, 6, 'UTC')
        AND (event_type, event_id, received_at) NOT IN (
            SELECT event_type, event_id, received_at FROM event_duplicates
            WHERE tenant = {tenant:String}
                AND hour >= toDateTime({start:UInt32}, 'UTC')
                AND hour < toDateTime({end:UInt32}, 'UTC')
        )
    GROUP BY start, event_type
"""

_SUMMED: Final = """
SELECT
    toUInt8(grouping(bucket)) AS is_all,
    toUInt32(toStartOfInterval(start, toIntervalSecond({bucket_s:UInt32}))) AS bucket,
    sumMap(event_types, event_counts) AS counts,
    uniqMerge(users) AS distinct_users
FROM ({parts})
GROUP BY GROUPING SETS ((bucket), ())
SETTINGS group_by_use_nulls = 0, force_grouping_standard_compatibility = 1,
    do_not_merge_across_partitions_select_final = 1, max_threads = {threads}
"""

STATS_STALE_HOURS: Final = Query(
    "stats_stale_hours",
    """
SELECT toUInt32(touched.hour)
FROM (
    SELECT hour, max(touched_at) AS at FROM touched_hours
    WHERE tenant = {tenant:String}
        AND hour >= toDateTime({start:UInt32}, 'UTC') AND hour < toDateTime({end:UInt32}, 'UTC')
    GROUP BY hour
) AS touched
LEFT JOIN (
    SELECT hour, max(computed_at) AS at FROM rollups
    WHERE tenant = {tenant:String}
        AND hour >= toDateTime({start:UInt32}, 'UTC') AND hour < toDateTime({end:UInt32}, 'UTC')
        AND event_type = ''
    GROUP BY hour
) AS computed ON touched.hour = computed.hour
WHERE touched.at >= computed.at
    AND computed.at < now64(6) - toIntervalMillisecond({grace_ms:UInt32})
""",
)
"""Hours that were written to after their rows in ``rollups`` were counted, unless that was a moment
ago."""

STATS_COUNTED: Final = Query(
    "stats_counted", _SUMMED.replace("{parts}", _COUNTED).replace("{threads}", "1")
)
"""Events by type, and users, of each bucket and in all; from spans alone. One thread: there are few
rows, and starting a second takes longer than they do."""

STATS_WITH_LIVE_HOURS: Final = Query(
    "stats_with_live_hours",
    _SUMMED.replace("{parts}", f"{_COUNTED} UNION ALL {_LIVE}").replace(
        ", max_threads = {threads}", ""
    ),
)
"""The same, where ``live_hours`` are counted from events."""

STATS_LIVE: Final = Query(
    "stats_live",
    _SUMMED.replace(
        "{parts}",
        _LIVE.replace(
            """toStartOfHour(received_at) IN (
            SELECT toDateTime(arrayJoin({live_hours:Array(UInt32)}), 'UTC')
        )
        AND """,
            "",
        ),
    ).replace(", max_threads = {threads}", ""),
)
"""The same, all of it from events: for a warehouse whose schema is older than spans."""

ERRORS: Final = Query(
    "errors",
    """
SELECT toString(error_id), replaceOne(toString(ts), ' ', 'T'), source, error_type, detail,
    event_index, event_id, event_type, user_id, request_id, occurrences
FROM errors FINAL
WHERE tenant = {tenant:String}
ORDER BY ts DESC, error_id DESC
LIMIT {limit:UInt32}
""",
)
"""The newest error records."""

PENDING_RUNS: Final = Query(
    "pending_runs",
    """
SELECT type, source, count(),
    replaceOne(toString(toDateTime64(max(created_at), 6, 'UTC')), ' ', 'T'),
    replaceOne(toString(toDateTime64(min(due_at), 6, 'UTC')), ' ', 'T')
FROM (
    SELECT type, source, state, created_at, due_at,
        max(if(state = 'succeeded', created_at, NULL)) OVER (PARTITION BY type) AS done_at
    FROM workflow_runs FINAL
    WHERE tenant = {tenant:String}
        AND type IN ('erase', 'data-request')
)
WHERE isNotNull(due_at)
    AND state NOT IN ('succeeded', 'canceled')
    AND (state != 'failed' OR isNull(done_at) OR created_at > done_at)
GROUP BY type, source
ORDER BY type, source
""",
)
"""Runs that the law wants done and that are not, by type, with the first date by which they must
be. One that failed counts until a later run of its type has succeeded."""

FAILED_DELIVERIES: Final = Query(
    "failed_deliveries",
    """
SELECT error_type, detail, sum(occurrences), toUnixTimestamp64Micro(min(ts)),
    toUnixTimestamp64Micro(max(ts))
FROM errors FINAL
WHERE tenant = {tenant:String}
    AND source = 'shopify' AND ts >= now64(6) - toIntervalSecond({seconds:UInt32})
GROUP BY error_type, detail
ORDER BY max(ts) DESC
LIMIT 50
""",
)
"""Shopify's deliveries that were refused or not kept, by reason."""

GOOD_DELIVERIES: Final = Query(
    "good_deliveries",
    """
SELECT count(), toUnixTimestamp64Micro(max(received_at)),
    max(if(JSONExtractString(payload, 'shopify', 'triggered_at') = '', 0,
        toUnixTimestamp(parseDateTimeBestEffortOrZero(substring(JSONExtractString(
            payload, 'shopify', 'triggered_at'), 1, 19), 'UTC'))
        - toInt64(toUnixTimestamp(received_at))))
FROM events FINAL
WHERE tenant = {tenant:String}
    AND source = 'shopify' AND received_at >= now64(6) - toIntervalSecond({seconds:UInt32})
""",
)
"""Shopify's deliveries that were kept: how many, the last, and how far ahead of our clock one was
triggered, in seconds."""

EVENT_NOTES: Final = Query(
    "event_notes",
    """
SELECT 'copy' AS kind, toString(event_id) AS id, event_type AS name, '' AS outcome, '' AS reason,
    '' AS detail, '' AS at_text, replaceOne(toString(received_at), ' ', 'T') AS received
FROM event_keys
WHERE tenant = {tenant:String}
    AND event_id IN {ids:Array(UUID)}
ORDER BY event_keys.received_at
LIMIT {limit:UInt32}
UNION ALL
SELECT 'outcome', toString(event_id), destination, outcome, reason, detail,
    replaceOne(toString(outcomes.at), ' ', 'T'), replaceOne(toString(received_at), ' ', 'T')
FROM outcomes
WHERE tenant = {tenant:String}
    AND event_id IN {ids:Array(UUID)}
ORDER BY outcomes.at DESC
LIMIT 1 BY event_id, destination
UNION ALL
SELECT 'since', '', '', '', '', '', '', replaceOne(toString(min(applied_at)), ' ', 'T')
FROM migrations WHERE name = '0008_receipts'
""",
)
"""What is noted of events by their ids: every accepted copy of those that clients named, and the
last word at each destination. Also since when rows say when they were stored."""

_EVENT_ROWS: Final = """
SELECT toString(event_id), event_type, user_id, source,
    replaceOne(toString(occurred_at), ' ', 'T'), replaceOne(toString(received_at), ' ', 'T'),
    replaceOne(toString(stored_at), ' ', 'T')
FROM events
WHERE tenant = {tenant:String}
    AND event_id IN {ids:Array(UUID)}{bounds}
ORDER BY events.received_at, event_type, events.stored_at
LIMIT {limit:UInt32}
"""

EVENT_ROWS: Final = Query(
    "event_rows",
    _EVENT_ROWS.replace(
        "{bounds}",
        """
    AND toStartOfHour(received_at) IN (
        SELECT toDateTime(arrayJoin({hours:Array(UInt32)}), 'UTC')
    )
    AND received_at >= toDateTime64({start:UInt32}, 6, 'UTC')
    AND received_at < toDateTime64({end:UInt32}, 6, 'UTC')""",
    ),
)
"""Events as they are stored, looked for in the hours in which they may have been received."""

EVENT_ROWS_ANYWHERE: Final = Query("event_rows_anywhere", _EVENT_ROWS.replace("{bounds}", ""))
"""The same in all hours, by the index of ids: for what nothing else is known of."""

EVENT_LETTERS: Final = Query(
    "event_letters",
    """
SELECT JSONExtractString(row, 'event_id'), JSONExtractString(row, 'event_type'),
    JSONExtractString(row, 'user_id'), JSONExtractString(row, 'source'),
    JSONExtractString(row, 'occurred_at'), JSONExtractString(row, 'received_at'),
    reason, replaceOne(toString(dead_at), ' ', 'T')
FROM dead_letters
WHERE tenant = {tenant:String}
    AND destination = 'warehouse'
    AND JSONExtractString(row, 'event_id') IN {names:Array(String)}
ORDER BY dead_at DESC
LIMIT 1 BY letter_id
LIMIT {limit:UInt32}
""",
)
"""Events that the warehouse could not take, with its reason."""

TENANT_QUERIES: Final = (
    STATS_SPANS,
    STATS_USERS,
    STATS_STALE_HOURS,
    STATS_COUNTED,
    STATS_LIVE,
    STATS_WITH_LIVE_HOURS,
    ERRORS,
    PENDING_RUNS,
    FAILED_DELIVERIES,
    GOOD_DELIVERIES,
    EVENT_NOTES,
    EVENT_ROWS,
    EVENT_ROWS_ANYWHERE,
    EVENT_LETTERS,
)
