"""Statements that find and delete what is held of people, and the ones that give it out.

No statement names a person: who is meant is a set of digests (``sluice.core.erasures``), so that
neither a query log nor a list of mutations keeps who was erased. ``@theirs@`` stands for a set: the
digests that a run noted (``erase``), or those of a parameter (``data-request``).

Whose an event is: its ``user_id`` is meant, or it is filed under ``anon_<id>`` of a visitor that is
the person's alone. A visitor's id is the ``anonymous_id`` of an event, of Shopify also the checkout
token (as in the view ``identities``); it is a person's alone if every event that has it and is not
filed under ``anon_`` is theirs. Where a shop asked, an event of Shopify is theirs too that names
their e-mail, customer id or order, and all are that came from an erased shop.
"""

from typing import Final

from sluice.core.erasures import CUSTOMER_EVENTS, ORDER_EVENTS, ORDER_USER
from sluice.warehouse.queries import Query


def digest_sql(what: str, value: str, tenant: str = "tenant") -> str:
    """Return the expression of a value's digest (``sluice.core.erasures.digest_of``)."""
    return rf"lower(hex(SHA256(concat({tenant}, '\0{what}\0', {value}))))"


def _quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _text(*path: str) -> str:
    return f"trim(JSONExtractString(@payload@, {_quoted(path)}))"


def _number(*path: str) -> str:
    return f"trim(BOTH '\"' FROM JSONExtractRaw(@payload@, {_quoted(path)}))"


_SAID: Final = {
    "email": [_text("email"), _text("customer", "email"), _text("contact_email"),
              _text("email_address")],
    "customer": [_number("customer_id"), _number("customer", "id"),
                 f"if(@type@ IN ({_quoted(CUSTOMER_EVENTS)}), {_number('id')}, '')", "@user@"],
    "order": [_number("order_id"), _number("order_edit", "order_id"),
              f"if(@type@ IN ({_quoted(ORDER_EVENTS)}), {_number('id')}, '')",
              f"if(startsWith(@user@, '{ORDER_USER}'),"
              f" substring(@user@, {len(ORDER_USER) + 1}), '')"],
    "shop": ["lower(JSONExtractString(@payload@, 'shopify', 'shop_domain'))"],
}  # fmt: skip
"""As ``sluice.core.erasures.said_by_shopify``; an empty text is nobody's."""

_SHOPIFY: Final = " OR ".join(
    f"({digest_sql(what, value)} IN @theirs@)" for what, values in _SAID.items() for value in values
)
_IS_THEIRS: Final = f"""(({digest_sql("user", "@user@")} IN @theirs@)
        OR (@with_shopify@ AND @source@ = 'shopify' AND ({_SHOPIFY})))"""

EVENT: Final = {
    "user": "events.user_id",
    "source": "source",
    "type": "event_type",
    "payload": "payload",
}
LETTER: Final = {
    "user": "JSONExtractString(row, 'user_id')",
    "source": "JSONExtractString(row, 'source')",
    "type": "JSONExtractString(row, 'event_type')",
    # A payload with a line feed in it travels as a text.
    "payload": "if(JSONType(row, 'payload') = 'String', JSONExtractString(row, 'payload'),"
    " JSONExtractRaw(row, 'payload'))",
}

_NOTED: Final = """(
        SELECT digest FROM erasures
        WHERE tenant = {tenant:String} AND run_id = {run_id:String})"""
GIVEN: Final = "{digests:Array(String)}"
_CUT_OFF: Final = "toDateTime64({cut_off:String}, 6, 'UTC')"
_TARGETS: Final = """(
        SELECT event_id FROM erasure_targets
        WHERE tenant = {tenant:String} AND run_id = {run_id:String})"""


def _filled(sql: str, parts: dict[str, str]) -> str:
    for name, text in parts.items():
        sql = sql.replace(f"@{name}@", text)
    return sql


def whose(fields: dict[str, str], theirs: str) -> str:
    """Return the condition of a record being theirs.

    Args:
        fields: Where it has what is looked at: ``EVENT`` or ``LETTER``.
        theirs: The set of digests.
    """
    with_shopify = {"with_shopify": "{with_shopify:Bool}", "theirs": theirs}
    return _filled(_IS_THEIRS, {**fields, **with_shopify})


NOTED: Final = Query(
    "erasures_noted",
    """
SELECT tenant, what, digest, replaceOne(toString(cut_off), ' ', 'T'), toUnixTimestamp(noted_at)
FROM erasures
WHERE noted_at >= toDateTime64({since:UInt32}, 6, 'UTC')
SETTINGS use_query_condition_cache = 0
""",
)
"""Everybody's erasures, for the workers."""

