"""Every SELECT of runs on behalf of a tenant, by name; as in ``queries``.

A run is as many rows as it had transitions, until ClickHouse merges them: ``FINAL`` takes the last.
"""

from typing import Final

from sluice.warehouse.queries import Query

_RUN_COLUMNS: Final = """
    tenant, run_id, config_id, type, name, workflow_id, source, state,
    replaceOne(toString(runs.created_at), ' ', 'T'),
    replaceOne(toString(runs.ended_at), ' ', 'T'),
    error_attribution, error_type, error_message, principal_id, principal_name, principal_email,
    launched_version, run_mode,
    replaceOne(toString(runs.range_from), ' ', 'T'), replaceOne(toString(runs.range_to), ' ', 'T'),
    request_key, request_digest, replaceOne(toString(runs.due_at), ' ', 'T'), has_retry"""

_SELECTED: Final = """
    AND created_at >= fromUnixTimestamp64Milli({created_from:Int64}, 'UTC')
    AND created_at < fromUnixTimestamp64Milli({created_to:Int64}, 'UTC')
    AND ({is_ended:UInt8} = 0
        OR ended_at >= fromUnixTimestamp64Milli({ended_from:Int64}, 'UTC')
        AND ended_at < fromUnixTimestamp64Milli({ended_to:Int64}, 'UTC'))
    AND ({is_any_state:UInt8} = 1 OR has({states:Array(String)}, state)
        OR has({states:Array(String)}, 'retrying') AND state = 'in progress' AND has_retry = 1)
    AND ({type:String} = '' OR lower(type) = {type:String})"""

_BESIDE: Final = """
    AND run_id NOT IN (SELECT run_id FROM recent)"""
_UNCACHED: Final = "SETTINGS use_query_condition_cache = 0\n"
"""The cache would take two external tables of one name for the same."""

_PAGE: Final = """
SELECT {columns}
FROM workflow_runs AS runs FINAL
WHERE tenant = {tenant:String}{selected}
    AND created_at <= fromUnixTimestamp64Milli({before_ms:Int64}, 'UTC')
    AND (created_at, run_id) < (fromUnixTimestamp64Milli({before_ms:Int64}, 'UTC'),
        {before_id:String}){beside}
ORDER BY runs.created_at DESC, runs.run_id DESC
LIMIT {limit:UInt32}
"""

_TOTAL: Final = """
SELECT count()
FROM workflow_runs AS runs FINAL
WHERE tenant = {tenant:String}{selected}{beside}
"""


def _made(text: str, beside: str = "") -> str:
    for name, part in (
        ("{columns}", _RUN_COLUMNS),
        ("{selected}", _SELECTED),
        ("{beside}", beside),
    ):
        text = text.replace(name, part)
    return text


RUN_PAGE: Final = Query("run_page", _made(_PAGE))
"""Runs behind a position, newest first."""

RUN_PAGE_BESIDE: Final = Query("run_page_beside", _made(_PAGE, _BESIDE) + _UNCACHED)
"""The same but for the runs of the external table ``recent``."""

RUN_TOTAL: Final = Query("run_total", _made(_TOTAL))
"""How many runs there are."""

RUN_TOTAL_BESIDE: Final = Query("run_total_beside", _made(_TOTAL, _BESIDE) + _UNCACHED)
"""The same but for the runs of the external table ``recent``."""

RUNS_BY_ID: Final = Query(
    "runs_by_id",
    _made("""
SELECT {columns}, inputs, outputs
FROM workflow_runs AS runs FINAL
WHERE tenant = {tenant:String}
    AND created_at >= fromUnixTimestamp64Milli({created_from:Int64}, 'UTC')
    AND created_at < fromUnixTimestamp64Milli({created_to:Int64}, 'UTC')
    AND run_id IN (SELECT run_id FROM wanted)
""")
    + _UNCACHED,
)
"""The runs of the external table ``wanted``, looked for where their ids say that they began."""

RUN_BY_KEY: Final = Query(
    "run_by_key",
    _made("""
SELECT {columns}, inputs, outputs
FROM workflow_runs AS runs FINAL
WHERE tenant = {tenant:String}
    AND created_at >= fromUnixTimestamp64Milli({created_from:Int64}, 'UTC')
    AND request_key = {request_key:String}
ORDER BY runs.created_at, runs.run_id
LIMIT 1
"""),
)
"""The first run that a request began, since a moment."""

LIVE_RUNS: Final = Query(
    "live_runs",
    """
SELECT run_id
FROM workflow_runs AS runs FINAL
WHERE tenant = {tenant:String}
    AND config_id = {config_id:String}
    AND state IN ('scheduled', 'started', 'in progress', 'stopping')
ORDER BY runs.created_at, run_id
LIMIT {limit:UInt32}
""",
)
"""Runs of a configuration that go on."""

RUN_CLAIMED: Final = Query(
    "run_claimed",
    """
SELECT count() > 0
FROM workflow_claims
WHERE tenant = {tenant:String}
    AND run_id = {run_id:String}
""",
)
"""Whether a worker took a run."""

RUN_TASKS: Final = Query(
    "run_tasks",
    """
SELECT task_instance_id, workflow_id, step_id, visit, state, execution_type,
    replaceOne(toString(tasks.created_at), ' ', 'T'),
    replaceOne(toString(tasks.started_at), ' ', 'T'),
    replaceOne(toString(tasks.ended_at), ' ', 'T'),
    replaceOne(toString(tasks.state_changed_at), ' ', 'T'),
    timeout_ms, error_attribution, error_type, error_message
FROM workflow_tasks AS tasks FINAL
WHERE tenant = {tenant:String}
    AND run_id = {run_id:String}
ORDER BY tasks.position, tasks.created_at, task_instance_id
LIMIT {limit:UInt32}
""",
)
"""The visits of a run's steps, in order."""

RUN_QUERIES: Final = (
    RUN_PAGE,
    RUN_PAGE_BESIDE,
    RUN_TOTAL,
    RUN_TOTAL_BESIDE,
    RUNS_BY_ID,
    RUN_BY_KEY,
    LIVE_RUNS,
    RUN_CLAIMED,
    RUN_TASKS,
)
