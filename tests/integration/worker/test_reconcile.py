"""A day adds up; what somebody removes or doubles by hand is found and named."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from sluice.core.envelope import Envelope, Rows, seal
from sluice.core.event import Event
from tests.support.amplitude import AmplitudeProject
from tests.support.builtin_runs import BuiltinRun, new_run
from tests.support.builtin_steps import Steps, tools_of
from tests.support.builtin_steps import new_run as erase_run
from tests.support.forwarding_rig import ForwardingRig, forwarding
from tests.support.poll import poll_until
from tests.support.run_rig import RunRig, open_host
from tests.support.tampering import copy_event, remove_event
from tests.support.worker_rig import TENANT, Place, envelopes, make_event
from worker.workflows.builtins import erase
from worker.workflows.builtins.reconcile import BUILTIN
from worker.workflows.store import Store

YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).replace(
    hour=0, minute=0, second=0, microsecond=0
)
TOMORROW = YESTERDAY + timedelta(days=1)
NEIGHBOUR: Final = "neighbour"
TYPE: Final = "type_0"
ERASE: Final = """
INSERT INTO accepted_erased SELECT tenant, event_id, received_at, 'wf' FROM event_keys
WHERE tenant = 'neighbour';
INSERT INTO accepted_erased SELECT tenant, event_id, received_at, 'wf' FROM events
WHERE tenant = 'neighbour' AND user_id = 'refused';
DELETE FROM events
WHERE tenant = 'neighbour' AND event_id IN (SELECT event_id FROM accepted_erased);
DELETE FROM event_keys WHERE tenant = 'neighbour'
"""
"""As an erase run does: first it is written down."""


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
    """A rig in which two tenants had a day, every envelope delivered twice."""
    await amplitude.set(
        bad_field={"field": "event_properties", "user_ids": ["refused"]}, export_delay_s=None
    )
    settings = {"amplitude_export_delay_s": 0}
    async with forwarding(place, amplitude, **settings) as opened:
        opened.set(secret_key="secret", drop="debug_*", rename="type_1=Type One")
        opened.add_tenant(NEIGHBOUR)
        async with opened.rig.worker():
            sent = an_outbox()
            for _ in range(2):
                await opened.rig.queue.publish("events", sent)
                await opened.drained()
            await poll_until(lambda: is_rolled_up(opened), within_s=30)
        yield opened


def an_outbox() -> list[Envelope]:
    """Return the envelopes of the day, one with an event that the warehouse cannot take."""
    poison = msgspec.json.decode(msgspec.json.encode(event(9)))
    row = msgspec.json.encode({**poison, "surprise": 1}) + b"\n"
    return [
        *envelopes(of_a_day()),
        *envelopes(of_a_day(NEIGHBOUR)),
        seal(Rows("events", 1, row), envelope_id="poison"),
    ]


async def is_rolled_up(there: ForwardingRig) -> bool:
    rows = await there.rig.rows("SELECT DISTINCT hour FROM rollups FINAL")
    return len(rows) >= 6


def day_of(there: ForwardingRig, **given: Any) -> BuiltinRun:
    return new_run(BUILTIN, there.rig, since=YESTERDAY, until=TOMORROW, **given)


def named(outputs: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(one["kind"], one.get("event_id", "")) for one in outputs["differences"]}


async def test_clean_day_says_so_with_every_term_also_as_the_run_of_a_worker(
    there: ForwardingRig,
) -> None:
    fault = {"fault": "429", "times": 2, "paths": ["/api/2/"], "retry_after_s": 1}
    await there.amplitude.set(faults=[fault])
    waiting = day_of(there)
    outputs = await waiting.finish()
    assert waiting.waits == [1.0, 1.0]
    assert outputs["is_balanced"], outputs
    assert outputs["is_final"], outputs
    assert (outputs["differences"], outputs["differences_file"]) == ([], None)
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
    run = day_of(there).run
    rig = there.rig
    runs = RunRig(rig.settings, rig.queue, rig.warehouse, Store(rig.warehouse), Path("unused"))
    await runs.start(run)
    async with open_host(runs, lease_s=10.0, is_scripted=False):
        row = await runs.ended(run, within_s=60)
    assert row.state == "succeeded", row.error_message
    assert msgspec.json.decode(row.outputs) == outputs
    steps = ["count", "amplitude", "export", "name", "rollups"]
    assert [step for step, *_ in await runs.tasks(run)] == steps


async def test_tenant_without_forwarding_is_reconciled_alone_and_erasures_are_a_term(
    there: ForwardingRig,
) -> None:
    outputs = await day_of(there, tenant=NEIGHBOUR).finish()
    assert outputs["is_balanced"], outputs
    ledger = outputs["ledger"]
    assert (ledger["accepted"], ledger["stored"], ledger["duplicates"]) == (34, 29, 5)
    assert outputs["destinations"]["amplitude"]["not_forwarded"] == 29
    assert not outputs["amplitude"]["asked"]
    for statement in ERASE.split(";"):
        await there.rig.warehouse.command(statement)
    await day_of(there, tenant=NEIGHBOUR, run_mode="refresh").finish()
    outputs = await day_of(there, tenant=NEIGHBOUR).finish()
    ledger = outputs["ledger"]
    assert outputs["is_balanced"], outputs
    assert (ledger["accepted"], ledger["stored"]) == (34, 23)
    assert (ledger["duplicates"], ledger["erased"]) == (1, 10)


async def test_what_amplitude_still_counts_of_erased_people_is_no_difference(
    there: ForwardingRig,
) -> None:
    of_nora = [event(3, n, user_id="nora", client_id=f"nora-{n}") for n in range(3)]
    of_nora += [event(3, 30, user_id="nora"), event(4, user_id="nora", client_id="nora-0")]
    async with there.rig.worker():
        await there.rig.publish(*of_nora)
        await there.drained()
        settings = {"erase_settle_s": 2.5, "erase_backlog_wait_s": 5}
        tools = tools_of(there.rig, **settings)
        inputs = {"user_ids": ["nora"]}
        await Steps(erase.BUILTIN, tools, erase_run("erase"), inputs).all()
    outputs = await day_of(there).finish()
    assert outputs["differences"] == []
    assert outputs["is_balanced"], outputs
    assert (outputs["ledger"]["accepted"], outputs["ledger"]["erased"]) == (40, 4)
    asked = outputs["amplitude"]
    assert (asked["delivered"], asked["counted"]) == (26, 30)
    assert [note for note in outputs["notes"] if "4 events of people who were erased" in note]


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
    wrong = outputs["rollups"]["wrong_hours"]
    assert at(3).strftime("%Y-%m-%dT%H:00:00Z") in wrong
    assert outputs["rollups"]["recomputed"] == []
    mended = await day_of(there, run_mode="refresh").finish()
    assert mended["rollups"] == {"wrong_hours": wrong, "recomputed": wrong}
    again = await day_of(there).finish()
    assert named(again) == named(outputs) - {("rollup_differs", "")}


async def test_hour_whose_stats_were_changed_by_hand_is_named_and_recomputed(
    there: ForwardingRig,
) -> None:
    await there.rig.warehouse.command(
        "INSERT INTO rollup_spans (tenant, span_s, start, event_types, event_counts, users,"
        " computed_at, version, user_count)"
        " SELECT tenant, span_s, start, event_types, arrayMap(one -> one + 1, event_counts), users,"
        " computed_at, version + 1, user_count"
        " FROM rollup_spans FINAL"
        " WHERE tenant = 'acme' AND span_s = 3600 AND toHour(start) = 3"
    )
    wrong = {"wrong_hours": [at(3).strftime("%Y-%m-%dT%H:00:00Z")]}
    outputs = await day_of(there).finish()
    assert named(outputs) == {("rollup_differs", "")}
    assert outputs["rollups"] == wrong | {"recomputed": []}
    mended = await day_of(there, run_mode="refresh").finish()
    assert mended["rollups"]["recomputed"] == wrong["wrong_hours"]
    assert (await day_of(there).finish())["differences"] == []


async def test_amplitude_is_compared_by_event_where_numbers_differ_or_all_are_asked_for(
    there: ForwardingRig,
) -> None:
    same = [row["insert_id"] for row in await there.amplitude.taken() if row["event_type"] == TYPE]
    await there.amplitude.set(remove=[same[0]], double=[same[1]])
    # One lost and one doubled of the same hour and type: the numbers agree.
    assert (await day_of(there).finish())["is_balanced"]
    outputs = await day_of(there, inputs={"compare_all": True}).finish()
    known = {("not_at_amplitude", same[0]), ("twice_at_amplitude", same[1])}
    assert named(outputs) == known
    moment = int(at(3).timestamp() * 1000)
    foreign = {"event_type": TYPE, "user_id": "visitor", "insert_id": "web-1", "time": moment}
    assert (await there.amplitude.upload(foreign)).status == 200
    outputs = await day_of(there).finish()
    assert named(outputs) == known | {("only_at_amplitude", "web-1")}
    [theirs] = [one for one in outputs["differences"] if one["event_id"] == "web-1"]
    assert "Sluice has no outcome of it" in theirs["detail"]
    await there.amplitude.set(export_delay_s=7200)
    settings = there.rig.settings
    there.rig.settings = replace(settings, amplitude_export_delay_s=10_800)
    outputs = await day_of(there).finish()
    assert outputs["differences"] == []
    assert any("exports do not hold them yet" in note for note in outputs["notes"])


async def test_days_before_the_ledger_and_days_not_over_say_so(there: ForwardingRig) -> None:
    rig = there.rig
    await rig.warehouse.command("DELETE FROM migrations WHERE name = '0001_events'")
    await rig.warehouse.command(
        "INSERT INTO migrations VALUES ('0001_events', now() - INTERVAL 30 DAY)"
    )
    await rig.warehouse.command("TRUNCATE TABLE accepted")
    outputs = await day_of(there).finish()
    assert outputs["is_balanced"], outputs
    assert outputs["ledger"]["accepted"] is None
    assert any("from before the ledger began" in note for note in outputs["notes"])
    [(event_id,)] = await rig.rows(
        "SELECT toString(event_id) FROM events WHERE tenant = 'acme' AND toHour(received_at) = 3"
        " LIMIT 1"
    )
    await remove_event(rig, event_id)
    assert ("missing", event_id) in named(await day_of(there).finish())
    await there.rig.publish(make_event())
    now = datetime.now(UTC)
    run = new_run(BUILTIN, there.rig, since=now - timedelta(hours=1), until=now)
    outputs = await run.finish()
    assert not outputs["is_final"]
    assert "the time is not over" in outputs["notes"]
    assert "1 event waits for warehouse in the queue" in outputs["notes"]
