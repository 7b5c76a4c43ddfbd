"""A run whose worker died, paused or lost the warehouse goes on elsewhere, and nothing twice."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from sluice.settings import load_settings
from sluice.workflows.core.runs import Run
from tests.faults.workflows.trial import LEASE_S, order_of, worker_process
from tests.support.poll import poll_until
from tests.support.proxy import TcpProxy
from tests.support.run_rig import RunRig, new_run, open_run_rig
from tests.support.scripted_runs import Step


@pytest.fixture
async def rig(tmp_path: Path, engine_url: str) -> AsyncIterator[RunRig]:
    """A database and a queue of its own."""
    async with open_run_rig(tmp_path, engine_url) as opened:
        yield opened


@asynccontextmanager
async def other_worker(rig: RunRig, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker in a process of its own."""
    async with worker_process() as process:
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(order_of(rig, folder / "places")) + b"\n")
        yield process


def lines(rig: RunRig, run: Run) -> list[tuple[str, int]]:
    """Return the steps that were done, and by which process."""
    found = (line.split() for line in rig.effects.read_text().splitlines())
    return [(step, int(pid)) for run_id, step, pid in found if run_id == run.run_id]


@pytest.mark.parametrize(
    "steps",
    [
        [Step(), Step(wait_s=1.5), Step()],
        [Step(), Step(takes_s=1.5), Step()],
        [Step(), Step(takes_s=1.5, is_safe=True), Step()],
    ],
    ids=["waiting", "in an act", "in an act that may be repeated"],
)
async def test_paused_worker_neither_sends_nor_overwrites_when_it_wakes_up(
    rig: RunRig, tmp_path: Path, steps: list[Step]
) -> None:
    run, later = new_run(*steps), new_run(Step())
    async with other_worker(rig, tmp_path) as paused:
        await rig.start(run)
        await rig.in_state(run, "in progress")
        await poll_until(lambda: "s0" in rig.done(run))
        os.kill(paused.pid, signal.SIGSTOP)
        async with rig.worker(lease_s=LEASE_S):
            last = await rig.ended(run)
        os.kill(paused.pid, signal.SIGCONT)
        # That it takes another run shows that it is awake, with a lease of its own again.
        await rig.start(later)
        assert (await rig.ended(later)).state == "succeeded"
        assert [pid for _, pid in lines(rig, later)] == [paused.pid]
        assert await rig.row(run) == last
    assert last.state == "succeeded"
    assert last.epoch >= 2, "another had it; on a full machine that one, too, may lose its lease"
    assert [step for step, _ in lines(rig, run)] == ["s0", "s1", "s2"]
    assert [pid == paused.pid for _, pid in lines(rig, run)][2] is False
    hosts = await rig.rows("SELECT uniq(host_id) FROM workflow_hosts")
    assert hosts[0][0] >= 3, "the paused worker came back under a new name"


async def test_killed_workers_runs_go_on_within_a_lease(rig: RunRig, tmp_path: Path) -> None:
    runs = [
        new_run(Step(wait_s=0.5), Step(takes_s=0.2), Step(wait_s=0.5), Step()) for _ in range(20)
    ]
    async with rig.worker(lease_s=LEASE_S), other_worker(rig, tmp_path) as killed:
        await rig.start(*runs[:10])
        await rig.start(*runs[10:])
        await rig.in_state(runs[-1], "in progress")
        killed.kill()
        for run in runs:
            assert (await rig.ended(run)).state == "succeeded"
    assert all(rig.done(run) == ["s0", "s1", "s2", "s3"] for run in runs)


async def test_runs_wait_while_the_warehouse_is_away_and_nothing_is_done_twice(
    rig: RunRig,
) -> None:
    waiting, acting = new_run(Step(wait_s=0.5), Step(), Step()), new_run(Step(takes_s=2), Step())
    url = rig.settings.warehouse_url.get_secret_value()
    async with TcpProxy(url) as proxy:
        settings = load_settings(data_dir=rig.settings.data_dir, warehouse_url=proxy.url)
        async with rig.worker(lease_s=LEASE_S, settings=settings):
            await rig.start(waiting, acting)
            await rig.in_state(waiting, "in progress")
            await rig.in_state(acting, "started")
            await proxy.cut()
            # Longer than the lease: what is under way must not be anybody's meanwhile.
            await asyncio.sleep(3 * LEASE_S)
            await proxy.mend()
            for run in (waiting, acting):
                assert (await rig.ended(run)).state == "succeeded"
    assert rig.done(waiting) == ["s0", "s1", "s2"]
    assert rig.done(acting) == ["s0", "s1"], "the answer that came meanwhile was kept"
