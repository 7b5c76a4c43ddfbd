"""``/livez``, ``/readyz`` and ``/metrics``: for orchestrators and Prometheus."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import hdrs

from gateway.core.answers import Answer, ok
from gateway.dispatch import Exchange, Route
from gateway.single_flight import SingleFlight
from sluice.core.errors import QueueUnavailableError
from sluice.queue.protocol import TOPICS, Queue, QueueState, SpoolState
from sluice.telemetry import (
    METRICS_CONTENT_TYPE,
    PENDING_BYTES,
    QUEUE_BACKLOG_EVENTS,
    QUEUE_MAX_BYTES,
    QUEUE_OLDEST_AGE,
    QUEUE_STORED_BYTES,
    QUEUE_TIME_TO_FULL,
    QUEUE_TIME_TO_LOSS,
    SPOOL_BYTES,
    SPOOL_IN_USE,
    SPOOL_MAX_BYTES,
    SPOOL_OLDEST_AGE,
    SPOOL_TIME_TO_FULL,
    render_metrics,
)

QUEUE_TIMEOUT_S: Final = 2.0
KEEP_S: Final = 0.5
"""However often the figures are asked for, the queue is asked at most this often."""


class Figures:
    """The queue's state, at most half a second old."""

    def __init__(self, queue: Queue, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._cache: SingleFlight[str, QueueState] = SingleFlight(
            keep_s=KEEP_S, max_entries=1, monotonic=monotonic
        )

    async def state(self) -> QueueState | None:
        """Return the state; None where it is not known in time."""
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT_S):
                return await self._cache.get("state", self._queue.state)
        except TimeoutError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsRoutes:
    """The handlers and what they look at."""

    queue: Queue
    figures: Figures
    pending_bytes: Callable[[], int]
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
        body: dict[str, object] = {"ready": is_ready}
        state = await self.figures.state()
        if state is not None:
            body["queue"] = {
                "condition": state.condition,
                "detail": state.detail,
                "since": datetime.fromtimestamp(state.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            if state.spool is not None:
                body["spool"] = asdict(state.spool)
        return ok(body, status=200 if is_ready else 503)

    async def metrics(self, _exchange: Exchange) -> Answer:
        """Return all metrics of this process as Prometheus reads them."""
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT_S):
                await self._refresh()
        except (TimeoutError, QueueUnavailableError):
            pass  # the queue's figures stay as they were; the rest is still worth reading
        return Answer(200, render_metrics(), METRICS_CONTENT_TYPE)

    async def _refresh(self) -> None:
        PENDING_BYTES.set(self.pending_bytes())
        state = await self.figures.state()
        if state is None:
            return
        if state.spool is None:
            QUEUE_STORED_BYTES.set(state.stored_bytes)
            QUEUE_MAX_BYTES.set(state.max_bytes)
            QUEUE_TIME_TO_FULL.set(state.time_to_full_s)
        else:
            _show(state.spool)
        for subscriptions in TOPICS.values():
            for subscription in subscriptions:
                backlog = await self.queue.backlog(subscription)
                QUEUE_OLDEST_AGE.labels(subscription).set(backlog.oldest_age_s)
                QUEUE_BACKLOG_EVENTS.labels(subscription).set(backlog.events)
                QUEUE_TIME_TO_LOSS.labels(subscription).set(backlog.time_to_loss_s)


def _show(spool: SpoolState) -> None:
    SPOOL_BYTES.set(spool.stored_bytes)
    SPOOL_MAX_BYTES.set(spool.max_bytes)
    SPOOL_OLDEST_AGE.set(spool.oldest_age_s)
    SPOOL_TIME_TO_FULL.set(spool.time_to_full_s)
    SPOOL_IN_USE.set(spool.is_in_use)
