"""Who waits for Amplitude and who goes on: nothing is lost, and each user's order is kept."""

import sqlite3
from contextlib import closing

import pytest

from sluice.core.event import Event
from sluice.warehouse.stats import read_errors
from tests.support.amplitude import AmplitudeProject, running_simulator
from tests.support.forwarding_rig import ForwardingRig, forwarding, ids
from tests.support.poll import poll_until
from tests.support.ports import free_port
from tests.support.warehouse import start_warehouse, stop_warehouse
from tests.support.worker_rig import TENANT, Place, make_event

MIB = 1024 * 1024


def events_of(user: str, count: int, tenant: str = TENANT) -> list[Event]:
    """Return events of one user."""
    return [make_event(user_id=user, tenant=tenant) for _ in range(count)]


def mixed(*groups: list[Event]) -> list[Event]:
    """Return the events of groups of the same size in turn."""
    return [event for some in zip(*groups, strict=True) for event in some]


@pytest.mark.parametrize("members", ["throttle", "over_quota"])
async def test_users_that_are_held_back_wait_in_order_over_a_restart_and_others_go_on(
    place: Place, amplitude: AmplitudeProject, members: str
) -> None:
    fast = [events_of("fast", 10) for _ in range(3)]
    calm = [events_of("calm", 10) for _ in range(3)]
    held = {"throttle": {"user_ids": ["fast"]}, "over_quota": {"user_ids": {"fast": 500_200}}}
    reason = {"throttle": "throttled_user", "over_quota": "daily_quota"}[members]
    await amplitude.set(**{members: held[members]})
    async with forwarding(place, amplitude) as there:
        async with there.rig.worker() as address:
            for number in range(2):
                await there.rig.publish(*mixed(fast[number], calm[number]))
                await there.become("delivered", *calm[number])
                await there.become("parked", *fast[number])
            await there.has_parked(address, 20)
            fates = await there.fates()
            assert {fates[event.event_id][1] for event in fast[0]} == {reason}
        async with there.rig.worker() as address:
            await there.rig.publish(*mixed(fast[2], calm[2]))
            await there.become("delivered", *calm[2])
            await there.has_parked(address, 30)
            await amplitude.set(release=True)
            await there.become("delivered", *(event for some in fast for event in some))
            await there.has_parked(address, 0)
        assert await there.taken("fast") == ids([event for some in fast for event in some])
        assert await there.taken("calm") == ids([event for some in calm for event in some])


