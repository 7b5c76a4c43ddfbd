"""What a reconciliation reads: each term of the ledger, hour by hour, and the events that differ.

A window is whole hours. Sets of ids are compared by their number and the sum of their lower halves
(modulo 2**64), which the runs of ``accepted`` give without being unrolled; only where these differ
ids are compared one by one. What joins is cut into slices by id, so that memory is bounded.
"""

from typing import Final

from sluice.warehouse.queries import Query

_WINDOW: Final = """received_at >= toDateTime64({since:String}, 6, 'UTC')
        AND received_at < toDateTime64({until:String}, 6, 'UTC')"""
_HOURS: Final = """hour >= toDateTime({since:String}, 'UTC')
        AND hour < toDateTime({until:String}, 'UTC')"""
_SLICE: Final = "cityHash64(event_id) % {slices:UInt32} = {slice:UInt32}"
_LOW: Final = "toUInt64(bitAnd(toUInt128(event_id), toUInt128('18446744073709551615')))"
_IS_NAMED: Final = "(bitAnd(bitShiftRight(toUInt128(event_id), 76), 15) = 5)"
_HOUR: Final = "toUInt32(toStartOfHour(received_at))"
_SETTINGS: Final = """
SETTINGS do_not_merge_across_partitions_select_final = 1, join_use_nulls = 0, max_threads = 1
"""

_STORED: Final = """
    SELECT event_id, event_type, received_at, occurred_at
    FROM events FINAL
    WHERE tenant = {tenant:String}
        AND @window@
        AND (event_type, event_id, received_at) NOT IN (
            SELECT event_type, event_id, received_at FROM event_duplicates
            WHERE tenant = {tenant:String}
                AND @hours@
        )
"""
"""Each event once, as the totals count it."""

_DEAD: Final = """
    SELECT toUUIDOrZero(JSONExtractString(row, 'event_id')) AS event_id,
        JSONExtractString(row, 'event_type') AS event_type,
        parseDateTime64BestEffortOrZero(JSONExtractString(row, 'received_at'), 6, 'UTC')
            AS received_at,
        parseDateTime64BestEffortOrZero(JSONExtractString(row, 'occurred_at'), 9, 'UTC')
            AS occurred_at
    FROM dead_letters FINAL
    WHERE tenant = {tenant:String}
        AND destination = 'warehouse'
"""
"""What the warehouse could not take."""

_ERASED: Final = """
    SELECT DISTINCT event_id, received_at
    FROM accepted_erased
    WHERE tenant = {tenant:String}
"""
_GONE: Final = "SELECT event_id FROM (@dead@) UNION ALL SELECT event_id FROM (@erased@)"
"""Accepted, and not stored for a good reason."""

_KEYS: Final = """
    SELECT event_id, event_type, received_at,
        lagInFrame(received_at, 1, toDateTime64(0, 6, 'UTC')) OVER (
            PARTITION BY event_id ORDER BY received_at, event_type
            ROWS BETWEEN 1 PRECEDING AND CURRENT ROW
        ) >= received_at - INTERVAL 7 DAY AS is_copy
    FROM event_keys FINAL
    WHERE tenant = {tenant:String}
        AND received_at >= toDateTime64({since:String}, 6, 'UTC') - INTERVAL 7 DAY
        AND received_at < toDateTime64({until:String}, 6, 'UTC')
        AND @slice@
        AND event_id IN (
            SELECT event_id FROM event_keys
            WHERE tenant = {tenant:String}
                AND @window@
                AND @slice@
        )
"""
"""Every accepted copy of what clients named, and whether it is later than another (the rule of
``worker.core.copies``). Copies from before the window are among them."""

_OUTCOMES: Final = """
    SELECT event_id, argMax(outcome, at) AS fate, max(at) AS said_at
    FROM outcomes
    WHERE tenant = {tenant:String}
        AND destination = {destination:String}
        AND @window@
        AND @slice@
    GROUP BY event_id
"""

_UNSAID: Final = """
    SELECT held.event_id AS event_id, held.event_type AS event_type,
        held.received_at AS received_at
    FROM (SELECT event_id, event_type, received_at FROM (@stored@) WHERE @slice@) AS held
    LEFT ANTI JOIN (@outcomes@) AS said USING (event_id)
"""
_ELSEWHERE: Final = """
    SELECT event_id, argMax(outcome, at) AS fate
    FROM outcomes
    WHERE tenant = {tenant:String}
        AND destination = {destination:String}
        AND event_id IN (SELECT event_id FROM (@unsaid@) WHERE @is_named@)
    GROUP BY event_id
"""
"""Outcomes that were noted with a copy of the event, which was received at another time."""

