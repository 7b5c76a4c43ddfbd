"""A batch that is stored as several inserts at once ends in the same tables as any other."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from sluice.core.envelope import Envelope, Rows, seal
from sluice.core.errors import WarehouseUnavailableError
from sluice.settings import Settings
from sluice.warehouse.client import Warehouse
from tests.support.worker_rig import Place, Rig, make_event
from worker.delivery import RetryLaterError
from worker.destinations.warehouse import INSERTS_AT_ONCE, WarehouseDestination

ENVELOPES = 24


@pytest.fixture
async def rig(place: Place) -> AsyncIterator[Rig]:
    """A rig whose inserts hold ten rows."""
    async with place.rig(batch_max_rows=10) as opened:
        yield opened


class Watched(Warehouse):
    """Counts the inserts of events that are on their way at once; may lose one of them."""

    loses = False
    now = 0
    at_once = 0

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._are_both_there = asyncio.Event()

    async def insert_rows(
        self, table: str, frames: bytes, *, columns: Sequence[str] | None = None
    ) -> None:
        """Insert, once both inserts of a batch are there."""
        if table == "events":
            self.now += 1
            self.at_once = max(self.at_once, self.now)
            if self.now == INSERTS_AT_ONCE:
                self._are_both_there.set()
            async with asyncio.timeout(30):
                await self._are_both_there.wait()
            if self.loses and self.now == INSERTS_AT_ONCE:
                self.loses = False
                message = "away"
                raise WarehouseUnavailableError(message)
        try:
            await super().insert_rows(table, frames, columns=columns)
        finally:
            self.now -= table == "events"


def envelope(**changed: Any) -> Envelope:
    """Return an envelope of one event."""
    fields = msgspec.json.decode(msgspec.json.encode(make_event()))
    data = msgspec.json.encode({**fields, **changed}) + b"\n"
    return seal(Rows("events", 1, data), envelope_id=str(uuid.uuid4()))


async def deliver(rig: Rig, destination: WarehouseDestination) -> None:
    """Give a destination all that waits, and acknowledge it if it is taken."""
    deliveries = await rig.queue.pull(
        "warehouse", max_messages=1_000, max_bytes=10**8, lease_s=60, wait_s=5
    )
    try:
        await destination.deliver([destination.prepare(delivery) for delivery in deliveries])
    except RetryLaterError:
        await rig.queue.release(deliveries)
        raise
    await rig.queue.ack(deliveries)


async def test_batch_is_stored_by_inserts_at_once_when_it_fills_more_than_one(rig: Rig) -> None:
    await rig.queue.publish("events", [envelope() for _ in range(ENVELOPES)])
    async with Watched(rig.settings) as warehouse:
        await deliver(rig, rig.destination(warehouse))
        assert warehouse.at_once == INSERTS_AT_ONCE
    assert await rig.count("events") == ENVELOPES
    assert await rig.rows("SELECT sum(events) FROM accepted FINAL") == [(ENVELOPES,)]
    assert await rig.count("touched_hours FINAL") >= 1


async def test_events_count_once_when_one_of_two_inserts_was_lost(rig: Rig) -> None:
    await rig.queue.publish("events", [envelope() for _ in range(ENVELOPES)])
    async with Watched(rig.settings) as warehouse:
        destination = rig.destination(warehouse)
        warehouse.loses = True
        with pytest.raises(RetryLaterError, match="away"):
            await deliver(rig, destination)
        assert await rig.count("touched_hours") == 0
        await deliver(rig, destination)
    assert await rig.count("events FINAL") == ENVELOPES
    assert (await rig.queue.backlog("warehouse")).messages == 0


async def test_only_the_poison_of_each_insert_is_put_aside_when_clickhouse_refuses_it(
    rig: Rig,
) -> None:
    sent = [envelope() for _ in range(ENVELOPES)]
    for at in (2, 3, ENVELOPES - 1):
        sent[at] = envelope(occurred_at="yesterday")
    await rig.queue.publish("events", sent)
    await deliver(rig, rig.destination())
    assert await rig.count("events") == ENVELOPES - 3
    assert await rig.count("dead_letters FINAL") == 3
