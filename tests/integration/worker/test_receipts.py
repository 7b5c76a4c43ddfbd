"""Receipts of what the real worker stored, put aside or forgot the name of, from a real engine."""

from datetime import UTC, datetime, timedelta

from gateway.core.receipt import Receipt, receipt_of
from sluice.core.event import Event
from sluice.warehouse.receipts import find_event
from tests.integration.worker.test_poison import BAD_TIME, envelope, row
from tests.support.worker_rig import TENANT, Rig, make_event


async def receipt(rig: Rig, event_id: str, *, tenant: str = TENANT) -> Receipt | None:
    found = await find_event(rig.warehouse, tenant, [event_id])
    return receipt_of(found, [event_id], forwards_to=("amplitude",))


async def test_event_waits_for_amplitude_when_nothing_was_said_there(rig: Rig) -> None:
    event = make_event()
    await rig.deliver(rig.destination(), event)
    found = await receipt(rig, event.event_id)
    assert found is not None
    assert (found.state, found.received_at) == ("pending", f"{event.received_at}Z")
    assert await receipt(rig, event.event_id, tenant="other") is None


async def test_dead_event_has_a_receipt_with_its_reason(rig: Rig) -> None:
    text = row(**BAD_TIME)
    event_id = text.split(b'"event_id":"')[1][:36].decode()
    async with rig.worker():
        await rig.queue.publish("events", [envelope([row(), text])])
        await rig.drained()
    found = await receipt(rig, event_id)
    assert found is not None
    assert (found.state, found.occurred_at) == ("dead", None)
    assert "occurred_at" in (found.destinations["warehouse"].detail or "")
    assert await receipt(rig, event_id, tenant="other") is None


async def test_named_event_is_found_after_its_name_was_forgotten(rig: Rig) -> None:
    old = datetime.now(UTC) - timedelta(days=40)
    events = [make_event(client_id="order-1", received_at=old), make_event(client_id="order-2")]
    await rig.deliver(rig.destination(), *events)
    await rig.warehouse.command("TRUNCATE TABLE event_keys")
    for event in events:
        found = await receipt(rig, event.event_id)
        assert found is not None
        assert found.received_at == f"{event.received_at}Z"


async def test_row_from_before_the_column_has_no_time_of_storing(rig: Rig) -> None:
    before, after = (
        make_event(received_at=datetime.now(UTC) + timedelta(seconds=by)) for by in (-60, 60)
    )
    await rig.deliver(rig.destination(), before, after)
    assert [await _has_stored_at(rig, event) for event in (before, after)] == [False, True]


async def _has_stored_at(rig: Rig, event: Event) -> bool:
    # By the warehouse's clock of the migration, whatever the row says.
    [stored] = (await find_event(rig.warehouse, TENANT, [event.event_id])).stored
    return stored.stored_at != ""


async def test_redelivery_is_the_same_row(rig: Rig) -> None:
    event = make_event(received_at=datetime.now(UTC) + timedelta(seconds=60))
    destination = rig.destination()
    for _ in range(2):
        await rig.deliver(destination, event)
    assert await rig.count("events FINAL") == 1
    found = await receipt(rig, event.event_id)
    assert found is not None
    assert [step.step for step in found.trace] == ["received", "queued", "stored"]
