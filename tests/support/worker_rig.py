"""A worker with a queue and a database of its own, in the test's process, over a real engine."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import worker.app
from sluice.core.envelope import Envelope, encode, seal
from sluice.core.event import Candidate, Event, format_ts, stamp
from sluice.queue import open_queue
from sluice.queue.protocol import Queue
from sluice.settings import Settings, load_settings
from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import Query
from sluice.warehouse.stats import Stats, Window, read_stats
from tests.support.poll import poll_until
from worker.destinations.warehouse import WarehouseDestination

TENANT = "acme"


def make_event(
    *,
    client_id: str | None = None,
    event_type: str = "page_viewed",
    user_id: str = "user-1",
    received_at: datetime | None = None,
    occurred_at: str | None = None,
    payload: bytes = b"{}",
    tenant: str = TENANT,
) -> Event:
    """Return a stamped event, received now unless said otherwise."""
    return stamp(
        Candidate(
            user_id=user_id,
            event_type=event_type,
            occurred_at=occurred_at,
            payload=payload,
            client_id=client_id,
        ),
        tenant=tenant,
        source="batch",
        received_at=format_ts(received_at or datetime.now(UTC)),
        new_id=_uuid7(),
    )


def _uuid7() -> str:
    text = str(uuid.uuid4())
    return f"{text[:14]}7{text[15:]}"


def envelopes(events: Sequence[Event]) -> list[Envelope]:
    """Return events as the gateway publishes them."""
    return [seal(rows, envelope_id=str(uuid.uuid4())) for rows in encode("events", events)]


@dataclass(slots=True)
class Rig:
    """One database, one queue, and as many workers as a test starts."""

    settings: Settings
    queue: Queue
    warehouse: Warehouse

    async def publish(self, *events: Event) -> None:
        """Publish events, all in one envelope if they fit."""
        await self.queue.publish("events", envelopes(events))

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[str]:
        """Run a worker inside the block; yield the address of its status port."""
        stop = asyncio.Event()
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(worker.app.serve(self.settings, stop, ready.set_result))
            yield await ready
            stop.set()
            await serving

    async def drained(self, *, within_s: float = 30) -> None:
        """Wait until every envelope is acknowledged."""

        async def is_empty() -> bool:
            return (await self.queue.backlog("warehouse")).messages == 0

        await poll_until(is_empty, within_s=within_s, what="the backlog is empty")

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT."""
        return await self.warehouse.fetch(Query("test", sql))

    async def count(self, what: str) -> int:
        """Return how many rows a table, or what follows FROM, has."""
        return len(await self.rows("SELECT 1 FROM {what}".replace("{what}", what)))

    async def stats(
        self, window: Window = "24h", *, tenant: str = TENANT, now: datetime | None = None
    ) -> Stats:
        """Return a tenant's stats."""
        return await read_stats(self.warehouse, tenant, window, now or datetime.now(UTC))

    def destination(self, warehouse: Warehouse | None = None) -> WarehouseDestination:
        """Return an open destination that no consumer feeds."""
        return WarehouseDestination(self.settings, warehouse or self.warehouse)

    async def deliver(self, destination: WarehouseDestination, *events: Event) -> None:
        """Hand events to a destination by way of the queue, without a consumer."""
        await self.publish(*events)
        deliveries = await self.queue.pull(
            "warehouse", max_messages=1_000, max_bytes=10**8, lease_s=60, wait_s=5
        )
        await destination.deliver([destination.prepare(delivery) for delivery in deliveries])
        await self.queue.ack(deliveries)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rig keeps its things."""

    folder: Path
    engine_url: str

    @asynccontextmanager
    async def rig(self, **overrides: object) -> AsyncIterator[Rig]:
        """Open a rig over a database of its own; ``warehouse_url=""`` means the data dir's."""
        database = f"t{uuid.uuid4().hex[:12]}"
        settings = load_settings(
            **{
                "data_dir": self.folder,
                "warehouse_url": self.engine_url.rsplit("/", 1)[0] + f"/{database}",
                "worker_port": 0,
                "dedup_filter_keys": 100_000,
                **overrides,
            }
        )
        async with open_queue(settings) as queue, Warehouse(settings) as warehouse:
            yield Rig(settings, queue, warehouse)


def hours_ago(hours: float) -> datetime:
    """Return the middle of an hour inside the stats window, so that minutes do not leave it."""
    middle = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
    return middle - timedelta(hours=hours)
