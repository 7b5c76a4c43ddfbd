"""In short what ``make faults-amplitude`` does for long: every fault on the way to Amplitude."""

from pathlib import Path

import pytest

from tests.faults.broker.trial import Report
from tests.faults.forwarding.plan import SLICES, make_plan
from tests.faults.forwarding.trial import Run, run_trial

SEED = 20261121


@pytest.mark.long(35)
@pytest.mark.timeout(170)
async def test_every_event_is_accounted_for_when_everything_fails_and_the_worker_is_killed(
    tmp_path: Path,
) -> None:
    report = Report()
    run = Run(seed=SEED, kills=2, stops=0, kill_after_s=(0.5, 2.0), hangs=0, settled_within_s=60.0)
    plans = make_plan(SLICES, events=3_000, tenants=3, seed=SEED)
    await run_trial(tmp_path, plans, run, report)
    assert report.is_well, f"seed {SEED}\n{report}"
