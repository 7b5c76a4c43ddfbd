"""``/livez``, ``/readyz`` and ``/metrics``: for orchestrators and Prometheus."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs

from gateway.core.answers import Answer, ok
from gateway.dispatch import Exchange, Route
from sluice.core.errors import QueueUnavailableError
from sluice.queue.protocol import TOPICS, Queue
from sluice.telemetry import (
    METRICS_CONTENT_TYPE,
    QUEUE_BACKLOG_EVENTS,
    QUEUE_MAX_BYTES,
    QUEUE_OLDEST_AGE,
    QUEUE_STORED_BYTES,
    render_metrics,
)

QUEUE_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsRoutes:
    """The handlers and what they look at."""

    queue: Queue
    is_ready: Callable[[], bool]

    def routes(self) -> list[Route]:
        """Return the routes of this resource."""
        return [
            Route(
                name=name,
                path="/" + name,
                handlers={hdrs.METH_GET: handler},
                is_for_operators=True,
            )
            for name, handler in (
                ("livez", self.livez),
                ("readyz", self.readyz),
                ("metrics", self.metrics),
            )
        ]

    async def livez(self, _exchange: Exchange) -> Answer:
        """Return 200 while the process answers at all."""
        return ok({"alive": True})

    async def readyz(self, _exchange: Exchange) -> Answer:
        """Return 200 while events are accepted; a warehouse outage changes nothing here."""
        is_ready = self.is_ready()
        return ok({"ready": is_ready}, status=200 if is_ready else 503)

    async def metrics(self, _exchange: Exchange) -> Answer:
        """Return all metrics of this process as Prometheus reads them."""
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT_S):
                await self._refresh()
        except (TimeoutError, QueueUnavailableError):
            pass  # the queue's figures stay as they were; the rest is still worth reading
        return Answer(200, render_metrics(), METRICS_CONTENT_TYPE)

    async def _refresh(self) -> None:
        state = await self.queue.state()
        QUEUE_STORED_BYTES.set(state.stored_bytes)
        QUEUE_MAX_BYTES.set(state.max_bytes)
        for subscriptions in TOPICS.values():
            for subscription in subscriptions:
                backlog = await self.queue.backlog(subscription)
                QUEUE_OLDEST_AGE.labels(subscription).set(backlog.oldest_age_s)
                QUEUE_BACKLOG_EVENTS.labels(subscription).set(backlog.events)
