"""A replay as a run: exactly its range, stopped at once, gone on by another worker."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sluice.core.event import Event
from tests.support.amplitude import AmplitudeProject
from tests.support.builtin_runs import BuiltinRun, new_run
from tests.support.forwarding_rig import ForwardingRig, forwarding, ids
from tests.support.poll import poll_until
from tests.support.worker_rig import Place, hours_ago, make_event
from worker.workflows.builtin import StepError, StoppedError
from worker.workflows.builtins import replay
from worker.workflows.builtins.replay import BUILTIN

FIRST = hours_ago(2)
EVENTS = 600
SLOW = {"rate": 200}


def events() -> list[Event]:
    return [
        make_event(user_id=f"user-{n % 20}", received_at=FIRST + timedelta(seconds=n))
        for n in range(EVENTS)
    ]


@pytest.fixture
async def there(place: Place, amplitude: AmplitudeProject) -> AsyncIterator[ForwardingRig]:
    """A tenant that began to forward when its events were stored."""
    async with forwarding(place, amplitude) as opened:
        opened.set(api_key="")
        async with opened.rig.worker():
            await opened.rig.publish(*events_of_test)
            await opened.drained()
        opened.set(api_key=amplitude.api_key)
        yield opened


events_of_test = events()
IN_RANGE = events_of_test[100:500]


def a_run(there: ForwardingRig, **given: object) -> BuiltinRun:
    mode = given.pop("run_mode", "full")
    return new_run(
        BUILTIN,
        there.rig,
        since=FIRST + timedelta(seconds=100),
        until=FIRST + timedelta(seconds=500),
        run_mode=mode,  # type: ignore[arg-type]
        inputs={**SLOW, **given},
    )


async def test_replay_sends_exactly_its_range_in_several_calls(
    there: ForwardingRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "CALL_S", 0.3)
    run = a_run(there)
    outputs = await run.finish()
    assert len(run.waits) >= 2
    assert outputs["sent"]
    numbers = (outputs["matching"], outputs["read"], outputs["delivered"], outputs["refused"])
    assert numbers == (400, 400, 400, 0)
    assert sorted(await there.taken()) == sorted(ids(IN_RANGE))
    assert all(row["copies"] == 1 for row in await there.amplitude.taken())
    assert set(await there.outcomes(IN_RANGE)) == {"delivered"}
    assert not list((there.rig.settings.replays_path / "runs").iterdir())


@pytest.mark.parametrize("mode", ["source", "refresh"])
async def test_replay_only_counts_unless_its_mode_is_full(there: ForwardingRig, mode: str) -> None:
    outputs = await a_run(there, run_mode=mode).finish()
    assert (outputs["sent"], outputs["matching"], outputs["read"]) == (False, 400, 0)
    assert outputs["before"]["never_forwarded"] == 400
    assert outputs["rollups_recomputed"] == (1 if mode == "refresh" else 0)
    assert not await there.taken()


async def test_replay_goes_on_in_another_worker_when_the_first_died(
    there: ForwardingRig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(replay, "CALL_S", 0.3)
    run = a_run(there)
    while not run.memory:
        await run.call()
    # The second call is cut off when some of it was sent; what it reached is lost with its worker.
    taken = len(await there.taken())
    async with asyncio.TaskGroup() as tasks:
        dying = tasks.create_task(run.call())

        async def has_more() -> bool:
            return len(await there.taken()) > taken

        await poll_until(has_more, within_s=30)
        dying.cancel()
    tenants = there.rig.settings.tenants_path
    elsewhere = replace(there.rig.settings, data_dir=tmp_path / "elsewhere", tenants_file=tenants)
    run.tools = replace(run.tools, settings=elsewhere)
    outputs = await run.finish()
    assert (outputs["read"], outputs["delivered"]) == (400, 400)
    assert sorted(await there.taken()) == sorted(ids(IN_RANGE))
    assert set(await there.outcomes(IN_RANGE)) == {"delivered"}


async def test_replay_stops_within_two_seconds_and_notes_what_was_sent(
    there: ForwardingRig,
) -> None:
    run = a_run(there)
    await run.call()
    await run.call()
    async with asyncio.TaskGroup() as tasks:

        async def stop() -> float:
            await poll_until(lambda: there.taken(), within_s=30)
            run.stop.set()
            return time.monotonic()

        stopping = tasks.create_task(stop())
        with pytest.raises(StoppedError):
            await run.finish()
        ended = time.monotonic()
    assert ended - stopping.result() < 2
    taken = set(await there.taken())
    assert 0 < len(taken) < 400
    fates = await there.fates()
    assert {one for one, (fate, _, _) in fates.items() if fate == "delivered"} == taken


async def test_replay_stops_within_two_seconds_when_nobody_answers(there: ForwardingRig) -> None:
    await there.amplitude.set(fault="hang", seconds=60)
    run = a_run(there)
    await run.call()
    await run.call()
    asyncio.get_running_loop().call_later(0.5, run.stop.set)
    began = time.monotonic()
    with pytest.raises(StoppedError):
        await run.finish()
    assert time.monotonic() - began < 2.5


async def test_replay_fails_as_the_customers_when_the_key_is_refused(
    there: ForwardingRig,
) -> None:
    await there.amplitude.set(revoked=True)
    with pytest.raises(StepError, match="sets another key") as caught:
        await a_run(there).finish()
    assert caught.value.attribution == "customer"