_MADE: Final = """
    SELECT envelope_id, arrayJoin(arrayFlatten(arrayMap(
        run -> arrayMap(step -> (run.1, run.2 + step), range(run.3)), runs
    ))) AS id
    FROM accepted FINAL
    WHERE tenant = {tenant:String}
        AND @hours@
"""
"""The ids that the edge made, unrolled: upper and lower half."""

_HALVES: Final = "(toUInt64(bitShiftRight(toUInt128(event_id), 64)), @low@)"


def made_of_parts(name: str, sql: str) -> Query:
    """Return a statement with the parts in it that the statements of the ledger share."""
    for part, text in _PARTS.items():
        sql = sql.replace(f"@{part}@", text)
    return Query(name, sql)


# What is a part of others comes after them.
_PARTS: Final = {
    "elsewhere": _ELSEWHERE,
    "unsaid": _UNSAID,
    "gone": _GONE,
    "erased": _ERASED,
    "stored": _STORED,
    "dead": _DEAD,
    "keys": _KEYS,
    "outcomes": _OUTCOMES,
    "made": _MADE,
    "halves": _HALVES,
    "window": _WINDOW,
    "hours": _HOURS,
    "starts": _HOURS.replace("hour", "start"),
    "slice": _SLICE,
    "low": _LOW,
    "is_named": _IS_NAMED,
    "hour": _HOUR,
    "settings": _SETTINGS,
}

BEGAN: Final = made_of_parts(
    "ledger_began",
    """
SELECT toUInt32(minIf(applied_at, name = '0001_events')) AS first,
    toUInt32(minIf(applied_at, name = '0011_accepted_ledger')) AS ledger
FROM migrations
""",
)
"""When the warehouse was made, and since when what is accepted is written down; 0: never."""

ACCEPTED: Final = made_of_parts(
    "ledger_accepted",
    """
SELECT toUInt32(accepted.hour) AS hour, count() AS envelopes, sum(events) AS events,
    sum(named) AS named, sum(repeats) AS repeats, sum(left_out) AS left_out,
    sum(arraySum(run -> toUInt64(run.3), runs)) AS made,
    sum(arraySum(run -> toUInt64(run.3) * run.2
        + intDiv(toUInt64(run.3) * (toUInt64(run.3) - 1), 2), runs)) AS made_sum
FROM accepted FINAL
WHERE tenant = {tenant:String}
    AND accepted.hour >= toDateTime({since:String}, 'UTC')
    AND accepted.hour < toDateTime({until:String}, 'UTC')
GROUP BY hour
@settings@
""",
)

STORED: Final = made_of_parts(
    "ledger_stored",
    """
SELECT @hour@ AS hour, count() AS events, countIf(@is_named@) AS named,
    sumIf(@low@, NOT @is_named@) AS made_sum, sumIf(@low@, @is_named@) AS named_sum
FROM (@stored@)
GROUP BY hour
@settings@
""",
)

DEAD: Final = made_of_parts(
    "ledger_dead",
    """
SELECT @hour@ AS hour, count() AS events, countIf(@is_named@) AS named,
    sumIf(@low@, NOT @is_named@) AS made_sum, sumIf(@low@, @is_named@) AS named_sum
FROM (@dead@)
WHERE @window@
GROUP BY hour
""",
)

ERASED: Final = made_of_parts(
    "ledger_erased",
    """
SELECT @hour@ AS hour, count() AS events, countIf(@is_named@) AS named,
    sumIf(@low@, NOT @is_named@) AS made_sum,
    sumIf(@low@, @is_named@ AND event_id IN (
        SELECT event_id FROM event_keys WHERE tenant = {tenant:String} AND @window@
    )) AS named_sum
FROM (@erased@)
WHERE @window@
    AND event_id NOT IN (SELECT event_id FROM (@stored@))
    AND (event_id, received_at) NOT IN (
        SELECT event_id, received_at FROM event_keys
        WHERE tenant = {tenant:String}
            AND @window@
            AND (event_id, received_at, event_type) IN (
                SELECT event_id, received_at, event_type FROM (@all_keys@) WHERE is_copy
            )
    )
GROUP BY hour
@settings@
""".replace("@all_keys@", _KEYS.replace("@slice@", "1")),
)

