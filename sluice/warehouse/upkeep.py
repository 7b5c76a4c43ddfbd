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

_IS_SUM: Final = "version > toUnixTimestamp64Micro(computed_at)"
_NEWEST: Final = f"if(max({_IS_SUM}), maxIf(computed_at, {_IS_SUM}), max(computed_at))"
"""When an hour was counted last. One that was counted as a whole after it had been summed up from
slots is not what readers take: sums have higher versions."""

STALE_HOURS: Final = Query(
    "stale_hours",
    """
SELECT DISTINCT tenant, toUInt32(hour)
FROM (
    SELECT touched.tenant AS tenant, touched.hour AS hour
    FROM (
        SELECT tenant, hour, max(touched_at) AS at FROM touched_hours GROUP BY tenant, hour
    ) AS touched
    LEFT JOIN (
        SELECT tenant, start, @newest@ AS at FROM rollup_spans WHERE span_s = 3600
        GROUP BY tenant, start
    ) AS computed ON touched.tenant = computed.tenant AND touched.hour = computed.start
    WHERE touched.at >= computed.at
    UNION ALL
    SELECT slots.tenant, toStartOfHour(slots.start)
    FROM (
        SELECT tenant, start, max(computed_at) AS at FROM rollup_spans WHERE span_s = 10
        GROUP BY tenant, start
    ) AS slots
    INNER JOIN (
        SELECT tenant, start, @newest@ AS at FROM rollup_spans
        WHERE span_s = 3600 AND (tenant, start) IN (
            SELECT tenant, toStartOfHour(start) FROM rollup_spans WHERE span_s = 10
        )
        GROUP BY tenant, start
    ) AS hours ON slots.tenant = hours.tenant AND toStartOfHour(slots.start) = hours.start
    LEFT JOIN (
        SELECT tenant, hour, max(touched_at) AS at FROM touched_hours
        WHERE slot = 0 AND (tenant, hour) IN (
            SELECT tenant, toStartOfHour(start) FROM rollup_spans WHERE span_s = 10
        )
        GROUP BY tenant, hour
    ) AS whole ON slots.tenant = whole.tenant AND toStartOfHour(slots.start) = whole.hour
    LEFT JOIN (
        SELECT tenant, hour + 10 * (slot - 1) AS start, max(touched_at) AS at FROM touched_hours
        WHERE slot > 0
        GROUP BY tenant, start
    ) AS touched ON slots.tenant = touched.tenant AND slots.start = touched.start
    WHERE touched.at >= slots.at OR whole.at >= slots.at OR slots.at > hours.at
    UNION ALL
    SELECT tenant, maxIf(start, span_s = 3600)
    FROM (
        SELECT tenant, span_s, start, max(version) AS newest FROM rollup_spans
        WHERE span_s IN (3600, 86400) AND start >= toStartOfDay(now('UTC')) - INTERVAL 8 DAY
        GROUP BY tenant, span_s, start
    )
    GROUP BY tenant, toStartOfInterval(start, toIntervalSecond(86400))
    HAVING sumIf(newest, span_s = 3600) != sumIf(newest, span_s = 86400)
    UNION ALL
    SELECT summed.tenant, summed.start
    FROM (
        SELECT tenant, start, max(computed_at) AS at FROM rollup_spans
        WHERE span_s = 3600 AND @is_sum@
        GROUP BY tenant, start
    ) AS summed
    LEFT JOIN (
        SELECT tenant, hour, max(computed_at) AS at FROM rollups
        WHERE event_type = '' AND (tenant, hour) IN (
            SELECT tenant, start FROM rollup_spans WHERE span_s = 3600 AND @is_sum@
        )
        GROUP BY tenant, hour
    ) AS written ON summed.tenant = written.tenant AND summed.start = written.hour
    WHERE summed.at > written.at
)
LIMIT {limit:UInt32}
""".replace("@newest@", _NEWEST).replace("@is_sum@", _IS_SUM),
)
"""Hours that somebody wrote to and nobody has recomputed since, in part or as a whole; also one of
each day that stats may show whose sum is another than that of its hours.

Slots are looked at too where their hour was counted later: a note that was still under way when
others were asked for is not in that count, and who made it may have died. So are hours in slots
that were summed up and not written to ``rollups`` any more."""

_ASKED: Final = """asked AS (
    SELECT pair.1 AS tenant, toDateTime(pair.2, 'UTC') AS start
    FROM (SELECT arrayJoin(arrayZip({tenants:Array(String)}, {starts:Array(UInt32)})) AS pair)
)"""

