"""``GET /api/ingestion/status``: how the system is, as a tenant may see it."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aiohttp import hdrs

from gateway.core.answers import Answer, ok
from gateway.core.status import (
    Counted,
    QueueView,
    SpoolView,
    StatusAnswer,
    destinations_of,
    iso,
)
from gateway.dispatch import Exchange, Route
from gateway.health import HealthProbe
from gateway.readers import Readers
from gateway.routes.ops import Figures
from gateway.single_flight import SingleFlight
from gateway.worker_link import WorkerLink
from sluice.core.errors import QueueUnavailableError
from sluice.queue.protocol import TOPICS, Queue, QueueState, SpoolState

SUBSCRIPTIONS: Final = tuple(name for names in TOPICS.values() for name in names)
PATH: Final = "/api/ingestion/status"
BACKLOG_TIMEOUT_S: Final = 2.0
KEEP_S: Final = 1.0


class Backlogs:
    """What the queue says of its subscriptions, at most a second old."""

    def __init__(self, queue: Queue, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._cache: SingleFlight[str, Counted | None] = SingleFlight(
            keep_s=KEEP_S, max_entries=len(SUBSCRIPTIONS), monotonic=monotonic
        )

    async def of(self, subscription: str) -> Counted | None:
        """Return a backlog; None where this process cannot know it, or not in time."""

        async def look_up() -> Counted | None:
            try:
                async with asyncio.timeout(BACKLOG_TIMEOUT_S):
                    backlog = await self._queue.backlog(subscription)
            except (QueueUnavailableError, TimeoutError):
                return None
            return Counted(backlog.events, round(backlog.oldest_age_s, 3))

        return await self._cache.get(subscription, look_up)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRoutes:
    """The handler and what it asks."""

    readers: Readers
    probe: HealthProbe
    worker: WorkerLink
    figures: Figures
    backlogs: Backlogs
    now: Callable[[], datetime]
    version: str

    def routes(self) -> list[Route]:
        """Return the routes of this resource."""
        return [Route(name="status", path=PATH, handlers={hdrs.METH_GET: self.status})]

    async def status(self, exchange: Exchange) -> Answer:
        """Return how health, destinations and queue are; 200 however bad it is."""
        tenant = self.readers.of(exchange)
        if isinstance(tenant, Answer):
            return tenant
        async with asyncio.TaskGroup() as tasks:
            health = tasks.create_task(self.probe.report())
            asked = tasks.create_task(self.worker.seen_by(tenant.slug))
            state = tasks.create_task(self.figures.state())
        worker = asked.result()
        known = worker.destinations if worker is not None else {}
        backlogs = {
            name: await self.backlogs.of(name) for name in SUBSCRIPTIONS if name not in known
        }
        queue = state.result()
        return ok(
            StatusAnswer(
                as_of=iso(self.now().timestamp()),
                tenant=tenant.slug,
                version=self.version,
                health=health.result(),
                freshness_s=worker.freshness_s if worker is not None else None,
                destinations=destinations_of(worker, backlogs),
                queue=None if queue is None else queue_view(queue),
            )
        )


def queue_view(state: QueueState) -> QueueView:
    """Return the queue's state as it is shown."""
    return QueueView(
        condition=state.condition,
        since=iso(state.since),
        detail=state.detail,
        stored_bytes=state.stored_bytes,
        max_bytes=state.max_bytes,
        spool=None if state.spool is None else _spool_view(state.spool),
    )


def _spool_view(spool: SpoolState) -> SpoolView:
    is_growing = math.isfinite(spool.time_to_full_s)
    return SpoolView(
        stored_bytes=spool.stored_bytes,
        max_bytes=spool.max_bytes,
        oldest_age_s=round(spool.oldest_age_s, 3),
        time_to_full_s=round(spool.time_to_full_s, 1) if is_growing else None,
        is_in_use=spool.is_in_use,
    )
