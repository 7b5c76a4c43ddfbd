"""``python -m tests.faults.forwarding``: everything that may happen on the way to Amplitude.

Everything is on loopback and bounded in time. Exit status 1: a promise was broken.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.faults.broker.trial import Report
from tests.faults.forwarding.plan import SLICES, make_plan
from tests.faults.forwarding.stack import end_in_order
from tests.faults.forwarding.trial import Run, run_trial

KILL_AFTER_S = (1.0, 16.0)
"""A new worker waits some 10 s for the leases of the one before: kills meet it before and after."""
SETTLED_WITHIN_S = 300.0


def main() -> int:
    """Run what the command line asks for; exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20, help="of the worker, with SIGKILL")
    parser.add_argument("--stops", type=int, default=0, help="of the worker, with SIGTERM")
    parser.add_argument("--tenants", type=int, default=6, help="at least 3")
    parser.add_argument("--hangs", type=int, default=6, help="requests that are never answered")
    parser.add_argument("--data", type=Path, help="folder of *.ndjson(.gz) instead of tests/data")
    parser.add_argument("--keep", action="store_true", help="data and logs, although all is well")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    files = sorted(options.data.glob("*.ndjson*")) if options.data else SLICES
    plans = make_plan(
        files, events=options.events, tenants=max(3, options.tenants), seed=options.seed
    )
    folder = Path(tempfile.mkdtemp(prefix="sluice-forwarding-"))
    print(f"seed {options.seed}, data and logs in {folder}", flush=True)  # noqa: T201
    report = Report(is_chatty=True)
    run = Run(
        seed=options.seed,
        kills=options.kills,
        stops=options.stops,
        kill_after_s=KILL_AFTER_S,
        hangs=options.hangs,
        settled_within_s=SETTLED_WITHIN_S,
    )

    async def break_everything() -> None:
        end_in_order()
        await run_trial(folder, plans, run, report)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(break_everything())
    if report.is_well and not options.keep:
        shutil.rmtree(folder)
    else:
        print(f"seed {options.seed}, data and logs in {folder}")  # noqa: T201
    return 0 if report.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
