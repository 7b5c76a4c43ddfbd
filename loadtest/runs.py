"""``python -m loadtest.runs``: many workflow runs at once on one worker, and the memory they take.

A real worker process and a real warehouse; Amplitude is the simulator, which answers each request
after ``--latency-ms``. All runs are queued before the worker starts, so that it has them at once.
"""

import argparse
import asyncio
import sys
import tempfile
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import uvloop

from loadtest.processes import running
from sluice.core.envelope import encode, seal
from sluice.core.workflows import DEFAULTS
from sluice.queue import open_queue
from sluice.settings import load_settings
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse
from sluice.warehouse.migrate import migrate
from sluice.warehouse.queries import Query
from sluice.workflows.core.runs import Run, Start, new_run_id, run_time
from tests.support.amplitude import AmplitudeProject, running_simulator
from tests.support.warehouse import warehouse_process

TENANT = "load"
MIB = 1024 * 1024
STATES = Query(
    "load_states",
    "SELECT state, count() FROM workflow_runs FINAL GROUP BY state",
)


def new_runs(count: int) -> list[Run]:
    """Return runs of the shipped document that sends an event and reads it back."""
    config = DEFAULTS["cg-ingest"]
    moment = datetime.now(UTC)
    day = moment.strftime("%Y%m%d")
    return [
        Run(
            tenant=TENANT,
            run_id=new_run_id(moment, uuid.uuid4().hex),
            config_id=config.config_id,
            type=config.type,
            name=config.name,
            workflow_id="ingest-and-segment",
            source="api",
            created_at=run_time(moment),
            inputs=(
                f'{{"userId":"person-{number}","eventType":"load","start":"{day}","end":"{day}"}}'
            ),
        )
        for number in range(count)
    ]


def rss_bytes(pid: int) -> int:
    """Return the memory of a process."""
    return _status(pid, "VmRSS")


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process had."""
    return _status(pid, "VmHWM")


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


async def run_all(folder: Path, runs: int, latency_ms: float) -> int:
    """Run all at once; return the exit status."""
    with (
        warehouse_process(folder / "engine") as engine,
        running_simulator("--latency-ms", str(latency_ms)) as simulator,
    ):
        settings = load_settings(data_dir=folder, warehouse_url=engine, amplitude_url=simulator)
        async with aiohttp.ClientSession() as session:
            project = AmplitudeProject(simulator, session, "key-of-the-load")
            await project.set(latency_ms=latency_ms)
        tenants = TenantsFile(settings.tenants_path)
        tenants.add_tenant(TENANT)
        tenants.set_value(TENANT, "amplitude.api_key", "key-of-the-load")
        tenants.set_value(TENANT, "amplitude.secret_key", "secret")
        async with open_queue(settings) as queue, Warehouse(settings) as warehouse:
            await migrate(warehouse)
            env = {
                "SLUICE_DATA_DIR": str(folder),
                "SLUICE_WAREHOUSE_URL": engine,
                "SLUICE_AMPLITUDE_URL": simulator,
                "SLUICE_WORKER_PORT": "0",
                "SLUICE_LOG_FORMAT": "json",
            }
            words = ["sluice.cli", "worker", "--only", "workflows"]
            with running(words, env=env, log=folder / "worker.log") as worker:
                empty = rss_bytes(worker.pid)
                commands = encode("commands", [Start(run) for run in new_runs(runs)])
                started = time.monotonic()
                await queue.publish(
                    "commands", [seal(rows, envelope_id=str(uuid.uuid4())) for rows in commands]
                )
                most, states = await _watch(warehouse, runs)
                took_s = time.monotonic() - started
                peak = peak_bytes(worker.pid)
    good = states.get("succeeded", 0) == runs
    print(f"runs                 {runs}, each of 2 steps, answered after {latency_ms:g} ms")
    print(f"live at once         {most}")
    print(f"ended                {dict(states)} in {took_s:.1f} s, {runs / took_s:.0f} runs/s")
    print(f"memory of the worker {empty / MIB:.0f} MB idle, {peak / MIB:.0f} MB at most")
    return 0 if good and peak < 200 * MIB else 1


async def _watch(warehouse: Warehouse, runs: int) -> tuple[int, Counter[str]]:
    most = 0
    states: Counter[str] = Counter()
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        states = Counter({str(state): int(n) for state, n in await warehouse.fetch(STATES)})
        most = max(most, states["started"] + states["in progress"])
        if states["succeeded"] + states["failed"] == runs:
            break
    return most, states


def main() -> int:
    """Run what the command line asks for; exit 1 if it took too much or something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--latency-ms", type=float, default=5_000)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sluice-runs-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(run_all(Path(folder), options.runs, options.latency_ms))


if __name__ == "__main__":
    sys.exit(main())
