"""What becomes of events by the meaning of each answer of Amplitude (reference, "What to do")."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from sluice.core.event import Event
from sluice.warehouse.stats import read_errors
from tests.support.amplitude import AmplitudeProject
from tests.support.forwarding_rig import ForwardingRig, forwarding, ids
from tests.support.worker_rig import TENANT, Place, make_event

PROPERTIES_REFUSED = (
    "Amplitude answered 400: Invalid field values on some events (event_properties is invalid)"
)

UNCERTAIN: Sequence[Mapping[str, Any]] = (
    {"fault": "500", "stored": True},
    {"fault": "502"},
    {"fault": "503"},
    {"fault": "408"},
    {"fault": "reset"},
    {"fault": "reset", "stored": True},
    {"fault": "hang", "seconds": 0.2, "stored": True},
    {"fault": "cut_body"},
    {"fault": "short_body"},
    {"fault": "garbage"},
    {"fault": "garbage", "stored": False},
    {"fault": "html"},
)
"""Answers after which the events may be there or not."""


def events_of(*users: str, event_type: str = "page_viewed") -> list[Event]:
    """Return one event of each user, in order."""
    return [make_event(user_id=user, event_type=event_type) for user in users]


def many(count: int) -> list[Event]:
    """Return events of some users in turn."""
    return events_of(*(f"user-{number % 7}" for number in range(count)))


async def letters(there: ForwardingRig) -> dict[str, str]:
    """Return the reasons of forwarding's dead letters by event id."""
    rows = await there.rig.rows(
        "SELECT JSONExtractString(row, 'event_id'), reason FROM dead_letters FINAL"
        " WHERE destination = 'amplitude'"
    )
    return dict(rows)


async def in_order(there: ForwardingRig, events: Sequence[Event]) -> bool:
    """Say whether Amplitude took each user's events once and in this order."""
    for user in {event.user_id for event in events}:
        if await there.taken(user) != ids([event for event in events if event.user_id == user]):
            return False
    return True