_VISITORS: Final = """
    SELECT arrayJoin(arrayDistinct(arrayFilter(one -> one != '', [
            events.anonymous_id,
            if(source = 'shopify', JSONExtractString(payload, 'checkout_token'), '')
        ]))) AS token,
        @is_theirs@ AS is_theirs
    FROM events
    WHERE tenant = {tenant:String}
        AND (source = 'shopify' OR events.anonymous_id != '')
        AND NOT startsWith(events.user_id, 'anon_')
"""

VISITORS_OF: Final = _filled(
    """
    SELECT @digest@ AS found
    FROM (@visitors@)
    GROUP BY token
    HAVING min(is_theirs) = 1
""",
    {
        "digest": digest_sql("user", "concat('anon_', token)", "{tenant:String}"),
        "visitors": _VISITORS,
        "is_theirs": whose(EVENT, "@theirs@"),
    },
)
"""The digests of visitors that are theirs alone; ``@theirs@`` is still to be filled."""

NOTE_VISITORS: Final = Query(
    "erase_note_visitors",
    _filled(
        """
INSERT INTO erasures (tenant, run_id, what, digest, cut_off)
SELECT {tenant:String}, {run_id:String}, 'user', found, @cut_off@
FROM (@visitors@)
WHERE found NOT IN @noted@
""",
        {
            "visitors": VISITORS_OF.replace("@theirs@", _NOTED),
            "cut_off": _CUT_OFF,
            "noted": _NOTED,
        },
    ),
)
"""Note the visitors that are theirs alone and not noted yet."""

SHARED_VISITORS: Final = Query(
    "erase_shared_visitors",
    _filled(
        """
SELECT count() AS found
FROM (
    SELECT token FROM (@visitors@) GROUP BY token HAVING max(is_theirs) = 1 AND min(is_theirs) = 0
)
""",
        {"visitors": _VISITORS, "is_theirs": whose(EVENT, _NOTED)},
    ),
)
"""How many visitors' ids are theirs and somebody else's too, so that their events stay."""

NOTED_DIGESTS: Final = Query(
    "erase_noted_digests",
    """
SELECT count(DISTINCT digest) AS found FROM erasures
WHERE tenant = {tenant:String} AND run_id = {run_id:String}
""",
)

USERS_ALONE: Final = Query(
    "erase_users_alone",
    _filled(
        """
SELECT user_id AS found, @digest@ AS digest
FROM events
WHERE tenant = {tenant:String}
    AND user_id IN (
        SELECT user_id FROM events WHERE tenant = {tenant:String} AND @is_theirs@)
    AND digest > {after:String}
GROUP BY tenant, user_id
HAVING min(@is_theirs@) = 1
ORDER BY digest
LIMIT {limit:UInt32}
""",
        {"is_theirs": whose(EVENT, _NOTED), "digest": digest_sql("user", "events.user_id")},
    ),
)
"""The user ids under which nothing but theirs is filed: whom Amplitude may be asked to delete."""

_EVENTS_WHERE: Final = _filled(
    """tenant = {tenant:String}
    AND received_at < @cut_off@
    AND @is_theirs@""",
    {"is_theirs": whose(EVENT, _NOTED), "cut_off": _CUT_OFF},
)
_BY_EVENT: Final = _filled(
    """tenant = {tenant:String}
    AND received_at < @cut_off@
    AND event_id IN @targets@""",
    {"cut_off": _CUT_OFF, "targets": _TARGETS},
)
_LETTERS_WHERE: Final = _filled(
    """tenant = {tenant:String}
    AND parseDateTime64BestEffortOrZero(JSONExtractString(row, 'received_at'), 6, 'UTC') < @cut_off@
    AND (@is_theirs@ OR toUUIDOrZero(JSONExtractString(row, 'event_id')) IN @targets@)""",
    {"is_theirs": whose(LETTER, _NOTED), "cut_off": _CUT_OFF, "targets": _TARGETS},
)
_ERRORS_WHERE: Final = _filled(
    """tenant = {tenant:String}
    AND ts < @cut_off@
    AND (@digest@ IN @noted@ OR toUUIDOrZero(ifNull(event_id, '')) IN @targets@)""",
    {
        "digest": digest_sql("user", "ifNull(user_id, '')"),
        "noted": _NOTED,
        "cut_off": _CUT_OFF,
        "targets": _TARGETS,
    },
)
_TRAITS_WHERE: Final = _filled(
    """tenant = {tenant:String}
    AND tupleElement(latest, 2) < @cut_off@
    AND @digest@ IN @noted@""",
    {"digest": digest_sql("user", "user_id"), "noted": _NOTED, "cut_off": _CUT_OFF},
)

