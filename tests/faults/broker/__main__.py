"""``python -m tests.faults.broker``: break everything around a distributed Sluice, and count.

Everything is on loopback and bounded in time. Exit status 1: a promise was broken.
"""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.faults.broker.deliveries import disturb
from tests.faults.broker.kills import kill_at_random
from tests.faults.broker.outage import MODES, cut_off
from tests.faults.broker.rolling import restart_in_turn
from tests.faults.broker.spool import fill_its_disk, fill_to_its_bound
from tests.faults.broker.stack import broker_stack
from tests.faults.broker.trial import Report
from tests.support.pubsub import MISSING, find_jar, running_emulator

PARTS = ("kills", "outage", "deliveries", "spool", "rolling")


async def run_parts(options: argparse.Namespace, folder: Path, emulator: str) -> Report:
    """Run what the command line asks for, each part on processes of its own."""
    task = asyncio.current_task()
    assert task is not None
    # Processes of sessions of their own would outlive us: leave in order.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    report = Report(is_chatty=True)
    if "kills" in options.only:
        async with broker_stack(_new(folder, "kills"), emulator) as stack:
            await kill_at_random(stack, report, rounds=options.rounds, seed=options.seed)
    if "outage" in options.only:
        async with broker_stack(_new(folder, "outage"), emulator) as stack:
            for mode in options.modes:
                await cut_off(stack, report, mode=mode, seconds=options.outage, seed=options.seed)
    if "deliveries" in options.only:
        async with broker_stack(_new(folder, "deliveries"), emulator, gateways=1) as stack:
            for workers in (1, 2):
                await disturb(stack, report, seconds=3.0, seed=options.seed, workers=workers)
    if "spool" in options.only:
        async with broker_stack(_new(folder, "spool"), emulator, gateways=1) as stack:
            await fill_to_its_bound(stack, report, seed=options.seed)
            await fill_its_disk(stack, report, seed=options.seed)
    if "rolling" in options.only:
        async with broker_stack(_new(folder, "rolling"), emulator, gateways=1) as stack:
            await restart_in_turn(stack, report, seconds=options.rolling, seed=options.seed)
    return report


def _new(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


def _parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(PARTS):
        message = f"unknown: {', '.join(unknown)}; known are {', '.join(PARTS)}"
        raise argparse.ArgumentTypeError(message)
    return names


def main() -> int:
    """Run the parts that the command line names; exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=_parts, default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=50, help="of kills")
    parser.add_argument("--outage", type=float, default=60, help="seconds of each outage")
    parser.add_argument(
        "--modes", type=lambda text: text.split(","), default=MODES, help=",".join(MODES)
    )
    parser.add_argument("--rolling", type=float, default=60, help="seconds of rolling restarts")
    parser.add_argument("--keep", action="store_true", help="data and logs, although all is well")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    jar = find_jar()
    if jar is None:
        parser.error(MISSING)
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="sluice-faults-"))
    print(f"seed {options.seed}, data and logs in {folder}", flush=True)  # noqa: T201
    with (
        running_emulator(jar) as emulator,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        report = runner.run(run_parts(options, folder, emulator))
    report.say("seconds", f"{time.monotonic() - started:.0f}")
    if report.is_well and not options.keep:
        shutil.rmtree(folder)
    return 0 if report.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
