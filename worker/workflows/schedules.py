"""Starts runs at the times of the tenants' schedules, through the queue like everybody else.

Every worker does it: a run's id is made from its configuration and its time, so what two workers
start is one run. A time that passed while no worker ran is made good once; what was due before the
schedule was first seen, or was run already, is not.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import uuid4

from sluice.core.cron import missed_time
from sluice.core.envelope import encode, seal
from sluice.core.errors import QueueFullError, QueueUnavailableError, WarehouseError
from sluice.core.workflows import TYPES, WorkflowConfig
from sluice.logs import get_logger
from sluice.queue.protocol import Queue
from sluice.tenants import TenantsFile
from sluice.workflows.catalogue import Catalogue, Entry
from sluice.workflows.core.runs import Run, Start, new_run_id, run_time, version_id
from worker.waiting import wait_for_event
from worker.workflows.store import Store

EVERY_S: Final = 1.0
PRINCIPAL_ID: Final = "sluice|schedule"
PRINCIPAL_NAME: Final = "Automated workflow"
_Known = tuple[str, str, str]

log: Final = get_logger(__name__)


class Schedules:
    """The schedules of all tenants."""

    def __init__(
        self,
        *,
        store: Store,
        tenants: TenantsFile,
        catalogue: Catalogue,
        queue: Queue,
        every_s: float = EVERY_S,
    ) -> None:
        self._store = store
        self._tenants = tenants
        self._catalogue = catalogue
        self._queue = queue
        self._every_s = every_s
        self._since: dict[_Known, datetime] = {}
        """After which moment a schedule's times are still to be run."""

    async def run(self, stop: asyncio.Event) -> None:
        """Start what is due until ``stop``; what fails is tried again."""
        while not stop.is_set():
            try:
                await self.start_due(datetime.now(UTC))
            except (WarehouseError, QueueUnavailableError, QueueFullError) as error:
                log.debug("Schedules wait", detail=str(error))
            await wait_for_event(stop, self._every_s)

    async def start_due(self, now: datetime) -> int:
        """Start a run of each schedule that is due; return how many.

        Raises:
            WarehouseError, QueueUnavailableError, QueueFullError: Call again.
        """
        scheduled = {
            (tenant, config.config_id, config.schedule): config for tenant, config in self._all()
        }
        await self._learn(scheduled, now)
        started = 0
        for key, config in scheduled.items():
            # A clock that was ahead for a while must not silence a schedule until then.
            since = self._since[key] = min(self._since[key], now)
            due = missed_time(config.schedule, since=since, now=now)
            if due is not None and await self._has_room(key[0], config):
                await self._start(key[0], config, due)
                # Its run may be forgotten before the schedule fires again; the time is not.
                await self._store.add_schedules({key: due})
                self._since[key] = due
                started += 1
        return started

    def _all(self) -> Iterator[tuple[str, WorkflowConfig]]:
        for slug, tenant in self._tenants.directory.by_slug.items():
            if tenant.enabled:
                for config in tenant.workflows.values():
                    if config.enabled and config.schedule:
                        yield slug, config

    async def _learn(self, scheduled: dict[_Known, WorkflowConfig], now: datetime) -> None:
        """Find out since when schedules count that this process has not met."""
        new = [key for key in scheduled if key not in self._since]
        self._since = {key: at for key, at in self._since.items() if key in scheduled}
        if not new:
            return
        seen = await self._store.schedules()
        unseen = {key: now for key in new if key not in seen}
        await self._store.add_schedules(unseen)
        last = await self._store.last_scheduled()
        for key in new:
            at = seen.get(key, now)
            self._since[key] = max(at, last.get(key[:2], at))

    async def _has_room(self, tenant: str, config: WorkflowConfig) -> bool:
        return await self._store.live_of(tenant, config.config_id) < config.max_concurrent

    async def _start(self, tenant: str, config: WorkflowConfig, due: datetime) -> None:
        entry = await self._catalogue.entry(tenant, config)
        run = scheduled_run(tenant, entry, due)
        (rows,) = encode("commands", [Start(run)])
        await self._queue.publish("commands", [seal(rows, envelope_id=str(uuid4()))])
        log.info("A scheduled run was started", run_id=run.run_id, config_id=config.config_id)


def scheduled_run(tenant: str, entry: Entry, due: datetime) -> Run:
    """Return the run of a configuration for a time of its schedule: always the same one.

    A configuration that needs a range, or is about a day, gets the UTC day before.
    """
    config = entry.config
    name = f"{tenant}\0{config.config_id}\0{run_time(due)}"
    day = due.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Run(
        tenant=tenant,
        run_id=new_run_id(due, name),
        config_id=config.config_id,
        type=config.type,
        name=config.name,
        workflow_id=entry.workflow_id,
        source="schedule",
        created_at=run_time(due),
        principal_id=PRINCIPAL_ID,
        principal_name=PRINCIPAL_NAME,
        launched_version=version_id(due, entry.digest),
        run_mode=config.run_mode if config.takes_range else "",
        range_from=run_time(day - timedelta(days=1)) if _has_day(config) else None,
        range_to=run_time(day) if _has_day(config) else None,
        request_key=sha256(f"schedule\0{name}".encode()).hexdigest(),
    )


def _has_day(config: WorkflowConfig) -> bool:
    """Whether a run is about the day before the one on which it was due."""
    known = TYPES.get(config.type)
    return config.needs_range or (known is not None and known.has_day)
