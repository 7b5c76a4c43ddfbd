"""The command line of fault runs that have parts, beside one emulator of Pub/Sub."""

import argparse
import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import uvloop

from tests.faults.broker.trial import Report
from tests.support.pubsub import MISSING, find_jar, running_emulator

RunParts = Callable[[argparse.Namespace, Path, str, Report], Awaitable[None]]
"""Runs the parts of ``options.only`` in a folder, beside the emulator at an address."""


def parser_of(about: str | None, known: Collection[str]) -> argparse.ArgumentParser:
    """Return a parser with what all such runs can be told."""

    def parts(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            message = f"unknown: {', '.join(unknown)}; known are {', '.join(known)}"
            raise argparse.ArgumentTypeError(message)
        return names

    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--only", type=parts, default=list(known), help=",".join(known))
    parser.add_argument("--keep", action="store_true", help="data and logs, although all is well")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    return parser


def run(parser: argparse.ArgumentParser, run_parts: RunParts) -> int:
    """Run what the command line asks for; return 1 when a promise was broken."""
    options = parser.parse_args()
    jar = find_jar()
    if jar is None:
        parser.error(MISSING)
    report = Report(is_chatty=True)
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="sluice-faults-"))
    print(f"seed {options.seed}, data and logs in {folder}", flush=True)  # noqa: T201
    with (
        running_emulator(jar) as emulator,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_until_told(run_parts(options, folder, emulator, report)))
    report.say("seconds", f"{time.monotonic() - started:.0f}")
    if report.is_well and not options.keep:
        shutil.rmtree(folder)
    return 0 if report.is_well else 1


async def _until_told(work: Awaitable[None]) -> None:
    task = asyncio.current_task()
    assert task is not None
    # Processes of sessions of their own would outlive us: leave in order.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await work


def make_folder(folder: Path, name: str) -> Path:
    """Make the folder of one part."""
    made = folder / name
    made.mkdir()
    return made
