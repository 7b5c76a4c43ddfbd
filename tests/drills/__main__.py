"""``python -m tests.drills``: make the fault of each alert, and mend it by its runbook.

Everything is on loopback and bounded in time. Exit status 1: an alert fired too early, did not
fire or did not end, or a promise was broken.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import uvloop

from tests.drills.catalogue import PLANS, drills_of, needs_emulator
from tests.drills.drill import DrillError, Report, run_drill
from tests.drills.rules import QUICK, STEADY
from tests.support.pubsub import MISSING, find_jar, running_emulator

GIVEN_UP_AFTER_S = 240.0
"""For one drill, whatever it waits for."""


async def run_all(names: Sequence[str], folder: Path, emulator: str) -> list[Report | str]:
    """Run drills one after the other; a text says what went wrong with one."""
    task = asyncio.current_task()
    assert task is not None
    # Processes of sessions of their own would outlive us: leave in order.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    done: list[Report | str] = []
    for drill in drills_of(names, folder, emulator):
        try:
            async with asyncio.timeout(GIVEN_UP_AFTER_S):
                report = await run_drill(drill)
        except* (DrillError, AssertionError, TimeoutError, RuntimeError) as errors:
            done.append(f"{drill.alert}: {errors.exceptions[0]}")
            _say(f"{drill.alert:28} BROKEN  {errors.exceptions[0]}")
        else:
            done.append(report)
            _say(_line(report))
    return done


def _line(report: Report) -> str:
    others = f"; also {', '.join(report.others)}" if report.others else ""
    mark = "" if report.is_well else "  <-- BROKEN"
    return (
        f"{report.alert:28} {report.fired_after_s:6.1f} {report.cleared_after_s:7.1f}"
        f"  {report.fault}, then {report.steps}{others}\n{'':44}{report.outcome}{mark}"
    )


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the report of a command


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(PLANS):
        message = f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(PLANS)}"
        raise argparse.ArgumentTypeError(message)
    return names


def main() -> int:
    """Run the drills that the command line names; exit 1 when one was not as its runbook says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=_names, default=list(PLANS), help="alerts, with commas")
    parser.add_argument("--keep", action="store_true", help="data and logs, although all is well")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sluice-drills-"))
    started = time.monotonic()
    paces = f"{QUICK.factor}, where the queue hangs by {STEADY.factor}"
    _say(f"durations of the rules divided by {paces}; data and logs in {folder}")
    _say(f"{'alert':28} {'fires':>6} {'clears':>7}  seconds after the fault, after the steps")
    with ExitStack() as stack:
        emulator = ""
        if needs_emulator(options.only):
            jar = find_jar()
            if jar is None:
                parser.error(MISSING)
            emulator = stack.enter_context(running_emulator(jar))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        done = runner.run(run_all(options.only, folder, emulator))
    is_well = all(isinstance(one, Report) and one.is_well for one in done)
    took_s = time.monotonic() - started
    _say(f"{len(done)} drills in {took_s:.0f} s: {'well' if is_well else 'BROKEN'}")
    if is_well and not options.keep:
        shutil.rmtree(folder)
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
