"""A day adds up; what somebody removes or doubles by hand is found and named."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import pytest

from sluice.core.envelope import Rows, seal
from sluice.core.event import Event
from tests.support.amplitude import AmplitudeProject
from tests.support.builtin_runs import BuiltinRun, new_run
from tests.support.forwarding_rig import ForwardingRig, forwarding
from tests.support.poll import poll_until
from tests.support.tampering import copy_event, remove_event
from tests.support.worker_rig import TENANT, Place, envelopes, make_event
from worker.workflows.builtins.reconcile import BUILTIN

YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).replace(
    hour=0, minute=0, second=0, microsecond=0
)
TOMORROW = YESTERDAY + timedelta(days=1)
NEIGHBOUR: Final = "neighbour"


def at(hour: int, second: float = 0.0) -> datetime:
    """Return a moment of the day."""
    return YESTERDAY + timedelta(hours=hour, seconds=second)


def event(hour: int, second: float = 0.0, **given: Any) -> Event:
    """Return an event of the day that happened when it was received."""
    moment = at(hour, second)
    return make_event(received_at=moment, occurred_at=moment.isoformat()[:19], **given)


def of_a_day(tenant: str = TENANT) -> list[Event]:
    """Return all kinds: of the edge, named by clients and sent again, filtered, refused."""
    named = [event(4, n, client_id=f"order-{n}", tenant=tenant) for n in range(5)]
    return [
        *(event(3, n, event_type=f"type_{n % 3}", tenant=tenant) for n in range(20)),
        *named,
        event(4, 60, client_id="order-0", tenant=tenant),
        event(5, 0, client_id="order-1", tenant=tenant),
        event(5, 1, client_id="order-2", event_type="other", tenant=tenant),
        *[event(6, 0, client_id="order-3", tenant=tenant)] * 2,
        event(7, 0, event_type="debug_view", tenant=tenant),
        event(7, 1, user_id="null", tenant=tenant),
        event(7, 2, user_id="refused", tenant=tenant),
        event(8, 0, event_type="context_identified", payload=b'{"plan":"a"}', tenant=tenant),
    ]


@pytest.fixture
async def there(place: Place, amplitude: AmplitudeProject) -> AsyncIterator[ForwardingRig]:
    """A rig in which two tenants had a day, envelopes redelivered to a second worker among it."""
    await amplitude.set(
        bad_field={"field": "event_properties", "user_ids": ["refused"]}, export_delay_s=None
    )
    settings = {"amplitude_export_delay_s": 0}
    async with forwarding(place, amplitude, **settings) as opened:
        opened.set(secret_key="secret", drop="debug_*", rename="type_1=Type One")
        opened.add_tenant(NEIGHBOUR)
        poison = msgspec.json.decode(msgspec.json.encode(event(9)))
        row = msgspec.json.encode({**poison, "surprise": 1}) + b"\n"
        sent = [
            *envelopes(of_a_day()),
            *envelopes(of_a_day(NEIGHBOUR)),
            seal(Rows("events", 1, row), envelope_id="poison"),
        ]
        for _ in range(2):
            async with opened.rig.worker():
                await opened.rig.queue.publish("events", sent)
                await opened.drained()
                await poll_until(lambda: is_rolled_up(opened), within_s=10)
        yield opened


async def is_rolled_up(there: ForwardingRig) -> bool:
    rows = await there.rig.rows("SELECT DISTINCT hour FROM rollups FINAL")
    return len(rows) >= 6


def day_of(there: ForwardingRig, **given: Any) -> BuiltinRun:
    return new_run(BUILTIN, there.rig, since=YESTERDAY, until=TOMORROW, **given)


def named(outputs: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(one["kind"], one.get("event_id", "")) for one in outputs["differences"]}


async def test_clean_day_says_so_with_every_term(there: ForwardingRig) -> None:
    outputs = await day_of(there).finish()
    assert outputs["is_balanced"], outputs
    assert outputs["is_final"], outputs
    assert outputs["differences"] == []
    assert outputs["differences_file"] is None
    ledger = outputs["ledger"]
    assert (ledger["accepted"], ledger["stored"]) == (35, 29)
    assert (ledger["duplicates"], ledger["dead"], ledger["erased"]) == (5, 1, 0)
    destination = outputs["destinations"]["amplitude"]
    assert (destination["delivered"], destination["filtered"], destination["dead"]) == (26, 2, 1)
    assert (destination["parked"], destination["without_outcome"]) == (0, 0)
    asked = outputs["amplitude"]
    assert (asked["asked"], asked["delivered"], asked["counted"]) == (True, 26, 26)
    assert asked["types"]["Type One"] == {"delivered": 7, "counted": 7}
    assert "everything adds up: 35 events accepted, 29 stored" in outputs["summary"]


async def test_tenant_without_forwarding_is_reconciled_alone(there: ForwardingRig) -> None:
    outputs = await day_of(there, tenant=NEIGHBOUR).finish()
    assert outputs["is_balanced"], outputs
    ledger = outputs["ledger"]
    assert (ledger["accepted"], ledger["stored"], ledger["duplicates"]) == (34, 29, 5)
    assert outputs["destinations"]["amplitude"]["not_forwarded"] == 29
    assert not outputs["amplitude"]["asked"]


async def test_what_was_removed_and_doubled_by_hand_is_named(there: ForwardingRig) -> None:
    events = of_a_day()
    rows = await there.rig.rows(
        "SELECT toString(event_id) FROM events FINAL"
        " WHERE tenant = 'acme' AND toHour(received_at) = 3 ORDER BY received_at"
    )
    made = [event_id for (event_id,) in rows]
    client = [one.event_id for one in events if one.event_id[14] == "5"]
    await remove_event(there.rig, made[0])
    await remove_event(there.rig, client[4])
    await copy_event(there.rig, made[1], event_type="'by_hand'")
    await copy_event(there.rig, made[2], received_at="received_at + INTERVAL 7 HOUR")
    await copy_event(there.rig, client[3], received_at="received_at + INTERVAL 8 HOUR")
    await there.amplitude.set(remove=[made[3]], double=[made[4]])
    run = day_of(there)
    outputs = await run.finish()
    assert not outputs["is_balanced"]
    assert named(outputs) - {("rollup_differs", "")} == {
        ("missing", made[0]),
        ("missing", client[4]),
        ("stored_twice", made[1]),
        ("stored_twice", made[2]),
        ("stored_twice", client[3]),
        ("not_at_amplitude", made[3]),
        ("twice_at_amplitude", made[4]),
    }
    [lost] = [one for one in outputs["differences"] if one.get("event_id") == made[0]]
    assert {"accepted", "outcomes (amplitude: delivered)", "amplitude"} <= set(lost["seen_in"])
    assert lost["hour"] == at(3).strftime("%Y-%m-%dT%H:00:00Z")
    assert lost["envelope_id"]
    assert await run.lines("differences.ndjson") == outputs["differences"]
    assert "it does not add up" in outputs["summary"]
    assert not await there.rig.count("amplitude_exports")
