"""``python -m tests.faults.recovery``: lose a disk, follow docs/recovery.md, and count.

Everything is on loopback and bounded in time. Exit status 1: something is not as it was promised.
"""

import argparse
import sys
from pathlib import Path

from tests.faults.broker.stack import broker_stack
from tests.faults.broker.trial import Report
from tests.faults.parts import make_folder, parser_of, run
from tests.faults.recovery.home import back_up_and_restore
from tests.faults.recovery.spool import lose_the_spool
from tests.faults.recovery.warehouse import rebuild_from_backup, rebuild_from_nothing

PARTS = ("nothing", "backup", "spool", "home")
KEEP_DAYS = "7"


async def run_parts(
    options: argparse.Namespace, folder: Path, emulator: str, report: Report
) -> None:
    """Run what the command line asks for, each part on processes of its own."""
    load = {"seconds": options.seconds, "seed": options.seed, "rate_per_s": options.rate}
    settings = {"PUBSUB_KEEP_DAYS": KEEP_DAYS}
    for name, part in (("nothing", rebuild_from_nothing), ("backup", rebuild_from_backup)):
        if name in options.only:
            async with broker_stack(
                make_folder(folder, name), emulator, settings=settings
            ) as stack:
                await part(stack, report, **load)
    if "spool" in options.only:
        async with broker_stack(make_folder(folder, "spool"), emulator, gateways=1) as stack:
            await lose_the_spool(stack, report, **load)
    if "home" in options.only:
        await back_up_and_restore(make_folder(folder, "home"), report, **load)


def main() -> int:
    """Run the parts that the command line names; exit 1 when a promise was broken."""
    parser = parser_of(__doc__, PARTS)
    parser.add_argument("--seconds", type=float, default=8, help="of load, before and after")
    parser.add_argument("--rate", type=int, default=1_000, help="events a second")
    return run(parser, run_parts)


if __name__ == "__main__":
    sys.exit(main())
