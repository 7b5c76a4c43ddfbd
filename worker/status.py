"""The worker's own HTTP port: what health asks for, liveness, and metrics."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from aiohttp import web

from sluice.core.errors import ConfigError, QueueUnavailableError
from sluice.core.retry import State
from sluice.queue.protocol import Queue
from sluice.settings import Settings
from sluice.telemetry import (
    DESTINATION_BREAKER,
    METRICS_CONTENT_TYPE,
    QUEUE_BACKLOG_EVENTS,
    QUEUE_OLDEST_AGE,
    QUEUE_TIME_TO_LOSS,
    render_metrics,
)
from worker.consumer import Consumer
from worker.core.freshness import Freshness
from worker.delivery import Deliverer

BACKLOG_LIMIT_S: Final = 60.0
"""A backlog older than this degrades health."""
CACHE_S: Final = 0.5
STUCK_S: Final = 120.0
"""A consumer that showed no sign for so long is stuck: longer than any statement takes."""
SHUTDOWN_S: Final = 1.0


class DestinationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one destination is doing."""

    backlog_age_s: float
    backlog_events: int
    breaker: State
    state: Literal["ok", "degraded"]
    detail: str = ""
    """Why its backlog is not known; empty where it is."""
    parked_events: int = 0
    """Events that wait on the worker's disk until the destination takes them."""
    troubles: Sequence[str] = ()
    """Whose events wait and why, in sentences."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of ``/status``."""

    heartbeat_age_s: float
    started_at: str
    destinations: dict[str, DestinationStatus]
    freshness_s: Freshness | None = None
    """Of the warehouse, in the last minute; None where nothing was stored in it."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A destination's subscription, its consumer, and what that hands over to."""

    subscription: str
    consumer: Consumer
    deliverer: Deliverer[Any]


class StatusPort:
    """Answers for this process; figures are read at most twice a second, however often asked."""

    def __init__(self, queue: Queue, watched: Mapping[str, Watched]) -> None:
        self._queue = queue
        self._watched = watched
        self._started_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._read_at = -1e9
        self._destinations: dict[str, DestinationStatus] = {}

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the route table."""
        return [
            web.get("/status", self._status),
            web.get("/livez", self._livez),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._metrics),
        ]

    async def _status(self, request: web.Request) -> web.Response:
        """Return the figures; with ``?tenant=SLUG`` what waits is of that tenant alone."""
        await self._refresh()
        tenant = request.query.get("tenant")
        status = Status(
            heartbeat_age_s=round(self._heartbeat_age_s(), 3),
            started_at=self._started_at,
            destinations=self._destinations if tenant is None else self._seen_by(tenant),
            freshness_s=self._freshness(),
        )
        return web.Response(body=msgspec.json.encode(status), content_type="application/json")

    def _seen_by(self, tenant: str) -> dict[str, DestinationStatus]:
        waiting = {name: one.deliverer.waiting_of(tenant) for name, one in self._watched.items()}
        return {
            name: msgspec.structs.replace(
                status,
                parked_events=waiting[name].parked_events,
                troubles=waiting[name].troubles,
            )
            for name, status in self._destinations.items()
        }

    def _freshness(self) -> Freshness | None:
        measured = (one.deliverer.freshness for one in self._watched.values())
        return next((one for one in measured if one is not None), None)

    async def _livez(self, _request: web.Request) -> web.Response:
        is_stuck = self._heartbeat_age_s() > STUCK_S
        return web.Response(status=503 if is_stuck else 200, text="stuck" if is_stuck else "ok")

    async def _readyz(self, _request: web.Request) -> web.Response:
        waiting = [name for name, one in self._watched.items() if not one.deliverer.is_ready]
        text = f"waiting for {', '.join(waiting)}" if waiting else "ok"
        return web.Response(status=503 if waiting else 200, text=text)

    async def _metrics(self, _request: web.Request) -> web.Response:
        await self._refresh()
        return web.Response(body=render_metrics(), headers={"Content-Type": METRICS_CONTENT_TYPE})

    def _heartbeat_age_s(self) -> float:
        return max((one.consumer.heartbeat_age_s for one in self._watched.values()), default=0.0)

    async def _refresh(self) -> None:
        if time.monotonic() - self._read_at < CACHE_S:
            return
        self._read_at = time.monotonic()
        self._destinations = {
            name: await self._one(name, watched) for name, watched in self._watched.items()
        }

    async def _one(self, name: str, watched: Watched) -> DestinationStatus:
        breaker = watched.consumer.breaker
        DESTINATION_BREAKER.labels(name).set(breaker is not State.CLOSED)
        try:
            backlog = await self._queue.backlog(watched.subscription)
        except QueueUnavailableError as error:
            for figure in (QUEUE_OLDEST_AGE, QUEUE_BACKLOG_EVENTS, QUEUE_TIME_TO_LOSS):
                figure.remove(watched.subscription)  # an old figure would say that all is well
            return DestinationStatus(
                backlog_age_s=0.0,
                backlog_events=0,
                breaker=breaker,
                state="degraded",
                detail=str(error),
            )
        QUEUE_OLDEST_AGE.labels(watched.subscription).set(backlog.oldest_age_s)
        QUEUE_BACKLOG_EVENTS.labels(watched.subscription).set(backlog.events)
        QUEUE_TIME_TO_LOSS.labels(watched.subscription).set(backlog.time_to_loss_s)
        is_ok = breaker is State.CLOSED and backlog.oldest_age_s <= BACKLOG_LIMIT_S
        return DestinationStatus(
            backlog_age_s=round(backlog.oldest_age_s, 3),
            backlog_events=backlog.events,
            breaker=breaker,
            state="ok" if is_ok else "degraded",
            parked_events=watched.deliverer.parked_events,
            troubles=watched.deliverer.troubles,
        )


@asynccontextmanager
async def serve_status(settings: Settings, port: StatusPort) -> AsyncIterator[str]:
    """Serve while inside; yield the address.

    Raises:
        ConfigError: The port is taken.
    """
    app = web.Application()
    app.add_routes(port.routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.worker_port)
        try:
            await site.start()
        except OSError as error:
            message = f"SLUICE_WORKER_PORT is {settings.worker_port}: {error.strerror or error}"
            raise ConfigError(message) from error
        address: tuple[Any, ...] = runner.addresses[0]
        yield f"http://{address[0]}:{address[1]}"
    finally:
        await runner.cleanup()