KEY_COUNT: Final = made_of_parts(
    "ledger_key_count",
    """
SELECT count() AS keys FROM event_keys
WHERE tenant = {tenant:String}
    AND @window@
""",
)
"""About how many keys there are: it says into how many slices the rest is cut."""

KEYS: Final = made_of_parts(
    "ledger_keys",
    """
SELECT @hour@ AS hour, countIf(NOT is_copy) AS firsts, countIf(is_copy) AS copies,
    sumIf(@low@, NOT is_copy) AS firsts_sum
FROM (@keys@)
WHERE @window@
GROUP BY hour
@settings@
""",
)
"""Of what clients named: how many were accepted first, and how many again."""

NOTED_COPIES: Final = made_of_parts(
    "ledger_noted_copies",
    """
SELECT toUInt32(event_duplicates.hour) AS hour, count() AS copies
FROM event_duplicates FINAL
WHERE tenant = {tenant:String}
    AND event_duplicates.hour >= toDateTime({since:String}, 'UTC')
    AND event_duplicates.hour < toDateTime({until:String}, 'UTC')
GROUP BY hour
""",
)
"""Copies that were stored before they were recognised."""

FATES: Final = made_of_parts(
    "ledger_fates",
    """
SELECT @hour@ AS hour, fate, count() AS events, countIf(@is_named@) AS named
FROM (SELECT event_id, received_at FROM (@stored@) WHERE @slice@) AS held
LEFT JOIN (@outcomes@) AS said USING (event_id)
GROUP BY hour, fate
@settings@
""",
)
"""What became of the stored events at a destination; an empty fate: nothing was noted."""

FATES_ELSEWHERE: Final = made_of_parts(
    "ledger_fates_elsewhere",
    """
SELECT @hour@ AS hour, said.fate AS fate, count() AS events
FROM (@unsaid@) AS held
INNER JOIN (@elsewhere@) AS said USING (event_id)
GROUP BY hour, fate
@settings@
""",
)
"""The same of events whose outcome was noted with a copy of theirs, received at another time."""

WITHOUT_FATE: Final = made_of_parts(
    "ledger_without_fate",
    """
SELECT toString(event_id) AS id, event_type, replaceOne(toString(received_at), ' ', 'T') AS received
FROM (@unsaid@)
WHERE event_id NOT IN (SELECT event_id FROM (@elsewhere@))
ORDER BY received_at, event_id
LIMIT {limit:UInt32}
@settings@
""",
)
"""Stored events of which nothing was noted at a destination."""

FATES_WITHOUT_EVENT: Final = made_of_parts(
    "ledger_fates_without_event",
    """
SELECT toString(event_id) AS id, fate, toUInt32(toStartOfHour(at)) AS hour,
    replaceOne(toString(at), ' ', 'T') AS received
FROM (
    SELECT event_id, argMax(outcome, outcomes.at) AS fate, argMax(received_at, outcomes.at) AS at
    FROM outcomes
    WHERE tenant = {tenant:String}
        AND destination = {destination:String}
        AND @window@
        AND @slice@
    GROUP BY event_id
) AS said
WHERE event_id NOT IN (
        SELECT event_id FROM events
        WHERE tenant = {tenant:String}
            AND received_at >= toDateTime64({since:String}, 6, 'UTC') - INTERVAL 8 DAY
            AND received_at < toDateTime64({until:String}, 6, 'UTC') + INTERVAL 8 DAY
            AND @slice@
            AND (@window@ OR @is_named@)
    )
    AND event_id NOT IN (@gone@)
ORDER BY at, event_id
LIMIT {limit:UInt32}
@settings@
""",
)
"""Outcomes of events that are not stored and were not put aside either."""

MISSING_MADE: Final = made_of_parts(
    "ledger_missing_made",
    """
SELECT toString(id.1) AS upper, toString(id.2) AS lower, envelope_id
FROM (@made@)
WHERE id NOT IN (SELECT @halves@ FROM (@stored@))
    AND id NOT IN (SELECT @halves@ FROM (@gone@))
ORDER BY id
LIMIT {limit:UInt32}
@settings@
""",
)
"""Accepted events whose id the edge made, and that are neither stored nor put aside."""