_RUNS_WHERE: Final = _filled(
    r"""tenant = {tenant:String}
    AND type NOT IN ('erase', 'data-request')
    AND created_at < toDateTime64({cut_off:String}, 6, 'UTC')
    AND run_id IN (
        SELECT run_id FROM workflow_runs
        WHERE tenant = {tenant:String} AND state IN ('succeeded', 'failed', 'canceled'))
    AND hasAny(
        arrayMap(one -> @digest@, arrayConcat(
            tupleElement(JSONExtractKeysAndValues(inputs, 'String'), 2),
            arrayFlatten(arrayMap(
                text -> splitByRegexp('[\\s,"]+', text),
                tupleElement(JSONExtractKeysAndValues(outputs, 'String'), 2))))),
        (SELECT groupArray(digest) FROM erasures
        WHERE tenant = {tenant:String} AND run_id = {run_id:String}))""",
    {"digest": digest_sql("user", "one", "{tenant:String}")},
)
"""Runs that have ended and name them as an input, or in a text of their outputs, such as a short
list of a cohort's members."""

PLACES: Final[dict[str, tuple[str, str]]] = {
    "events": (_EVENTS_WHERE, "toStartOfHour(received_at), event_type, event_id"),
    "event_keys": (_BY_EVENT, "event_id, received_at, event_type"),
    "event_duplicates": (_BY_EVENT, "hour, event_type, event_id, received_at"),
    "outcomes": (_BY_EVENT, "event_id, destination"),
    "user_traits": (_TRAITS_WHERE, "user_id, is_trait, trait"),
    "errors": (_ERRORS_WHERE, "error_id"),
    "dead_letters": (_LETTERS_WHERE, "destination, letter_id"),
    "workflow_runs": (_RUNS_WHERE, "run_id"),
}
"""The tables that hold something of people: which rows are theirs, and what makes one of copies
that are not merged yet."""

_OLD_ROLLUPS: Final = """tenant = {tenant:String}
    AND computed_at < toDateTime64({computed_at:String}, 6, 'UTC')
    AND hour IN (
        SELECT toStartOfHour(received_at) FROM erasure_targets
        WHERE tenant = {tenant:String} AND run_id = {run_id:String})"""
_OLD_SPANS: Final = """tenant = {tenant:String}
    AND computed_at < toDateTime64({computed_at:String}, 6, 'UTC')
    AND ((span_s <= 3600 AND toStartOfHour(start) IN (
            SELECT toStartOfHour(received_at) FROM erasure_targets
            WHERE tenant = {tenant:String} AND run_id = {run_id:String}))
        OR (span_s = 21600 AND start IN (
            SELECT toStartOfInterval(received_at, INTERVAL 6 HOUR) FROM erasure_targets
            WHERE tenant = {tenant:String} AND run_id = {run_id:String}))
        OR (span_s = 86400 AND start IN (
            SELECT toStartOfDay(received_at) FROM erasure_targets
            WHERE tenant = {tenant:String} AND run_id = {run_id:String})))"""
OLD_COUNTS: Final = {"rollups": _OLD_ROLLUPS, "rollup_spans": _OLD_SPANS}
"""The counts from before, which still knew of them."""

_WHERE: Final = {table: where for table, (where, _) in PLACES.items()} | OLD_COUNTS

COUNTS: Final = {
    table: Query(
        f"erase_count_{table}",
        f"SELECT uniqExact({key}) AS found FROM {table} WHERE {where}",  # noqa: S608 - ours
    )
    for table, (where, key) in PLACES.items()
}
"""How many there are, each once."""

STORED: Final = {
    table: Query(
        f"erase_stored_{table}",
        f"SELECT count() AS found FROM {table} WHERE {where}",  # noqa: S608 - ours
    )
    for table, where in _WHERE.items()
}
"""How many rows are stored, copies that are not merged yet and all."""

DELETES: Final = {
    # A mutation and no lightweight DELETE: this one rewrites the parts, so that the rows leave the
    # disk and are not only hidden until some merge.
    table: Query(f"erase_delete_{table}", f"ALTER TABLE {table} DELETE WHERE {where}")
    for table, where in _WHERE.items()
} | {
    # That it ran stays; whom it was about goes.
    "workflow_runs": Query(
        "erase_blank_workflow_runs",
        """
ALTER TABLE workflow_runs
UPDATE inputs = '{"erased":true}', outputs = '{"erased":true}', program = '', error_message = ''
WHERE @where@
""".replace("@where@", _RUNS_WHERE),
    )
}

