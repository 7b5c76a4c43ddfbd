"""``python -m loadtest.runs``: many workflow runs at once on one worker, and the memory they take.

A real worker process and a real warehouse. Each run is a document of two requests to a server that
answers after ``--latency-ms``, with a wait between: what the service sees is slow, so all the runs
are there at once.
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
from typing import Any

import uvloop
from aiohttp import web

from loadtest.processes import running
from sluice.core.envelope import encode, seal
from sluice.queue import open_queue
from sluice.settings import Settings, load_settings
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse
from sluice.warehouse.migrate import migrate
from sluice.warehouse.queries import Query
from sluice.workflows.core.runs import Run, Start, new_run_id, run_time
from tests.support.warehouse import warehouse_process
from tests.support.workflows import description, document, serving

TENANT = "load"
CONFIG = "cg-load"
MIB = 1024 * 1024
STATES = Query(
    "load_states",
    "SELECT state, count() FROM workflow_runs FINAL GROUP BY state",
)
ERRORS = Query(
    "load_errors",
    "SELECT error_type, any(error_message), count() FROM workflow_runs FINAL"
    " WHERE state = 'failed' GROUP BY error_type",
)


def add_workflow(folder: Path, url: str) -> None:
    """Make a tenant whose workflow asks the server twice."""
    steps: list[dict[str, Any]] = [
        {"stepId": "first", "operationId": "call", "outputs": {"body": "$response.body"}},
        {"stepId": "wait", "operationId": "call", "x-sluice-poll-seconds": 2},
    ]
    steps[0]["onSuccess"] = [{"name": "on", "type": "goto", "stepId": "wait"}]
    documents = folder / "workflows" / TENANT
    documents.mkdir(parents=True)
    (documents / "load.arazzo.json").write_bytes(document(*steps))
    (documents / "api.yaml").write_bytes(description(url, call={}))
    TenantsFile(folder / "tenants.toml").add_tenant(TENANT)
    with (folder / "tenants.toml").open("a") as file:
        file.write(
            f'\n[tenants.{TENANT}.workflows.{CONFIG}]\nname = "Load"\ntype = "arazzo.w"\n'
            'document = "load.arazzo.json"\n'
        )


def new_runs(count: int) -> list[Run]:
    """Return runs of the document."""
    moment = datetime.now(UTC)
    return [
        Run(
            tenant=TENANT,
            run_id=new_run_id(moment, uuid.uuid4().hex),
            config_id=CONFIG,
            type="arazzo.w",
            name="Load",
            workflow_id="w",
            source="api",
            created_at=run_time(moment),
        )
        for _ in range(count)
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

    async def answer(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(latency_ms / 1000)
        return web.json_response({"answer": "x" * 1_000})

    with warehouse_process(folder / "engine") as engine:
        settings = load_settings(data_dir=folder, warehouse_url=engine)
        async with serving(answer) as served:
            await asyncio.to_thread(add_workflow, folder, served.url)
            return await _measured(folder, settings, served.place, runs, latency_ms)


async def _measured(
    folder: Path, settings: Settings, place: str, runs: int, latency_ms: float
) -> int:
    async with open_queue(settings) as queue, Warehouse(settings) as warehouse:
        await migrate(warehouse)
        env = {
            "SLUICE_DATA_DIR": str(folder),
            "SLUICE_WAREHOUSE_URL": settings.warehouse_url.get_secret_value(),
            "SLUICE_WORKFLOW_PRIVATE_HOSTS": place,
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
        errors = await warehouse.fetch(ERRORS)
    if states["failed"]:
        print(f"errors               {errors}")
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
