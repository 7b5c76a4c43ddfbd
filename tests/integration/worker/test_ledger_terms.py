"""The terms of the ledger: each is what really happened, also over redeliveries and copies."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import pytest

from sluice.core.envelope import Rows, seal
from sluice.core.event import Event
from sluice.warehouse.migrate import migrate
from tests.support.tampering import copy_event, remove_event
from tests.support.worker_rig import TENANT, Rig, envelopes, make_event
from worker.core.reconciling import Balance, Span
from worker.reconcile_counts import balance_of, began_at

YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).replace(
    hour=0, minute=0, second=0, microsecond=0
)
SHORT: Final = {"event_id": "1"}
DAY = Span(YESTERDAY, YESTERDAY + timedelta(days=1))


def at(hour: int, second: float = 0.0) -> datetime:
    """Return a moment of the day."""
    return YESTERDAY + timedelta(hours=hour, seconds=second)


async def balance(rig: Rig, tenant: str = TENANT) -> Balance:
    return await balance_of(rig.warehouse, tenant, DAY, began=0, now=datetime.now(UTC))


def totals(found: Balance) -> dict[str, Any]:
    names = ("accepted", "stored", "duplicates", "dead", "erased", "difference")
    return {name: found.total(name) for name in names}


def mixed(tenant: str = TENANT) -> list[Event]:
    """Return events of two hours: made at the edge, named by clients, and copies of those."""
    made = [make_event(received_at=at(hour, n), tenant=tenant) for hour in (3, 4) for n in range(5)]
    named = [
        make_event(client_id=f"c{n}", received_at=at(3, 100 + n), tenant=tenant) for n in range(4)
    ]
    same_hour = make_event(client_id="c0", received_at=at(3, 200), tenant=tenant)
    other_hour = make_event(client_id="c1", received_at=at(4, 1), tenant=tenant)
    other_type = make_event(client_id="c2", event_type="other", received_at=at(4, 2), tenant=tenant)
    twice = [make_event(client_id="c3", received_at=at(5, 0), tenant=tenant)] * 2
    return [*made, *named, same_hour, other_hour, other_type, *twice]


async def test_terms_are_what_happened_also_when_envelopes_come_again(rig: Rig) -> None:
    events = mixed()
    bad = msgspec.json.decode(msgspec.json.encode(make_event(received_at=at(3))))
    rows = [msgspec.json.encode({**bad, **changed}) + b"\n" for changed in ({"surprise": 1}, SHORT)]
    poison = seal(Rows("events", 2, b"".join(rows)), envelope_id="poison")
    sent = [*envelopes(events), poison, *envelopes(mixed("other"))]
    async with rig.worker():
        for _ in range(3):
            await rig.queue.publish("events", sent)
            await rig.drained()
    expected = {"accepted": 19, "stored": 14, "duplicates": 5, "dead": 0, "erased": 0}
    assert totals(await balance(rig, "other")) == {**expected, "difference": 0}
    found = await balance(rig)
    assert totals(found) == {**expected, "accepted": 21, "dead": 2, "difference": 0}
    assert not found.unequal, found.unequal


async def test_hour_differs_when_one_event_vanished_and_another_is_stored_twice(rig: Rig) -> None:
    events = mixed()
    destination = rig.destination()
    await migrate(rig.warehouse)
    await rig.deliver(destination, *events)
    found = await balance(rig)
    assert not found.unequal, found.unequal
    assert (found.total("stored"), found.total("duplicates")) == (14, 5)
    await remove_event(rig, events[0].event_id)
    await copy_event(rig, events[1].event_id, event_type="'by_hand'")
    [hour] = (await balance(rig)).unequal
    assert (hour.hour, hour.difference) == (int(at(3).timestamp()), 0)


async def test_ledger_says_when_it_began_later_than_the_warehouse(rig: Rig) -> None:
    await migrate(rig.warehouse)
    assert await began_at(rig.warehouse) == 0
    await rig.warehouse.command("DELETE FROM migrations WHERE name = '0001_events'")
    await rig.warehouse.command(
        "INSERT INTO migrations VALUES ('0001_events', now() - INTERVAL 30 DAY)"
    )
    assert await began_at(rig.warehouse) == pytest.approx(datetime.now(UTC).timestamp(), abs=60)