MISSING_NAMED: Final = made_of_parts(
    "ledger_missing_named",
    """
SELECT toString(event_id) AS id, event_type, replaceOne(toString(received_at), ' ', 'T') AS received
FROM (@keys@)
WHERE @window@
    AND NOT is_copy
    AND (event_id, received_at, event_type) NOT IN (
        SELECT event_id, received_at, event_type FROM (@stored@)
    )
    AND event_id NOT IN (@gone@)
ORDER BY received_at, event_id
LIMIT {limit:UInt32}
@settings@
""",
)
"""The same of events that a client named, the first copy of each."""

SURPLUS_MADE: Final = made_of_parts(
    "ledger_surplus_made",
    """
SELECT toString(event_id) AS id, event_type, replaceOne(toString(received_at), ' ', 'T') AS received
FROM (@stored@)
WHERE NOT @is_named@
    AND (
        @halves@ NOT IN (SELECT id FROM (@made@))
        OR event_id IN (
            SELECT event_id FROM (@stored@) WHERE NOT @is_named@
            GROUP BY event_id HAVING count() > 1
        )
    )
ORDER BY event_id, received_at, event_type
LIMIT {limit:UInt32}
@settings@
""",
)
"""Stored events that nobody accepted in this hour, or that are stored twice."""

SURPLUS_NAMED: Final = made_of_parts(
    "ledger_surplus_named",
    """
SELECT toString(event_id) AS id, event_type, replaceOne(toString(received_at), ' ', 'T') AS received
FROM (@stored@)
WHERE @is_named@
    AND @slice@
    AND (event_id, received_at, event_type) NOT IN (
        SELECT event_id, received_at, event_type FROM (@keys@) WHERE NOT is_copy
    )
ORDER BY event_id, received_at, event_type
LIMIT {limit:UInt32}
@settings@
""",
)
"""The same of events that a client named."""

COPIES_OF: Final = made_of_parts(
    "ledger_copies_of",
    """
SELECT toString(event_id) AS id, event_type, replaceOne(toString(received_at), ' ', 'T') AS received
FROM events FINAL
WHERE tenant = {tenant:String}
    AND event_id IN {ids:Array(UUID)}
ORDER BY received_at, event_type
LIMIT 5000
""",
)
"""All rows of some events, in whatever hours."""

ENVELOPES_OF_NAMED: Final = made_of_parts(
    "ledger_envelopes_of_named",
    """
SELECT envelope_id, named, repeats, left_out
FROM accepted FINAL
WHERE tenant = {tenant:String}
    AND @hours@
    AND named > repeats + left_out
ORDER BY envelope_id
LIMIT 20
""",
)
"""Envelopes of an hour that held events that clients named and that were to be stored."""

ROLLUPS: Final = made_of_parts(
    "ledger_rollups",
    """
SELECT toUInt32(hour) AS hour, event_type, sum(raw) AS raw_events,
    if(sum(rolled) = raw_events, sum(answered), sum(rolled)) AS rolled_events
FROM (
    SELECT toStartOfHour(received_at) AS hour, event_type, count() AS raw,
        toUInt64(0) AS rolled, toUInt64(0) AS answered
    FROM (@stored@)
    GROUP BY hour, event_type
    UNION ALL
    SELECT start, counted.1, toUInt64(0), toUInt64(0), counted.2
    FROM rollup_spans FINAL
    ARRAY JOIN arrayZip(event_types, event_counts) AS counted
    WHERE tenant = {tenant:String}
        AND span_s = 3600
        AND @starts@
    UNION ALL
    SELECT hour, event_type, toUInt64(0), event_count, toUInt64(0)
    FROM (
        SELECT hour, event_type, event_count,
            computed_at = max(computed_at) OVER (PARTITION BY hour) AS is_latest
        FROM rollups FINAL
        WHERE tenant = {tenant:String}
            AND @hours@
    )
    WHERE is_latest AND event_type != ''
)
GROUP BY hour, event_type
HAVING raw_events != rolled_events
ORDER BY hour, event_type
LIMIT {limit:UInt32}
@settings@
""",
)
"""Hours and types of which ``rollups``, or the spans that stats are answered from, do not say what
the events do."""

LEDGER_QUERIES: Final = (
    ACCEPTED,
    STORED,
    DEAD,
    ERASED,
    KEY_COUNT,
    KEYS,
    NOTED_COPIES,
    FATES,
    FATES_ELSEWHERE,
    WITHOUT_FATE,
    FATES_WITHOUT_EVENT,
    MISSING_MADE,
    MISSING_NAMED,
    SURPLUS_MADE,
    SURPLUS_NAMED,
    COPIES_OF,
    ENVELOPES_OF_NAMED,
    ROLLUPS,
)