SHOPLESS: Final = Query(
    "erase_shopless",
    _filled(
        """
SELECT uniqExact(@key@) AS found FROM events
WHERE tenant = {tenant:String}
    AND source = 'shopify'
    AND received_at < @cut_off@
    AND JSONExtractString(payload, 'shopify', 'shop_domain') = ''
    AND NOT @is_theirs@
""",
        {
            "key": PLACES["events"][1],
            "is_theirs": whose(EVENT, _NOTED),
            "cut_off": _CUT_OFF,
        },
    ),
)
"""How many events of Shopify say no shop and so stay, whichever shop is erased."""

IDENTITIES_LEFT: Final = Query(
    "erase_identities_left",
    _filled(
        """
SELECT count() AS found FROM identities
WHERE tenant = {tenant:String}
    AND first_seen_at < @cut_off@
    AND @digest@ IN @noted@
""",
        {"digest": digest_sql("user", "user_id"), "noted": _NOTED, "cut_off": _CUT_OFF},
    ),
)
"""What the view of identities still says of them."""

MUTATIONS: Final = Query(
    "erase_mutations",
    """
SELECT table, latest_fail_reason FROM system.mutations
WHERE database = currentDatabase()
    AND NOT is_done
    AND position(command, {run_id:String}) > 0
""",
)
"""Deletions of a run that are under way."""

AIM: Final = Query(
    "erase_aim",
    """
INSERT INTO erasure_targets (tenant, run_id, event_id, received_at)
SELECT {tenant:String}, {run_id:String}, event_id, received_at FROM events
WHERE @events@
UNION ALL
SELECT {tenant:String}, {run_id:String},
    toUUIDOrZero(JSONExtractString(row, 'event_id')) AS event_id,
    parseDateTime64BestEffortOrZero(JSONExtractString(row, 'received_at'), 6, 'UTC')
FROM dead_letters
WHERE @letters@
    AND event_id != toUUID('00000000-0000-0000-0000-000000000000')
""".replace("@events@", _EVENTS_WHERE).replace("@letters@", _LETTERS_WHERE),
)
"""Note the ids of what is to be deleted, by which it is found in tables that name no person."""

NOTE_GONE: Final = Query(
    "erase_note_gone",
    """
INSERT INTO accepted_erased (tenant, event_id, received_at, run_id)
SELECT DISTINCT tenant, event_id, received_at, {run_id:String} FROM erasure_targets
WHERE tenant = {tenant:String} AND run_id = {run_id:String}
UNION DISTINCT
SELECT tenant, event_id, received_at, {run_id:String} FROM event_duplicates
WHERE @by_event@
""".replace("@by_event@", _BY_EVENT),
)
"""Say to the ledger which accepted events go: those that are stored, and their stored copies that
were deleted before."""

FORGET_AIM: Final = Query(
    "erase_forget_aim",
    """
ALTER TABLE erasure_targets DELETE
WHERE tenant = {tenant:String} AND run_id = {run_id:String}
""",
)

HOURS: Final = Query(
    "erase_hours",
    """
SELECT DISTINCT formatDateTime(toStartOfHour(received_at), '%Y-%m-%dT%H', 'UTC') AS found
FROM erasure_targets
WHERE tenant = {tenant:String} AND run_id = {run_id:String}
ORDER BY found
""",
)
"""The hours whose rollups change, ``YYYY-MM-DDTHH``."""

FILES_OF_RUNS: Final = Query(
    "erase_files_of_runs",
    """
SELECT DISTINCT run_id AS found FROM workflow_runs
WHERE tenant = {tenant:String}
    AND type = 'data-request'
    AND hasAny(JSONExtract(outputs, 'digests', 'Array(String)'), (
        SELECT groupArray(digest) FROM erasures
        WHERE tenant = {tenant:String} AND run_id = {run_id:String}))
""",
)
"""Earlier runs that collected what is held of them: their files go too."""

_NAMING_ROWS: Final = """state IN ('scheduled', 'started', 'in progress', 'stopping')
    AND type IN ('erase', 'data-request')
    AND (tenant, run_id) IN (
        SELECT tenant, run_id FROM workflow_runs
        WHERE type IN ('erase', 'data-request') AND state IN ('succeeded', 'failed', 'canceled'))"""
"""Rows from before the end of runs that have ended: these still name people, unlike the last."""

NAMING_ROWS: Final = Query(
    "runs_naming_rows",
    f"SELECT count() FROM workflow_runs WHERE {_NAMING_ROWS}",  # noqa: S608 - ours
)
FORGET_RUNS: Final = Query(
    "runs_forget_people", f"ALTER TABLE workflow_runs DELETE WHERE {_NAMING_ROWS}"
)
