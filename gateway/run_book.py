"""Runs as a tenant sees them: what the warehouse has, and what was asked here a moment ago.

The warehouse is asked first about the runs that are remembered here; those that it does not show
yet are then left out of what it is asked next, and added from memory. So a run is shown once, by
whichever knows more of it, whatever arrives in between.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec

from gateway.core.runs_memory import RecentRuns, merge
from gateway.core.runs_query import matches
from gateway.core.runs_times import millis_of
from gateway.run_reads import RunReads
from sluice.core.errors import WarehouseError
from sluice.core.run_filters import Position, RunFilters
from sluice.core.run_tasks import RunTask
from sluice.core.tenant import Tenant
from sluice.workflows.catalogue import Catalogue
from sluice.workflows.core.runs import RUN_ID, Run, letters_of, version_id

MAX_VERSIONS: Final = 10_000
LOOK_S: Final = 0.05
IDEMPOTENT_FOR_S: Final = 86_400
"""How long the same Idempotency-Key means the same run."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, newest first."""

    runs: list[Run]
    behind: Position | None
    """Where the next page begins; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBook:
    """Looks runs up; raises ``WarehouseError`` where ClickHouse fails."""

    reads: RunReads
    recent: RecentRuns
    catalogue: Catalogue
    now: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic
    _versions: OrderedDict[tuple[str, str, str], str] = field(default_factory=OrderedDict)

    async def page(
        self, tenant: str, filters: RunFilters, *, before: Position | None, limit: int
    ) -> Page:
        """Return the runs behind a position."""
        recent = await self._recent(tenant)
        shown = [
            run
            for run in recent
            if matches(run, filters) and (before is None or _is_behind(run, before))
        ]
        stored = await self.reads.page(
            tenant,
            filters,
            before=before,
            without=[run.run_id for run in recent],
            limit=limit + 1,
        )
        runs = merge(stored, shown, limit + 1)
        if len(runs) <= limit:
            return Page(runs, None)
        last = runs[limit - 1]
        return Page(runs[:limit], Position(millis_of(last.created_at), last.run_id))

    async def total(self, tenant: str, filters: RunFilters) -> int:
        """Return how many runs there are in all."""
        recent = await self._recent(tenant)
        stored = await self.reads.total(tenant, filters, without=[run.run_id for run in recent])
        return stored + sum(matches(run, filters) for run in recent)

    async def find(self, tenant: str, run_id: str) -> Run | None:
        """Return a run with inputs and outputs; None where the tenant has none with this id."""
        if not RUN_ID.fullmatch(run_id):
            return None
        stored = await self.reads.by_ids(tenant, [run_id])
        shown = self.recent.settle(tenant, [run_id], stored)
        return shown[0] if shown else stored.get(run_id)

    async def begun(self, run: Run, *, within_s: float) -> Run:
        """Return a run that was scheduled as soon as the warehouse has it in another state.

        After a time it is still ``scheduled``, or ``started`` where a worker may have begun it.
        """
        deadline = self.monotonic() + within_s
        try:
            while self.monotonic() < deadline:
                stored = (await self.reads.by_ids(run.tenant, [run.run_id])).get(run.run_id)
                if stored is not None and stored.state != "scheduled":
                    return stored
                await asyncio.sleep(LOOK_S)
            may_have_begun = await self.reads.is_claimed(run.tenant, run.run_id)
        except WarehouseError:
            may_have_begun = True
        return msgspec.structs.replace(run, state="started") if may_have_begun else run

    async def find_request(self, tenant: str, request_key: str) -> Run | None:
        """Return the run that the same request began, within 24 hours."""
        since_ms = int(self.now().timestamp() - IDEMPOTENT_FOR_S) * 1000
        known = self.recent.find(
            tenant,
            lambda run: run.request_key == request_key and millis_of(run.created_at) >= since_ms,
        ) or await self.reads.by_key(tenant, request_key, since_ms=since_ms)
        return (known and await self.find(tenant, known.run_id)) or known

    async def live(self, tenant: str, config_id: str) -> list[str]:
        """Return the runs of a configuration that go on, those on their way to the queue too."""
        recent = await self._recent(tenant)
        stored = await self.reads.live(tenant, config_id)
        over = {run.run_id for run in recent if run.state == "canceled"}
        return sorted({*stored, *self.recent.live(tenant, config_id)} - over)

    async def tasks(self, run: Run) -> list[RunTask]:
        """Return the visits of a run's steps."""
        return await self.reads.tasks(run.tenant, run.run_id)

    async def current_version(self, tenant: Tenant, run: Run) -> str:
        """Return the version of a run's configuration now; that of its start where it is gone."""
        config = tenant.workflows.get(run.config_id)
        if config is None:
            return run.launched_version
        entry = await self.catalogue.entry(tenant.slug, config)
        if run.launched_version.endswith(f"-{letters_of(entry.digest, 6)}"):
            return run.launched_version
        return self.version_of(tenant.slug, run.config_id, entry.digest)

    def version_of(self, tenant: str, config_id: str, digest: str) -> str:
        """Return the version of a configuration: when it was first seen so here, and its digest."""
        key = (tenant, config_id, digest)
        version = self._versions.get(key)
        if version is None:
            version = self._versions[key] = version_id(self.now(), digest)
            while len(self._versions) > MAX_VERSIONS:
                self._versions.popitem(last=False)
        return version

    async def _recent(self, tenant: str) -> list[Run]:
        asked = self.recent.ids(tenant)
        if not asked:
            return []
        return self.recent.settle(tenant, asked, await self.reads.by_ids(tenant, asked))


def _is_behind(run: Run, position: Position) -> bool:
    return (millis_of(run.created_at), run.run_id) < (position.created_ms, position.run_id)
