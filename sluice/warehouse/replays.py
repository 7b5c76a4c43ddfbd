"""What a replay reads of ClickHouse: counts, events and dead letters by pages, earlier outcomes.

A page starts behind a key, not at an offset, so that the thousandth costs as much as the first and
a replay that was killed goes on where it was. Each statement binds the tenant, as in ``queries``.
"""

from typing import Final

from sluice.warehouse.queries import Query

# Written as @window@ and so on in the statements below.
_WINDOW: Final = """received_at >= toDateTime64({since:String}, 6, 'UTC')
        AND received_at < toDateTime64({until:String}, 6, 'UTC')"""
_TYPES: Final = """(empty({event_types:Array(String)})
            OR has({event_types:Array(String)}, event_type))"""

_EVENTS: Final = """
    FROM events FINAL
    WHERE tenant = {tenant:String}
        AND @window@
        AND @types@
        AND (event_type, event_id, received_at) NOT IN (
            SELECT event_type, event_id, received_at FROM event_duplicates
            WHERE tenant = {tenant:String}
                AND hour >= toStartOfHour(toDateTime64({since:String}, 6, 'UTC'))
                AND hour < toDateTime64({until:String}, 6, 'UTC')
        )
"""
"""Each event once, as the totals count it."""

_LETTERS: Final = """
    SELECT letter_id, row, toUUIDOrZero(JSONExtractString(row, 'event_id')) AS event_id,
        JSONExtractString(row, 'event_type') AS event_type,
        parseDateTime64BestEffortOrZero(JSONExtractString(row, 'received_at'), 6, 'UTC')
            AS received_at
    FROM dead_letters FINAL
    WHERE tenant = {tenant:String}
        AND destination = {destination:String}
"""


def _query(name: str, sql: str) -> Query:
    for part, text in _PARTS.items():
        sql = sql.replace(f"@{part}@", text)
    return Query(name, sql)


# The others are put into these two, and so come last.
_PARTS: Final = {"events": _EVENTS, "letters": _LETTERS, "window": _WINDOW, "types": _TYPES}

_COUNTS: Final = """
SELECT toUInt32(toStartOfHour(found.received_at)) AS hour, last.outcome AS outcome,
    count() AS events,
    countIf(last.outcome = 'delivered' AND last.at < now64(6) - INTERVAL 7 DAY) AS forgotten
FROM (@found@) AS found
LEFT JOIN (
    SELECT event_id, outcome, at FROM outcomes FINAL
    WHERE tenant = {tenant:String}
        AND destination = {destination:String}
        AND @window@
) AS last ON found.event_id = last.event_id
GROUP BY hour, outcome
ORDER BY hour, outcome
"""

EVENT_COUNTS: Final = _query(
    "replay_event_counts",
    _COUNTS.replace("@found@", "SELECT event_id, received_at @events@"),
)
"""How many events by hour and last outcome; ``forgotten``: delivered too long ago for Amplitude to
know them again."""

LETTER_COUNTS: Final = _query(
    "replay_letter_counts",
    _COUNTS.replace(
        "@found@",
        "SELECT event_id, received_at FROM (@letters@) WHERE @window@ AND @types@",
    ),
)
"""The same for events that the destination refused."""

EVENT_PAGE: Final = _query(
    "replay_event_page",
    """
SELECT toString(event_id) AS id, user_id, anonymous_id, event_type,
    replaceOne(toString(occurred_at), ' ', 'T') AS occurred,
    replaceOne(toString(received_at), ' ', 'T') AS received, source, payload
@events@
    AND (received_at, event_id)
        > (toDateTime64({after_at:String}, 6, 'UTC'), toUUID({after_id:String}))
ORDER BY received_at, event_id
LIMIT {limit:UInt32}
SETTINGS do_not_merge_across_partitions_select_final = 1,
    output_format_json_escape_forward_slashes = 0
""",
)
"""Events behind a key, oldest first."""

LETTER_PAGE: Final = _query(
    "replay_letter_page",
    """
SELECT toString(letter_id) AS id, replaceOne(toString(received_at), ' ', 'T') AS received, row
FROM (@letters@)
WHERE @window@
    AND @types@
    AND (received_at, letter_id)
        > (toDateTime64({after_at:String}, 6, 'UTC'), toUUID({after_id:String}))
ORDER BY received_at, letter_id
LIMIT {limit:UInt32}
SETTINGS output_format_json_escape_forward_slashes = 0
""",
)
"""Dead letters behind a key, in the order in which their events were received."""

DELIVERED_BEFORE: Final = _query(
    "replay_delivered_before",
    """
SELECT toString(event_id) FROM outcomes FINAL
WHERE tenant = {tenant:String}
    AND destination = {destination:String}
    AND outcome = 'delivered'
    AND event_id IN (SELECT event_id FROM wanted)
""",
)
"""Which events of the external table ``wanted(event_id)`` the destination has."""

LETTER_ROWS: Final = _query(
    "replay_letter_rows",
    """
SELECT toString(event_id), row FROM (@letters@)
WHERE event_id IN (SELECT event_id FROM wanted)
""",
)
"""The rows of the letters that there are of events in ``wanted(event_id)``."""

DELETE_DELIVERED_LETTERS: Final = _query(
    "replay_delete_delivered_letters",
    """
DELETE FROM dead_letters
WHERE tenant = {tenant:String}
    AND destination = {destination:String}
    AND toUUIDOrZero(JSONExtractString(row, 'event_id')) IN (
        SELECT event_id FROM outcomes FINAL
        WHERE tenant = {tenant:String}
            AND destination = {destination:String}
            AND outcome = 'delivered'
            AND event_id IN (
                SELECT toUUIDOrZero(JSONExtractString(row, 'event_id')) FROM dead_letters
                WHERE tenant = {tenant:String}
                    AND destination = {destination:String}
            )
    )
SETTINGS allow_nondeterministic_mutations = 1
""",
)
"""A letter leaves once its event's last outcome is ``delivered``."""

REPLAY_QUERIES: Final = (
    EVENT_COUNTS,
    LETTER_COUNTS,
    EVENT_PAGE,
    LETTER_PAGE,
    DELIVERED_BEFORE,
    LETTER_ROWS,
    DELETE_DELIVERED_LETTERS,
)
