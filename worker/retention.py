"""Removes the events of tenants that keep them for a time only, and what belongs to them.

Looks now and then, at the start of a day in UTC for each tenant: what is older than its
``retention_days`` leaves the disk. Several workers that look at once order the same, which changes
nothing.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from sluice.core.errors import ConfigError, WarehouseError
from sluice.core.tenant import KEPT_FOR_GOOD, Tenant
from sluice.tenants import TenantsFile
from sluice.warehouse import retention
from sluice.warehouse.client import Warehouse
from worker.waiting import wait_for_event

LOOK_EVERY_S: Final = 3600.0
RETRY_S: Final = 60.0

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


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

    def __init__(self, warehouse: Warehouse, tenants_path: Path) -> None:
        self._warehouse = warehouse
        self._tenants_path = tenants_path

    async def run(self, stop: asyncio.Event) -> None:
        """Look until ``stop``."""
        is_failing = False
        while not stop.is_set():
            pause_s = LOOK_EVERY_S
            try:
                await self.remove(now=datetime.now(UTC))
            except (WarehouseError, ConfigError) as error:
                if not is_failing:
                    log.warning("What tenants keep no longer was not removed", detail=str(error))
                is_failing = True
                pause_s = RETRY_S
            else:
                if is_failing:
                    log.info("What tenants keep no longer is removed again")
                is_failing = False
            await wait_for_event(stop, pause_s)

    async def remove(self, *, now: datetime) -> dict[str, int]:
        """Order the removal of what is too old; return how many rows of which tables.

        Raises:
            WarehouseError: Some of it was not ordered; call again.
            ConfigError: The tenants file cannot be read.
        """
        file = await asyncio.to_thread(TenantsFile, self._tenants_path)
        ends = cut_offs(file.directory.by_slug.values(), now=now)
        if not ends:
            return {}
        asked: dict[str, Any] = {"tenants": list(ends), "cut_offs": list(ends.values())}
        removed: dict[str, int] = {}
        for table, query in retention.OUTLIVED.items():
            [(rows,)] = await self._warehouse.fetch(query, **asked)
            if rows:
                await self._warehouse.run(retention.REMOVALS[table], **asked)
                removed[table] = rows
        if removed:
            log.info("Rows that tenants keep no longer are removed", rows=removed)
        return removed
