"""Runs are had by one host at a time, go on after it, and stop when a person says so."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.run_rig import RunRig, new_run, open_run_rig
from tests.support.scripted_runs import Step


@pytest.fixture
async def rig(tmp_path: Path, engine_url: str) -> AsyncIterator[RunRig]:
    """A database and a queue of its own."""
    async with open_run_rig(tmp_path, engine_url) as opened:
        yield opened


async def test_run_does_its_steps_in_order_and_says_how_it_ended(rig: RunRig) -> None:
    run = new_run(Step(), Step(wait_s=0.1), Step())
    await rig.start(run)
    async with rig.worker():
        last = await rig.ended(run)
    assert (last.state, last.outputs, last.program) == ("succeeded", '{"steps":3}', "")
    assert rig.done(run) == ["s0", "s1", "s2"]
    assert await rig.tasks(run) == [(f"s{at}", "succeeded", 1, "") for at in range(3)]
