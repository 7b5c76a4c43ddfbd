"""Runs as the warehouse has them, for one tenant at a time."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sluice.core.run_filters import FOREVER_MS, Position, RunFilters
from sluice.core.run_tasks import RunTask
from sluice.warehouse.client import External, Warehouse
from sluice.warehouse.queries import Query
from sluice.warehouse.run_queries import (
    LIVE_RUNS,
    RUN_BY_KEY,
    RUN_CLAIMED,
    RUN_PAGE,
    RUN_PAGE_BESIDE,
    RUN_TASKS,
    RUN_TOTAL,
    RUN_TOTAL_BESIDE,
    RUNS_BY_ID,
)
from sluice.workflows.core.runs import RUN_ID, Run

MAX_TASKS: Final = 10_000
"""Visits of steps that one run shows; no document has as many."""
MAX_LIVE: Final = 1_000
SLACK_MS: Final = 3_600_000
"""How far the time in an id may be from that of its run, which is made from the same clock."""

_RUN_FIELDS: Final = (
    "tenant",
    "run_id",
    "config_id",
    "type",
    "name",
    "workflow_id",
    "source",
    "state",
    "created_at",
    "ended_at",
    "error_attribution",
    "error_type",
    "error_message",
    "principal_id",
    "principal_name",
    "principal_email",
    "launched_version",
    "run_mode",
    "range_from",
    "range_to",
    "request_key",
    "request_digest",
    "due_at",
    "has_retry",
    "inputs",
    "outputs",
)
_TASK_FIELDS: Final = (
    "task_instance_id",
    "workflow_id",
    "step_id",
    "visit",
    "state",
    "execution_type",
    "created_at",
    "started_at",
    "ended_at",
    "state_changed_at",
    "timeout_ms",
    "error_attribution",
    "error_type",
    "error_message",
)


class RunReads:
    """Reads of runs; each raises ``WarehouseError`` where ClickHouse fails."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    async def page(
        self,
        tenant: str,
        filters: RunFilters,
        *,
        before: Position | None,
        without: Sequence[str],
        limit: int,
    ) -> list[Run]:
        """Return runs, newest first, with neither inputs nor outputs.

        Args:
            tenant: Whose runs.
            filters: Which of them.
            before: The run behind which they begin; None: with the newest.
            without: Runs that are left out.
            limit: How many at most.
        """
        start = before or Position(FOREVER_MS, "")
        rows = await self._fetch_beside(
            (RUN_PAGE, RUN_PAGE_BESIDE),
            without,
            tenant=tenant,
            before_ms=start.created_ms,
            before_id=start.run_id,
            limit=limit,
            **_bound(filters),
        )
        return [_run(row) for row in rows]

    async def total(self, tenant: str, filters: RunFilters, *, without: Sequence[str]) -> int:
        """Return how many runs there are, but for some."""
        rows = await self._fetch_beside(
            (RUN_TOTAL, RUN_TOTAL_BESIDE), without, tenant=tenant, **_bound(filters)
        )
        return int(rows[0][0])

    async def by_ids(self, tenant: str, run_ids: Sequence[str]) -> dict[str, Run]:
        """Return those runs that the warehouse has."""
        moments = [moment for moment in map(_moment_in, run_ids) if moment is not None]
        if not moments:
            return {}
        rows = await self._warehouse.fetch(
            RUNS_BY_ID,
            external=_ids("wanted", run_ids),
            tenant=tenant,
            created_from=min(moments) - SLACK_MS,
            created_to=max(moments) + SLACK_MS,
        )
        return {run.run_id: run for run in map(_run, rows)}

    async def by_key(self, tenant: str, request_key: str, *, since_ms: int) -> Run | None:
        """Return the first run that a request began since a moment."""
        rows = await self._warehouse.fetch(
            RUN_BY_KEY, tenant=tenant, request_key=request_key, created_from=since_ms
        )
        return _run(rows[0]) if rows else None

    async def live(self, tenant: str, config_id: str) -> list[str]:
        """Return the runs of a configuration that go on, oldest first."""
        rows = await self._warehouse.fetch(
            LIVE_RUNS, tenant=tenant, config_id=config_id, limit=MAX_LIVE
        )
        return [str(run_id) for (run_id,) in rows]

    async def is_claimed(self, tenant: str, run_id: str) -> bool:
        """Return whether a worker ever took a run, though it may have written nothing of it yet."""
        rows = await self._warehouse.fetch(RUN_CLAIMED, tenant=tenant, run_id=run_id)
        return bool(rows[0][0])

    async def tasks(self, tenant: str, run_id: str) -> list[RunTask]:
        """Return the visits of a run's steps, in order."""
        rows = await self._warehouse.fetch(RUN_TASKS, tenant=tenant, run_id=run_id, limit=MAX_TASKS)
        return [RunTask(**dict(zip(_TASK_FIELDS, row, strict=True))) for row in rows]

    async def _fetch_beside(
        self, queries: tuple[Query, Query], without: Sequence[str], **params: Any
    ) -> list[tuple[Any, ...]]:
        whole, beside = queries
        if not without:
            return await self._warehouse.fetch(whole, **params)
        return await self._warehouse.fetch(beside, external=_ids("recent", without), **params)


def _bound(filters: RunFilters) -> dict[str, Any]:
    return {
        "created_from": filters.created_from,
        "created_to": filters.created_to,
        "is_ended": int(filters.is_ended),
        "ended_from": filters.ended_from,
        "ended_to": filters.ended_to,
        "is_any_state": int(filters.states is None),
        "states": list(filters.states or ()),
        "type": filters.type or "",
    }


def _ids(name: str, run_ids: Sequence[str]) -> External:
    known = [run_id for run_id in run_ids if RUN_ID.fullmatch(run_id)]
    return External(name=name, structure="run_id String", data="\n".join(known).encode())


def _moment_in(run_id: str) -> int | None:
    """Return the milliseconds since 1970 that an id says; None for what is no id."""
    if not RUN_ID.fullmatch(run_id):
        return None
    _, day, second, _ = run_id.split("-")
    try:
        start = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(start.timestamp() + int(second)) * 1000


def _run(row: Sequence[Any]) -> Run:
    # A page has neither inputs nor outputs.
    return Run(**dict(zip(_RUN_FIELDS, row, strict=False)))