HOURS_IN_SLOTS: Final = Query(
    "hours_in_slots",
    """
WITH <asked>
SELECT DISTINCT tenant, toUInt32(start)
FROM rollup_spans
WHERE span_s = 3600 AND (tenant, start) IN (SELECT tenant, start FROM asked)
    AND (arraySum(event_counts) >= {many:UInt64} OR @is_sum@)
""".replace("<asked>", _ASKED).replace("@is_sum@", _IS_SUM),
)
"""Which of some hours hold so many events that they are counted slot by slot, or were once."""

STALE_SLOTS: Final = Query(
    "stale_slots",
    """
WITH <asked>
SELECT slots.tenant, toUInt32(slots.start)
FROM (
    SELECT asked.tenant AS tenant, asked.start AS hour, arrayJoin(range(360)) AS place,
        hour + 10 * place AS start
    FROM asked
) AS slots
LEFT JOIN (
    SELECT tenant, start, max(computed_at) AS at FROM rollup_spans
    WHERE span_s = 10 AND (tenant, toStartOfHour(start)) IN (SELECT tenant, start FROM asked)
    GROUP BY tenant, start
) AS computed ON slots.tenant = computed.tenant AND slots.start = computed.start
LEFT JOIN (
    SELECT tenant, hour, arrayJoin(if(slot = 0, range(360), [slot - 1])) AS place,
        max(touched_at) AS at
    FROM touched_hours
    WHERE (tenant, hour) IN (SELECT tenant, start FROM asked)
    GROUP BY tenant, hour, place
) AS touched ON slots.tenant = touched.tenant AND slots.hour = touched.hour
    AND slots.place = touched.place
WHERE touched.at >= computed.at
ORDER BY slots.tenant, slots.start
""".replace("<asked>", _ASKED),
)
"""The slots of some hours that were written to since they were counted, or that nobody counted."""

RECOMPUTE: Final = Query(
    "recompute_rollups",
    """
INSERT INTO rollups (tenant, hour, event_type, event_count, users, computed_at)
WITH <asked>
SELECT tenant, toStartOfHour(received_at) AS hour, event_type, count(), uniqState(user_id),
    toDateTime64({computed_at:String}, 6, 'UTC')
FROM events FINAL
WHERE (tenant, toStartOfHour(received_at)) IN (SELECT tenant, start FROM asked)
    AND received_at >= toDateTime64({start:UInt32}, 6, 'UTC')
    AND received_at < toDateTime64({end:UInt32}, 6, 'UTC')
    AND (tenant, toStartOfHour(received_at), event_type, event_id, received_at) NOT IN (
        SELECT tenant, hour, event_type, event_id, received_at FROM event_duplicates
        WHERE (tenant, hour) IN (SELECT tenant, start FROM asked)
    )
GROUP BY tenant, hour, event_type
UNION ALL
SELECT tenant, start, '' AS event_type, toUInt64(0), arrayReduce('uniqState', emptyArrayString()),
    toDateTime64({computed_at:String}, 6, 'UTC')
FROM asked
SETTINGS max_threads = 1, max_insert_threads = 1,
    do_not_merge_across_partitions_select_final = 1,
    min_insert_block_size_rows = 1048576,
    min_insert_block_size_bytes = 0
""".replace("<asked>", _ASKED),
)
"""Count hours anew from events; every hour asked for gets its mark, also one without events."""

SPANS_OF_HOURS: Final = Query(
    "spans_of_hours",
    """
INSERT INTO rollup_spans (
    tenant, span_s, start, event_types, event_counts, users, computed_at, version, user_count
)
WITH <asked>
SELECT tenant, 3600, hour, groupArrayIf(event_type, event_type != ''),
    groupArrayIf(event_count, event_type != ''), uniqMergeState(users), max(computed_at) AS at,
    toUInt64(toUnixTimestamp64Micro(at)), uniqMerge(users)
FROM (
    SELECT tenant, hour, event_type, event_count, users, computed_at,
        computed_at = max(computed_at) OVER (PARTITION BY tenant, hour) AS is_latest
    FROM rollups FINAL
    WHERE (tenant, hour) IN (SELECT tenant, start FROM asked)
)
WHERE is_latest
GROUP BY tenant, hour
SETTINGS max_threads = 1
""".replace("<asked>", _ASKED),
)
"""Sum up hours that were counted as a whole."""

