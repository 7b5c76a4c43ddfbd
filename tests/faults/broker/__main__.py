"""``python -m tests.faults.broker``: break everything around a distributed Sluice, and count.

Everything is on loopback and bounded in time. Exit status 1: a promise was broken.
"""

import argparse
import sys
from pathlib import Path

from tests.faults.broker.deliveries import disturb
from tests.faults.broker.kills import kill_at_random
from tests.faults.broker.outage import MODES, cut_off
from tests.faults.broker.rolling import restart_in_turn
from tests.faults.broker.spool import fill_its_disk, fill_to_its_bound
from tests.faults.broker.stack import broker_stack
from tests.faults.broker.trial import Report
from tests.faults.parts import make_folder, parser_of, run

PARTS = ("kills", "outage", "deliveries", "spool", "rolling")


async def run_parts(
    options: argparse.Namespace, folder: Path, emulator: str, report: Report
) -> None:
    """Run what the command line asks for, each part on processes of its own."""
    if "kills" in options.only:
        async with broker_stack(make_folder(folder, "kills"), emulator) as stack:
            await kill_at_random(stack, report, rounds=options.rounds, seed=options.seed)
    if "outage" in options.only:
        async with broker_stack(make_folder(folder, "outage"), emulator) as stack:
            for mode in options.modes:
                await cut_off(stack, report, mode=mode, seconds=options.outage, seed=options.seed)
    if "deliveries" in options.only:
        async with broker_stack(make_folder(folder, "deliveries"), emulator, gateways=1) as stack:
            for workers in (1, 2):
                await disturb(stack, report, seconds=3.0, seed=options.seed, workers=workers)
    if "spool" in options.only:
        async with broker_stack(make_folder(folder, "spool"), emulator, gateways=1) as stack:
            await fill_to_its_bound(stack, report, seed=options.seed)
            await fill_its_disk(stack, report, seed=options.seed)
    if "rolling" in options.only:
        async with broker_stack(make_folder(folder, "rolling"), emulator, gateways=1) as stack:
            await restart_in_turn(stack, report, seconds=options.rolling, seed=options.seed)


def main() -> int:
    """Run the parts that the command line names; exit 1 when a promise was broken."""
    parser = parser_of(__doc__, PARTS)
    parser.add_argument("--rounds", type=int, default=50, help="of kills")
    parser.add_argument("--outage", type=float, default=60, help="seconds of each outage")
    parser.add_argument(
        "--modes", type=lambda text: text.split(","), default=MODES, help=",".join(MODES)
    )
    parser.add_argument("--rolling", type=float, default=60, help="seconds of rolling restarts")
    return run(parser, run_parts)


if __name__ == "__main__":
    sys.exit(main())