async def test_events_are_delivered_once_with_their_event_id_as_insert_id(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = many(50)
    async with forwarding(place, amplitude) as there, there.rig.worker():
        await there.rig.publish(*events)
        await there.drained()
        assert await in_order(there, events)
        assert await there.fates() == dict.fromkeys(ids(events), ("delivered", "", ""))
        assert await there.rig.count("events FINAL") == len(events)


async def test_only_the_events_that_amplitude_names_are_dead_and_with_its_words(
    place: Place, amplitude: AmplitudeProject
) -> None:
    """Amplitude names only the first bad one of a request, so that there are several rounds."""
    good, bad = many(40), events_of("bad-1", "bad-2", "bad-1")
    events = [*good[:13], bad[0], *good[13:14], bad[1], *good[14:], bad[2]]
    await amplitude.set(bad_field={"field": "event_properties", "user_ids": ["bad-1", "bad-2"]})
    async with forwarding(place, amplitude) as there, there.rig.worker():
        await there.rig.publish(*events)
        await there.drained()
        fates = await there.fates()
        assert {fates.pop(event_id) for event_id in ids(bad)} == {
            ("dead", "rejected", PROPERTIES_REFUSED)
        }
        assert fates == dict.fromkeys(ids(good), ("delivered", "", ""))
        assert await in_order(there, good)
        assert await letters(there) == dict.fromkeys(ids(bad), PROPERTIES_REFUSED)
        records = await read_errors(there.rig.warehouse, TENANT, 50)
        assert {(one.source, one.error_type, one.detail, one.event_id) for one in records} == {
            ("amplitude", "destination_rejected", PROPERTIES_REFUSED, event_id)
            for event_id in ids(bad)
        }
        assert await there.rig.count("events FINAL") == len(events)


async def test_events_are_delivered_once_when_nobody_knows_what_became_of_a_request(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events: list[Event] = []
    async with forwarding(place, amplitude) as there, there.rig.worker():
        for fault in UNCERTAIN:
            await amplitude.set(clear_faults=True, times=2, **fault)
            some = many(30)
            events += some
            await there.rig.publish(*some)
            await there.become("delivered", *some)
            assert await in_order(there, events), fault
        assert await letters(there) == {}


async def test_events_are_delivered_once_when_requests_fail_for_longer(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = many(30)
    await amplitude.set(fault="500", stored=True, times=20)
    async with forwarding(place, amplitude) as there, there.rig.worker():
        await there.rig.publish(*events)
        await there.become("delivered", *events)
        assert await in_order(there, events)


async def test_a_request_that_is_too_large_is_halved_and_delivered_in_order(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = many(64)
    await amplitude.set(fault="413", times=6)
    async with forwarding(place, amplitude) as there, there.rig.worker():
        await there.rig.publish(*events)
        await there.drained()
        assert set(await there.outcomes(events)) == {"delivered"}
        assert await in_order(there, events)
        assert (await amplitude.counters())["requests"]["/2/httpapi"]["413"] == 6


async def test_a_single_event_that_is_too_large_is_dead_and_the_others_are_delivered(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = [*many(20), make_event(user_id="big"), *many(20)]
    await amplitude.set(fault="413", user_ids=["big"])
    async with forwarding(place, amplitude) as there, there.rig.worker():
        await there.rig.publish(*events)
        await there.drained()
        fates = await there.fates()
        dead = fates.pop(events[20].event_id)
        assert dead == ("dead", "too_large", "Amplitude answered 413: Request Entity Too Large")
        assert {fate for fate, *_ in fates.values()} == {"delivered"}
        assert await in_order(there, events[:20] + events[21:])


async def test_the_one_event_that_a_firewall_refuses_is_found_and_the_others_are_delivered(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = [*many(20), *events_of("user-3", event_type="select_from"), *many(20)]
    await amplitude.set(fault="403", event_types=["select_from"])
    async with forwarding(place, amplitude) as there, there.rig.worker():
        await there.rig.publish(*events)
        await there.drained()
        fates = await there.fates()
        dead = fates.pop(events[20].event_id)
        assert dead == ("dead", "refused", "Amplitude answered 403: Forbidden")
        assert {fate for fate, *_ in fates.values()} == {"delivered"}
        assert await in_order(there, events[:20] + events[21:])
        assert await letters(there) == {events[20].event_id: "Amplitude answered 403: Forbidden"}


async def test_nothing_is_dead_when_a_firewall_refuses_whatever_comes(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = many(30)
    await amplitude.set(fault="403")
    async with forwarding(place, amplitude) as there, there.rig.worker() as address:
        there.add_tenant("other", "no-such-key")
        await there.rig.publish(*events)
        await there.has_parked(address, len(events))
        await amplitude.set(clear_faults=True)
        await there.become("delivered", *events)
        assert await in_order(there, events)


async def test_what_a_tenant_leaves_out_is_filtered_and_what_amplitude_cannot_take_is_recorded(
    place: Place, amplitude: AmplitudeProject
) -> None:
    sent, dropped, reserved = (
        make_event(event_type=name) for name in ("page_viewed", "heartbeat", "[Amplitude] Revenue")
    )
    async with forwarding(place, amplitude) as there:
        there.set(drop="heartbeat")
        async with there.rig.worker():
            await there.rig.publish(sent, dropped, reserved)
            await there.drained()
            fates = await there.fates()
            assert fates[sent.event_id][0] == "delivered"
            assert fates[dropped.event_id][:2] == ("filtered", "dropped")
            assert fates[reserved.event_id][:2] == ("filtered", "reserved_event_type")
            assert await there.taken() == [sent.event_id]
            [record] = await read_errors(there.rig.warehouse, TENANT, 50)
            assert (record.error_type, record.event_id) == (
                "destination_filtered",
                reserved.event_id,
            )


async def test_nothing_is_sent_nor_said_of_a_tenant_without_a_key(
    place: Place, amplitude: AmplitudeProject
) -> None:
    theirs = [make_event(tenant="quiet", user_id=f"user-{n}") for n in range(5)]
    ours = many(5)
    async with forwarding(place, amplitude) as there:
        there.add_tenant("quiet")
        async with there.rig.worker() as address:
            await there.rig.publish(*theirs, *ours)
            await there.drained()
            assert set(await there.taken()) == set(ids(ours))
            assert await there.fates("quiet") == {}
            assert (await there.status(address))["parked_events"] == 0
            assert await there.rig.count("events FINAL") == 10


@pytest.mark.parametrize(
    "changed",
    [
        {"event_id": "zzzzzzzz-zzzz-5zzz-zzzz-zzzzzzzzzzzz"},
        {"event_id": "1"},
        {"received_at": "now"},
        {"received_at": "2026-04-25T10:99:99.000000"},
    ],
    ids=str,
)
async def test_others_are_delivered_when_a_row_has_what_no_outcome_can_be_written_for(
    place: Place, amplitude: AmplitudeProject, changed: dict[str, str]
) -> None:
    """The warehouse keeps such a row as a dead letter; gateways send none."""
    good = many(10)
    bad = msgspec.structs.replace(good[0], **changed)
    async with forwarding(place, amplitude) as there, there.rig.worker():
        await there.rig.publish(*good[:5], bad, *good[5:])
        await there.drained()
        assert set(await there.outcomes(good)) == {"delivered"}
        assert set(await there.taken()) == set(ids(good))
