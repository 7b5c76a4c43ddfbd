"""What forwarding does with a lot that cannot be read, and with a clock that was wrong."""

import sqlite3
import time
from contextlib import closing

import pytest

from tests.support.amplitude import AmplitudeProject
from tests.support.forwarding_rig import forwarding
from tests.support.poll import poll_until
from tests.support.worker_rig import Place, make_event


@pytest.mark.parametrize("damage", ["garbage", "directory"])
async def test_forwarding_alone_waits_when_the_lot_is_damaged_and_goes_on_once_it_is_mended(
    place: Place, amplitude: AmplitudeProject, damage: str
) -> None:
    event = make_event()
    async with forwarding(place, amplitude) as there:
        path = there.rig.settings.parked_path
        path.parent.mkdir(parents=True, exist_ok=True)
        if damage == "garbage":
            path.write_bytes(b"no database" * 1_000)
        else:
            path.mkdir()
        async with there.rig.worker() as address:
            await there.rig.publish(event)
            await there.rig.drained()

            async def is_told() -> bool:
                return "forwarding waits" in str((await there.status(address))["troubles"])

            await poll_until(is_told, within_s=30, what="the trouble is told")
            assert await there.backlog() == 1
            path.rename(path.with_suffix(".damaged"))
            await there.become("delivered", event)


async def test_parked_events_are_sent_when_the_clock_was_set_back(
    place: Place, amplitude: AmplitudeProject
) -> None:
    event = make_event(user_id="fast")
    await amplitude.set(throttle={"user_ids": ["fast"]})
    async with forwarding(place, amplitude) as there:
        async with there.rig.worker() as address:
            await there.rig.publish(event)
            await there.has_parked(address, 1)
        with closing(sqlite3.connect(there.rig.settings.parked_path)) as lot:
            lot.execute("UPDATE holds SET until = ?", (time.time() + 7 * 86_400,))
            lot.commit()
        await amplitude.set(release=True)
        async with there.rig.worker():
            await there.become("delivered", event)
