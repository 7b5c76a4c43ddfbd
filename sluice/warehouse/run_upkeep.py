"""Statements of the hosts of workflow runs, by name. They concern all tenants.

Which runs a statement is about comes as the external table ``wanted(tenant, run_id)``. Each run's
id holds its second of creation, so ``earliest`` and ``latest`` bound what is read.
"""

from typing import Final

from sluice.warehouse.queries import Query

WANTED: Final = "tenant String, run_id String"
"""Structure of the external table ``wanted``."""
LIVE_DAYS: Final = 60
"""No run lives longer; what is older is not looked at."""

RUN_COLUMNS: Final = (
    *("tenant", "run_id", "config_id", "type", "name", "workflow_id", "source", "state"),
    *("created_at", "ended_at", "error_attribution", "error_type", "error_message"),
    *("principal_id", "principal_name", "principal_email", "launched_version", "run_mode"),
    *("range_from", "range_to", "inputs", "outputs", "request_key", "request_digest", "due_at"),
    *("has_retry", "program", "resume_at", "epoch", "seq"),
)
_TIMES: Final = frozenset(
    {"created_at", "ended_at", "range_from", "range_to", "due_at", "resume_at"}
)
_SELECTED: Final = ", ".join(
    f"replaceOne(toString(runs.{name}), ' ', 'T')" if name in _TIMES else f"runs.{name}"
    for name in RUN_COLUMNS
)
_LIVE: Final = "('scheduled', 'started', 'in progress', 'stopping')"
_AMONG_WANTED: Final = """(tenant, run_id) IN (SELECT tenant, run_id FROM wanted)
    AND created_at >= toDateTime64({earliest:UInt32}, 3, 'UTC')
    AND created_at <= toDateTime64({latest:UInt32}, 3, 'UTC')"""

_PARTS: Final = {
    "<days>": str(LIVE_DAYS),
    "<live>": _LIVE,
    "<among>": _AMONG_WANTED,
    "<columns>": _SELECTED,
}


def _filled(sql: str) -> str:
    """Return a statement with the parts that several share."""
    for name, part in _PARTS.items():
        sql = sql.replace(name, part)
    return sql


LIVE_RUNS: Final = Query(
    "live_runs",
    _filled("""
SELECT tenant, run_id, argMax(state, version) AS newest
FROM workflow_runs
WHERE created_at >= now64(3) - INTERVAL <days> DAY
GROUP BY tenant, created_at, run_id
HAVING newest IN <live>
ORDER BY row_number() OVER (PARTITION BY tenant ORDER BY created_at, run_id), created_at, run_id
LIMIT {limit:UInt32}
"""),
)
"""Runs that have not ended: each tenant's oldest, then each one's second, and so on."""

LIVE_AMONG: Final = Query(
    "live_runs_among",
    _filled("""
SELECT tenant, run_id, argMax(state, version) AS newest
FROM workflow_runs
WHERE <among>
GROUP BY tenant, created_at, run_id
HAVING newest IN <live>
"""),
)

RUN_ROWS: Final = Query(
    "run_rows",
    _filled("""
SELECT <columns>
FROM workflow_runs AS runs
WHERE <among>
ORDER BY runs.version DESC
LIMIT 1 BY runs.tenant, runs.run_id
"""),
)
"""The newest rows of runs, in the order of ``RUN_COLUMNS``."""

CLAIMS: Final = Query(
    "run_claims",
    """
SELECT tenant, run_id, epoch, host_id, max(is_yielded)
FROM workflow_claims
WHERE (tenant, run_id) IN (SELECT tenant, run_id FROM wanted)
GROUP BY tenant, run_id, epoch, host_id
""",
)
"""Everybody who ever claimed the runs, and whether they yielded."""

HOSTS: Final = Query(
    "run_hosts",
    """
SELECT host_id, dateDiff('millisecond', max(heartbeat_at), now64(6)),
    argMax(is_stopped, heartbeat_at)
FROM workflow_hosts
GROUP BY host_id
""",
)
"""Milliseconds since each host's last sign, and whether that was its farewell."""

STOPS: Final = Query(
    "run_stops",
    """
SELECT DISTINCT tenant, run_id
FROM workflow_stops
WHERE (tenant, run_id) IN (SELECT tenant, run_id FROM wanted)
""",
)

SAME_REQUESTS: Final = Query(
    "runs_of_same_requests",
    """
SELECT tenant, request_key,
    arrayMap(one -> one.2, arraySort(groupUniqArray(1000)((created_at, run_id))))
FROM workflow_runs
WHERE (tenant, request_key) IN (SELECT tenant, run_id FROM wanted)
    AND created_at >= now64(3) - INTERVAL {days:UInt32} DAY
    AND (tenant, run_id) NOT IN (
        SELECT tenant, run_id FROM workflow_runs
        WHERE error_type = {duplicate:String}
            AND created_at >= now64(3) - INTERVAL {days:UInt32} DAY
    )
GROUP BY tenant, request_key
""",
)
"""The runs of each request, the first one first; the keys stand in the place of ``run_id``."""

DOCUMENT_TEXTS: Final = Query(
    "workflow_document_texts",
    "SELECT DISTINCT name, text FROM workflow_documents WHERE digest = {digest:String}",
)

SCHEDULES: Final = Query(
    "workflow_schedules",
    """
SELECT tenant, config_id, schedule, toUnixTimestamp64Milli(max(seen_at))
FROM workflow_schedules
GROUP BY tenant, config_id, schedule
""",
)
"""Since when each schedule is known, or the last time that was run."""

SCHEDULED_RUNS: Final = Query(
    "scheduled_runs",
    _filled("""
SELECT tenant, config_id, toUnixTimestamp64Milli(max(created_at))
FROM workflow_runs
WHERE source = 'schedule' AND created_at >= now64(3) - INTERVAL <days> DAY
GROUP BY tenant, config_id
"""),
)
"""When each configuration was last run by its schedule."""

LIVE_OF_CONFIG: Final = Query(
    "live_runs_of_config",
    _filled("""
SELECT count()
FROM (
    SELECT argMax(state, version) AS newest
    FROM workflow_runs
    WHERE tenant = {tenant:String} AND config_id = {config_id:String}
        AND created_at >= now64(3) - INTERVAL <days> DAY
    GROUP BY created_at, run_id
    HAVING newest IN <live>
)
"""),
)

KEPT_AMONG: Final = Query(
    "kept_runs_among",
    """
SELECT DISTINCT tenant, run_id
FROM workflow_runs FINAL
WHERE (tenant, run_id) IN (SELECT tenant, run_id FROM wanted)
    AND created_at >= toDateTime64({earliest:UInt32}, 3, 'UTC')
    AND created_at <= toDateTime64({latest:UInt32}, 3, 'UTC')
    AND expires_at > now()
""",
)
"""Runs whose retention is not over."""