async def test_what_waits_on_for_the_same_reason_is_not_written_down_at_each_try(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = events_of("fast", 10)
    await amplitude.set(throttle={"user_ids": ["fast"]})
    async with forwarding(place, amplitude, amplitude_throttle_wait_s=0.1) as there:
        async with there.rig.worker():
            await there.rig.publish(*events)
            await there.become("parked", *events)

            async def has_tried_often() -> bool:
                requests = (await amplitude.counters())["requests"]["/2/httpapi"]
                return bool(requests.get("429", 0) > 5)

            await poll_until(has_tried_often, within_s=30, what="some tries were made")
        # Without FINAL, so that rows which were replaced count, too.
        written = await there.rig.rows("SELECT count() FROM outcomes")
        assert written == [(10,)]


async def test_the_word_that_an_event_waits_is_not_renewed_when_it_comes_again(
    place: Place, amplitude: AmplitudeProject
) -> None:
    """It may just be delivered from the lot: a later word would hide that for ever."""
    events = events_of("fast", 10)
    await amplitude.set(throttle={"user_ids": ["fast"]})
    said = "SELECT max(at) FROM outcomes FINAL"
    async with (
        forwarding(place, amplitude, amplitude_throttle_wait_s=60) as there,
        there.rig.worker(),
    ):
        await there.rig.publish(*events)
        await there.become("parked", *events)
        first = await there.rig.rows(said)
        await there.rig.publish(*events)
        await there.drained()
        assert await there.rig.rows(said) == first
        assert set(await there.outcomes(events)) == {"parked"}


async def test_a_user_that_is_faster_than_amplitude_takes_gets_there_in_order(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = events_of("fast", 120)
    await amplitude.set(eps_threshold=40, window_s=1.0)
    async with forwarding(place, amplitude) as there, there.rig.worker():
        for first in range(0, 120, 30):
            await there.rig.publish(*events[first : first + 30])
        await there.become("delivered", *events)
        assert await there.taken("fast") == ids(events)


async def test_a_revoked_key_parks_its_tenant_alone_and_is_told_until_it_is_restored(
    place: Place, amplitude: AmplitudeProject
) -> None:
    theirs = [events_of("user-1", 10, tenant="revoked") for _ in range(2)]
    ours = [events_of("user-1", 10) for _ in range(2)]
    async with forwarding(place, amplitude) as there:
        project = await other_project(there, "revoked")
        await project.set(revoked=True)
        async with there.rig.worker() as address:
            for number in range(2):
                await there.rig.publish(*mixed(theirs[number], ours[number]))
                await there.become("delivered", *ours[number])
                await there.become("parked", *theirs[number])
            await there.drained()
            fates = await there.fates("revoked")
            assert {fate[1:] for fate in fates.values()} == {
                ("bad_credentials", "Amplitude answered 400: Invalid API key")
            }
            [trouble] = (await there.status(address))["troubles"]
            assert trouble.startswith("revoked: bad_credentials since ")
            assert project.api_key not in trouble
            seen = await there.status(address, "revoked")
            assert seen["troubles"] == [trouble.removeprefix("revoked: ")]
            assert seen["parked_events"] == len(theirs[0] + theirs[1])
            for other in (TENANT, "nobody"):
                seen = await there.status(address, other)
                assert (seen["troubles"], seen["parked_events"]) == ([], 0)
            records = await read_errors(there.rig.warehouse, "revoked", 50)
            assert {record.error_type for record in records} == {"destination_credentials"}
            assert await read_errors(there.rig.warehouse, TENANT, 50) == []
            await project.set(revoked=False)
            await there.become("delivered", *theirs[0], *theirs[1])
            taken = [row["insert_id"] for row in await project.taken()]
            assert taken == ids(theirs[0] + theirs[1])

            async def is_well() -> bool:
                return bool((await there.status(address))["troubles"] == [])

            await poll_until(is_well, within_s=30, what="no troubles are left")


async def test_tenant_is_told_of_a_refused_key_that_shows_when_what_waited_is_sent(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = events_of("fast", 10)
    await amplitude.set(throttle={"user_ids": ["fast"]})
    async with forwarding(place, amplitude) as there, there.rig.worker() as address:
        await there.rig.publish(*events)
        await there.become("parked", *events)
        await amplitude.set(revoked=True, release=True)

        async def told() -> list[str]:
            records = await read_errors(there.rig.warehouse, TENANT, 50)
            return [record.error_type for record in records]

        await poll_until(told, within_s=30, what="the tenant is told")
        [trouble] = (await there.status(address))["troubles"]
        assert trouble.startswith("acme: bad_credentials since ")

        async def was_refused_often() -> bool:
            requests = (await amplitude.counters())["requests"]["/2/httpapi"]
            return bool(requests.get("400", 0) > 4)

        await poll_until(was_refused_often, within_s=30, what="the key was refused a few times")
        assert await told() == ["destination_credentials"]  # once, however often it was tried
        assert (await there.status(address))["troubles"] == [trouble]
        await amplitude.set(revoked=False)
        await there.become("delivered", *events)
        assert await there.taken() == ids(events)


async def test_another_key_of_the_tenant_sends_what_waited_for_the_first(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = events_of("user-1", 10)
    async with forwarding(place, amplitude) as there, there.rig.worker() as address:
        await amplitude.set(revoked=True)
        await there.rig.publish(*events)
        await there.has_parked(address, 10)
        project = AmplitudeProject(amplitude.url, amplitude.session, f"new-{amplitude.api_key}")
        await project.set()
        there.set(api_key=project.api_key)
        await there.become("delivered", *events)
        assert [row["insert_id"] for row in await project.taken()] == ids(events)


async def test_a_project_over_its_quota_waits_and_goes_on_in_order_when_its_day_ends(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = [events_of("user-1", 10) for _ in range(2)]
    await amplitude.set(quota_ended_for_s=3600)
    async with forwarding(place, amplitude) as there, there.rig.worker() as address:
        for number in range(2):
            await there.rig.publish(*events[number])
            await there.become("parked", *events[number])
        [trouble] = (await there.status(address))["troubles"]
        assert trouble.startswith("acme: project_throttled since ")
        await amplitude.set(quota_ended_for_s=0)
        await there.become("delivered", *events[0], *events[1])
        assert await there.taken() == ids(events[0] + events[1])


async def test_events_stay_in_the_queue_while_amplitude_is_away_for_everybody(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = [events_of("user-1", 10) for _ in range(2)]
    await amplitude.set(fault="503")
    async with forwarding(place, amplitude) as there:
        async with there.rig.worker() as address:
            for some in events:
                await there.rig.publish(*some)
            await there.rig.drained()

            async def is_open() -> bool:
                return bool((await there.status(address))["breaker"] != "closed")

            await poll_until(is_open, within_s=30, what="the breaker is open")
            status = await there.status(address)
            assert (status["parked_events"], status["backlog_events"]) == (0, 20)
            assert status["state"] == "degraded"
            assert await there.rig.count("events FINAL") == 20
            await amplitude.set(clear_faults=True)
            await there.drained()
            await there.become("delivered", *events[0], *events[1])

            async def is_well() -> bool:
                status = await there.status(address)
                return bool(status["breaker"] == "closed" and status["state"] == "ok")

            await poll_until(is_well, within_s=30, what="all is well")
            assert (await there.status(address))["troubles"] == []
        assert await there.taken() == ids(events[0] + events[1])
        assert await there.rig.count("dead_letters") == 0


async def test_events_are_delivered_when_amplitude_was_not_there_at_all(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = events_of("user-1", 10)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with (
        forwarding(place, amplitude, amplitude_url=url) as there,
        there.rig.worker() as address,
    ):
        await there.rig.publish(*events)

        async def is_open() -> bool:
            return bool((await there.status(address))["breaker"] != "closed")

        await poll_until(is_open, within_s=30, what="the breaker is open")
        with running_simulator("--port", str(port), "--api-key", amplitude.api_key):
            await there.become("delivered", *events)
            late = AmplitudeProject(url, amplitude.session, amplitude.api_key)
            assert [row["insert_id"] for row in await late.taken()] == ids(events)


async def test_the_queue_keeps_what_the_lot_has_no_room_for(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = [
        make_event(user_id=f"user-{n % 5}", payload=b'{"text":"%s"}' % (b"x" * 20_000))
        for n in range(100)
    ]
    await amplitude.set(revoked=True)
    async with (
        forwarding(place, amplitude, parked_max_bytes=MIB) as there,
        there.rig.worker() as address,
    ):
        for first in range(0, 100, 20):
            await there.rig.publish(*events[first : first + 20])
            await there.rig.drained()

        async def is_full() -> bool:
            status = await there.status(address)
            return bool(status["breaker"] != "closed" and status["backlog_events"])

        await poll_until(is_full, within_s=30, what="the lot is full")
        status = await there.status(address)
        assert 0 < status["parked_events"] < 100
        assert status["parked_events"] + status["backlog_events"] == 100
        await amplitude.set(revoked=False)
        await there.become("delivered", *events)
        for user in range(5):
            assert await there.taken(f"user-{user}") == ids(events[user::5])


async def test_forwarding_alone_waits_while_the_lot_cannot_be_written(
    place: Place, amplitude: AmplitudeProject
) -> None:
    """As on a full disk; here somebody else holds the file."""
    events = [events_of("user-1", 10) for _ in range(2)]
    await amplitude.set(revoked=True)
    async with forwarding(place, amplitude) as there, there.rig.worker() as address:
        await there.rig.publish(*events[0])
        await there.has_parked(address, 10)
        with closing(sqlite3.connect(there.rig.settings.parked_path)) as other:
            other.execute("BEGIN IMMEDIATE")
            await amplitude.set(revoked=False)
            await there.rig.publish(*events[1])
            await there.rig.drained()

            async def is_open() -> bool:
                return bool((await there.status(address))["breaker"] != "closed")

            await poll_until(is_open, within_s=30, what="the breaker is open")
            assert (await there.status(address))["backlog_events"] == 10
        await there.become("delivered", *events[0], *events[1])
        await there.drained()
        assert await there.taken() == ids(events[0] + events[1])


async def test_forwarding_alone_waits_for_a_tenants_file_that_is_broken_from_the_start(
    place: Place, amplitude: AmplitudeProject
) -> None:
    events = events_of("user-1", 3)
    async with forwarding(place, amplitude) as there:
        path = there.rig.settings.tenants_path
        good = path.read_text()
        path.write_text("tenants = 3")
        async with there.rig.worker() as address:
            await there.rig.publish(*events)
            await there.rig.drained()
            (trouble,) = (await there.status(address))["troubles"]
            assert "the tenants file" in trouble
            assert await there.taken() == []
            path.write_text(good)
            await there.become("delivered", *events)
            assert await there.taken() == ids(events)


async def test_everybody_elses_events_are_delivered_while_one_tenants_requests_hang(
    place: Place, amplitude: AmplitudeProject
) -> None:
    theirs = [events_of("user-1", 10, tenant="stuck") for _ in range(3)]
    ours = [events_of("user-1", 10) for _ in range(3)]
    async with forwarding(place, amplitude) as there:
        project = await other_project(there, "stuck")
        await project.set(fault="hang", seconds=60)
        async with there.rig.worker() as address:
            for number in range(3):
                await there.rig.publish(*mixed(theirs[number], ours[number]))
            await there.become("delivered", *ours[0], *ours[1], *ours[2])
            await there.drained()
            assert await there.rig.count("events FINAL") == 60
            await there.has_parked(address, 30)
            assert await project.taken() == []
            await project.set(clear_faults=True)
        assert await there.taken() == ids(ours[0] + ours[1] + ours[2])


async def test_forwarding_waits_for_the_warehouse_and_loses_nothing(
    place: Place, amplitude: AmplitudeProject
) -> None:
    """Only the warehouse knows who was erased, and what became of events is written down there."""
    events = [events_of("user-1", 10) for _ in range(2)]
    async with forwarding(place, amplitude, warehouse_url="") as there, there.rig.worker():
        await there.rig.publish(*events[0])

        async def is_held() -> bool:
            return (await there.rig.queue.backlog("amplitude")).leased == 1

        await poll_until(is_held, within_s=30, what="the worker has the events")
        process = start_warehouse(place.folder)
        try:
            assert await there.taken() == []
            await there.rig.publish(*events[1])
            await there.become("delivered", *events[0], *events[1])
            await there.drained()
        finally:
            stop_warehouse(process)
        assert await there.taken() == ids(events[0] + events[1])


async def other_project(there: ForwardingRig, slug: str) -> AmplitudeProject:
    """Return the project of one more tenant that forwards."""
    mine = there.amplitude
    project = AmplitudeProject(mine.url, mine.session, f"{slug}-{mine.api_key}")
    await project.set()
    there.add_tenant(slug, project.api_key)
    return project
