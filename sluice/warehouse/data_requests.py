"""Statements that give out what is held of a person; whose a record is, ``erasures`` says."""

from typing import Final

from sluice.warehouse.erasures import EVENT, GIVEN, LETTER, VISITORS_OF, digest_sql, whose
from sluice.warehouse.queries import Query

_SETTINGS: Final = """
SETTINGS output_format_json_escape_forward_slashes = 0,
    output_format_json_quote_64bit_integers = 0
"""
_PARTS: Final = {
    "is_theirs": whose(EVENT, GIVEN),
    "letter_is_theirs": whose(LETTER, GIVEN),
    "user": digest_sql("user", "ifNull(user_id, '')"),
    "given": GIVEN,
}


def _query(name: str, sql: str) -> Query:
    for part, text in _PARTS.items():
        sql = sql.replace(f"@{part}@", text)
    return Query(name, sql + _SETTINGS)


BEING_ERASED: Final = _query(
    "data_request_being_erased",
    """
SELECT count() AS found FROM erasures
WHERE tenant = {tenant:String}
    AND digest IN @given@
    AND (noted_at >= toDateTime64({since:String}, 6, 'UTC') OR run_id IN (
        SELECT run_id FROM workflow_runs
        WHERE tenant = {tenant:String} AND type = 'erase'
        GROUP BY run_id
        HAVING argMax(state, version) IN ('scheduled', 'started', 'in progress', 'stopping')
    ))
""",
)
"""Whether somebody is being erased, or was since a moment: then what was collected may not stay."""

VISITORS: Final = _query("data_request_visitors", VISITORS_OF.replace("@theirs@", GIVEN))
"""The digests of visitors that are theirs alone."""

RECORDS: Final = {
    "identities": _query(
        "data_request_identities",
        """
SELECT 'identities' AS table, anonymous_id, anonymous_user_id, user_id, first_seen_at, last_seen_at
FROM identities
WHERE tenant = {tenant:String} AND @user@ IN @given@
ORDER BY anonymous_id
""",
    ),
    "users": _query(
        "data_request_users",
        """
SELECT 'users' AS table, user_id, traits, first_identified_at, last_identified_at
FROM users
WHERE tenant = {tenant:String} AND @user@ IN @given@
ORDER BY user_id
""",
    ),
    "events": _query(
        "data_request_events",
        """
SELECT 'events' AS table, event_id, user_id, anonymous_id, event_type, occurred_at, received_at,
    source, payload
FROM events FINAL
WHERE tenant = {tenant:String}
    AND @is_theirs@
    AND (event_type, event_id, received_at) NOT IN (
        SELECT event_type, event_id, received_at FROM event_duplicates
        WHERE tenant = {tenant:String})
ORDER BY received_at, event_id
""",
    ),
    "outcomes": _query(
        "data_request_outcomes",
        """
SELECT 'outcomes' AS table, event_id, destination, outcome, reason, detail, at, received_at
FROM outcomes FINAL
WHERE tenant = {tenant:String}
    AND event_id IN (
        SELECT event_id FROM events WHERE tenant = {tenant:String} AND @is_theirs@)
ORDER BY received_at, event_id, destination
""",
    ),
    "dead_letters": _query(
        "data_request_dead_letters",
        """
SELECT 'dead_letters' AS table, destination, letter_id, dead_at, reason, error_type, row
FROM dead_letters FINAL
WHERE tenant = {tenant:String} AND @letter_is_theirs@
ORDER BY dead_at, letter_id
""",
    ),
    "errors": _query(
        "data_request_errors",
        """
SELECT 'errors' AS table, error_id, ts, source, error_type, detail, event_index, event_id,
    event_type, user_id, request_id, occurrences
FROM errors FINAL
WHERE tenant = {tenant:String} AND @user@ IN @given@
ORDER BY ts, error_id
""",
    ),
}
"""By the table that they say they are of; each event once, as the totals count it."""
