"""``python -m tests.faults.ledger``: many real events of a day; a few are removed or doubled.

Stores and forwards them through a worker, reconciles the clean day, tampers, reconciles again, and
says how long it took. Exit status 1: the clean day was not clean, or a difference was not named.
"""

import argparse
import asyncio
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import uvloop

from sluice.core.event import Event
from tests.support.amplitude import AmplitudeProject, running_simulator
from tests.support.builtin_runs import new_run
from tests.support.forwarding_rig import ForwardingRig, forwarding
from tests.support.tampering import copy_event, remove_event
from tests.support.warehouse import warehouse_process
from tests.support.worker_rig import Place, envelopes, make_event
from worker.workflows.builtins.reconcile import BUILTIN

SAMPLE: Final = Path(__file__).parents[2] / "data/wikiticker.first500.ndjson"
YESTERDAY: Final = (datetime.now(UTC) - timedelta(days=1)).replace(
    hour=0, minute=0, second=0, microsecond=0
)
DAY: Final = timedelta(days=1)
IN_ENVELOPE: Final = 1_000
WITHIN_S: Final = 600
FEW: Final = 5
"""Of each kind of tampering."""


def events_of(count: int) -> Iterator[Event]:
    """Yield events spread over the day, every third named by its client."""
    lines = SAMPLE.read_bytes().splitlines()
    for number, line in enumerate(islice(cycle(lines), count)):
        moment = YESTERDAY + DAY * number / count
        yield make_event(
            event_type=f"edit_{number % 7}",
            user_id=f"user-{number % 5_000}",
            client_id=f"edit-{number}" if number % 3 == 0 else None,
            received_at=moment,
            occurred_at=moment.isoformat()[:19],
            payload=line,
        )


async def reconcile(there: ForwardingRig) -> tuple[dict[str, Any], float]:
    """Return what a run says and how long it took."""
    began = time.monotonic()
    run = new_run(BUILTIN, there.rig, since=YESTERDAY, until=YESTERDAY + DAY)
    return dict(await run.finish()), time.monotonic() - began


async def tamper(there: ForwardingRig, ids: list[str]) -> set[tuple[str, str]]:
    """Remove and double events; return what is to be named."""
    chosen = iter(random.sample(ids, 4 * FEW))
    expected: set[tuple[str, str]] = set()
    for _ in range(FEW):
        lost, twice, not_there, there_twice = islice(chosen, 4)
        await remove_event(there.rig, lost)
        await copy_event(there.rig, twice, event_type="'by_hand'")
        await there.amplitude.set(remove=[not_there], double=[there_twice])
        expected |= {("missing", lost), ("stored_twice", twice)}
        expected |= {("not_at_amplitude", not_there), ("twice_at_amplitude", there_twice)}
    return expected


async def trial(folder: Path, count: int) -> int:
    """Run it; return how many promises were broken."""
    with warehouse_process(folder / "engine") as engine, running_simulator() as simulator:
        async with aiohttp.ClientSession() as session:
            project = AmplitudeProject(simulator, session, "key-of-a-large-day")
            await project.set(export_delay_s=None, eps_threshold=None, daily_quota=None)
            settings = {"amplitude_export_delay_s": 0}
            async with forwarding(Place(folder, engine), project, **settings) as there:
                there.set(secret_key="secret")
                return await _trial(there, count)


async def _trial(there: ForwardingRig, count: int) -> int:
    ids: list[str] = []
    began = time.monotonic()
    async with there.rig.worker():
        part: list[Event] = []
        for event in events_of(count):
            part.append(event)
            ids.append(event.event_id)
            if len(part) == IN_ENVELOPE:
                await there.rig.queue.publish("events", envelopes(part))
                part = []
        await there.rig.queue.publish("events", envelopes(part))
        await there.drained(within_s=WITHIN_S)
    sys.stdout.write(f"{count:,} events stored and forwarded in {time.monotonic() - began:.1f} s\n")
    clean, clean_s = await reconcile(there)
    sys.stdout.write(f"clean day, {clean_s:.1f} s: {clean['summary']}\n")
    expected = await tamper(there, ids)
    found, found_s = await reconcile(there)
    sys.stdout.write(f"tampered day, {found_s:.1f} s: {found['summary']}\n")
    named = {(one["kind"], one["event_id"]) for one in found["differences"] if "event_id" in one}
    problems = [] if clean["is_balanced"] else [f"not clean: {clean['difference_counts']}"]
    problems += [f"not named: {one}" for one in sorted(expected - named)]
    problems += [f"named without cause: {one}" for one in sorted(named - expected)]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stdout.write("\n".join([*problems, f"{len(problems)} problems, {peak_mb} MB\n"]))
    if problems:
        sys.stdout.write(f"{msgspec.json.encode(found).decode()[:4_000]}\n")
    return len(problems)


def main() -> int:
    """Run what the command line asks for; exit 1 when something was not found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sluice-ledger-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return 1 if runner.run(trial(Path(folder), options.events)) else 0


if __name__ == "__main__":
    sys.exit(main())