RECOMPUTE_SLOTS: Final = Query(
    "recompute_slots",
    """
INSERT INTO rollup_spans (
    tenant, span_s, start, event_types, event_counts, users, computed_at, version, user_count
)
WITH <asked>
SELECT tenant, 10, start, groupArrayIf(event_type, event_count > 0),
    groupArrayIf(event_count, event_count > 0), uniqMergeState(users),
    toDateTime64({computed_at:String}, 6, 'UTC') AS at, toUInt64(toUnixTimestamp64Micro(at)),
    uniqMerge(users)
FROM (
    SELECT tenant, toStartOfInterval(received_at, toIntervalSecond(10)) AS start, event_type,
        count() AS event_count, uniqState(user_id) AS users
    FROM events FINAL
    WHERE (tenant, toStartOfHour(received_at)) IN (
            SELECT tenant, toStartOfHour(asked.start) FROM asked
        )
        AND (tenant, toStartOfInterval(received_at, toIntervalSecond(10))) IN (
            SELECT tenant, asked.start FROM asked
        )
        AND (tenant, toStartOfHour(received_at), event_type, event_id, received_at) NOT IN (
            SELECT tenant, hour, event_type, event_id, received_at FROM event_duplicates
            WHERE (tenant, hour) IN (SELECT tenant, toStartOfHour(asked.start) FROM asked)
        )
    GROUP BY tenant, start, event_type
    UNION ALL
    SELECT tenant, start, '', toUInt64(0), arrayReduce('uniqState', emptyArrayString())
    FROM asked
)
GROUP BY tenant, start
SETTINGS max_threads = 1, max_insert_threads = 1,
    do_not_merge_across_partitions_select_final = 1,
    use_skip_indexes_if_final = 1, use_skip_indexes_if_final_exact_mode = 0
""".replace("<asked>", _ASKED),
)
"""Count slots anew from events; one without events gets a row too. All copies of a row have the
same ``received_at``, and a later copy in another slot is named: a slot is complete in itself."""

SUM_UP: Final = Query(
    "sum_up_spans",
    """
INSERT INTO rollup_spans (
    tenant, span_s, start, event_types, event_counts, users, computed_at, version, user_count
)
WITH <asked>
SELECT tenant, {span_s:UInt32},
    toStartOfInterval(start, toIntervalSecond({span_s:UInt32})) AS whole,
    sumMap(event_types, event_counts).1, sumMap(event_types, event_counts).2,
    uniqMergeState(users), toDateTime64({computed_at:String}, 6, 'UTC'), sum(version),
    uniqMerge(users)
FROM rollup_spans FINAL
WHERE span_s = {part_s:UInt32}
    AND (tenant, toStartOfInterval(start, toIntervalSecond({span_s:UInt32}))) IN (
        SELECT tenant, whole
        FROM (
            SELECT tenant, span_s, max(version) AS newest,
                toStartOfInterval(start, toIntervalSecond({span_s:UInt32})) AS whole
            FROM rollup_spans
            WHERE span_s IN ({part_s:UInt32}, {span_s:UInt32})
                AND (tenant, toStartOfInterval(start, toIntervalSecond({within_s:UInt32})))
                    IN (SELECT tenant, start FROM asked)
            GROUP BY tenant, span_s, start
        )
        GROUP BY tenant, whole
        HAVING sumIf(newest, span_s = {part_s:UInt32}) != sumIf(newest, span_s = {span_s:UInt32})
            OR {span_s:UInt32} = {within_s:UInt32}
    )
GROUP BY tenant, whole
SETTINGS max_threads = 1
""".replace("<asked>", _ASKED),
)
"""Sum up spans of which a part was counted anew; those that lie within the spans asked for.

The spans asked for themselves in any case: another worker may have summed up the same parts, and
said less of when it looked what was stale."""

ROLLUPS_OF_SPANS: Final = Query(
    "rollups_of_spans",
    """
INSERT INTO rollups (tenant, hour, event_type, event_count, users, computed_at)
WITH <asked>
SELECT tenant, start, event_type, event_count, arrayReduce('uniqState', emptyArrayString()),
    computed_at
FROM rollup_spans FINAL
ARRAY JOIN event_types AS event_type, event_counts AS event_count
WHERE span_s = 3600 AND (tenant, start) IN (SELECT tenant, start FROM asked)
UNION ALL
SELECT tenant, start, '', toUInt64(0), users, computed_at
FROM rollup_spans FINAL
WHERE span_s = 3600 AND (tenant, start) IN (SELECT tenant, start FROM asked)
SETTINGS max_threads = 1, max_insert_threads = 1,
    min_insert_block_size_rows = 1048576,
    min_insert_block_size_bytes = 0
""".replace("<asked>", _ASKED),
)
"""Write the hours that were counted slot by slot; who was there in all is on the mark."""

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
