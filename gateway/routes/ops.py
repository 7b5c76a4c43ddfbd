"""``/livez``, ``/readyz`` and ``/metrics``: for orchestrators and Prometheus."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import hdrs

from gateway.core.answers import Answer, ok
from gateway.dispatch import Exchange, Route
from gateway.single_flight import SingleFlight
from sluice.queue.protocol import Queue, QueueState
from sluice.telemetry import METRICS_CONTENT_TYPE

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

    figures: Figures
    scrape: Callable[[], Awaitable[bytes]]
    """Returns the metrics."""
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
        """Return all metrics as Prometheus reads them."""
        return Answer(200, await self.scrape(), METRICS_CONTENT_TYPE)
