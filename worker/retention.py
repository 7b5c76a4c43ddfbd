"""Removes the events of tenants that keep them for a time only, and what belongs to them.

Looks now and then, at the start of a day in UTC for each tenant: what is older than its
``retention_days`` leaves the disk. Several workers that look at once order the same, which changes
nothing.

Hours are removed before their events, so that none is counted once more. One that was counted in
between, because of an event that came late, goes behind the events, and once more a while later,
when a count has ended that was under way.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sluice.core.errors import ConfigError, WarehouseError
from sluice.core.tenant import KEPT_FOR_GOOD, Tenant
from sluice.logs import get_logger
from sluice.telemetry import RETENTION_LAST_SUCCESS
from sluice.tenants import TenantsFile
from sluice.warehouse import retention
from sluice.warehouse.client import Warehouse
from worker.waiting import wait_for_event

LOOK_EVERY_S: Final = 3600.0
RETRY_S: Final = 60.0
AGAIN_AFTER_S: Final = 180.0
"""Longer than a count and the removal of events may take."""

log: Final = get_logger(__name__)


def cut_offs(tenants: Iterable[Tenant], *, now: datetime) -> dict[str, int]:
    """Return, for each tenant that does not keep all, the Unix time before which events go."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return {
        tenant.slug: max(0, int((day - timedelta(days=tenant.retention_days)).timestamp()))
        for tenant in tenants
        if tenant.retention_days < KEPT_FOR_GOOD
    }


class Retention:
    """Keeps to what the tenants file says, read anew at each look."""

    def __init__(
        self, warehouse: Warehouse, tenants_path: Path, *, again_after_s: float = AGAIN_AFTER_S
    ) -> None:
        self._again_after_s = again_after_s
        self._warehouse = warehouse
        self._tenants_path = tenants_path

    async def run(self, stop: asyncio.Event) -> None:
        """Look until ``stop``."""
        is_failing = False
        tables: Collection[str] = retention.OUTLIVED
        while not stop.is_set():
            pause_s = LOOK_EVERY_S
            try:
                removed = await self.remove(now=datetime.now(UTC), tables=tables)
                tables = retention.OUTLIVED
                if "events" in removed:
                    tables, pause_s = retention.COUNTED, self._again_after_s
            except (WarehouseError, ConfigError) as error:
                if not is_failing:
                    log.warning("What tenants keep no longer was not removed", detail=str(error))
                is_failing = True
                pause_s = RETRY_S
            else:
                RETENTION_LAST_SUCCESS.set(time.time())
                if is_failing:
                    log.info("What tenants keep no longer is removed again")
                is_failing = False
            await wait_for_event(stop, pause_s)

    async def remove(
        self, *, now: datetime, tables: Collection[str] = retention.OUTLIVED.keys()
    ) -> dict[str, int]:
        """Order the removal of what is too old; return how many rows of which tables.

        Args:
            now: What is too old goes by it.
            tables: Where to look.

        Raises:
            WarehouseError: Some of it was not ordered; call again.
            ConfigError: The tenants file cannot be read.
        """
        file = await asyncio.to_thread(TenantsFile, self._tenants_path)
        ends = cut_offs(file.directory.by_slug.values(), now=now)
        if not ends:
            return {}
        asked: dict[str, Any] = {"tenants": list(ends), "cut_offs": list(ends.values())}
        removed: Counter[str] = Counter()
        for table in tables:
            removed[table] += await self._remove_from(table, asked)
        if removed["events"]:
            for table in retention.COUNTED:
                removed[table] += await self._remove_from(table, asked)
        removed = +removed
        if removed:
            log.info("Rows that tenants keep no longer are removed", rows=dict(removed))
        return removed

    async def _remove_from(self, table: str, asked: Mapping[str, Any]) -> int:
        [(rows,)] = await self._warehouse.fetch(retention.OUTLIVED[table], **asked)
        if rows:
            await self._warehouse.run(retention.REMOVALS[table], **asked)
        return int(rows)
