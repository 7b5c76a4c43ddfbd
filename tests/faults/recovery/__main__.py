"""``python -m tests.faults.recovery``: lose a disk, follow docs/recovery.md, and count.

Everything is on loopback and bounded in time. Exit status 1: something is not as it was promised.
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

from tests.faults.broker.stack import broker_stack
from tests.faults.broker.trial import Report
from tests.faults.recovery.home import back_up_and_restore
from tests.faults.recovery.spool import lose_the_spool
from tests.faults.recovery.warehouse import rebuild_from_backup, rebuild_from_nothing
from tests.support.pubsub import MISSING, find_jar, running_emulator

PARTS = ("nothing", "backup", "spool", "home")
KEEP_DAYS = "7"


async def run_parts(options: argparse.Namespace, folder: Path, emulator: str) -> Report:
    """Run what the command line asks for, each part on processes of its own."""
    task = asyncio.current_task()
    assert task is not None
    # Processes of sessions of their own would outlive us: leave in order.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    report = Report(is_chatty=True)
    load = {"seconds": options.seconds, "seed": options.seed, "rate_per_s": options.rate}
    settings = {"PUBSUB_KEEP_DAYS": KEEP_DAYS}
    for name, part in (("nothing", rebuild_from_nothing), ("backup", rebuild_from_backup)):
        if name in options.only:
            async with broker_stack(_new(folder, name), emulator, settings=settings) as stack:
                await part(stack, report, **load)
    if "spool" in options.only:
        async with broker_stack(_new(folder, "spool"), emulator, gateways=1) as stack:
            await lose_the_spool(stack, report, **load)
    if "home" in options.only:
        await back_up_and_restore(_new(folder, "home"), report, **load)
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
    parser.add_argument("--seconds", type=float, default=8, help="of load, before and after")
    parser.add_argument("--rate", type=int, default=1_000, help="events a second")
    parser.add_argument("--keep", action="store_true", help="data and logs, although all is well")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    jar = find_jar()
    if jar is None:
        parser.error(MISSING)
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="sluice-recovery-"))
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
