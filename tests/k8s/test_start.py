"""Processes start with exactly what their pods give them, and answer their probes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.k8s.cluster import TENANTS, Cluster, Obj, Workload, cluster_of
from tests.support.poll import poll_until
from worker.destinations import NAMES

START_S = 30
NEED_TABLES = ("worker-warehouse", "worker-workflows")
"""Who is not ready before the warehouse has answered."""
NOWHERE = "127.0.0.1:1"
"""Neither emulator nor warehouse is there: a pod starts all the same."""


def _environment(cluster: Cluster, container: Obj, folder: Path) -> dict[str, str]:
    """Return a container's environment, with its mounts below ``folder`` and free ports."""
    environment = cluster.environment(container)
    for mount in container["volumeMounts"]:
        (folder / mount["mountPath"].strip("/")).mkdir(parents=True, exist_ok=True)
        for name, value in environment.items():
            if value == mount["mountPath"] or value.startswith(mount["mountPath"] + "/"):
                environment[name] = str(folder / value.strip("/"))
    if Path(environment["SLUICE_TENANTS_FILE"]).parent.exists():
        Path(environment["SLUICE_TENANTS_FILE"]).write_text(TENANTS.read_text())
    environment |= {"SLUICE_PORT": "0", "SLUICE_WORKER_PORT": "0", "SLUICE_HOST": "127.0.0.1"}
    environment |= {"PUBSUB_EMULATOR_HOST": NOWHERE, "PATH": os.environ["PATH"]}
    environment["SLUICE_WAREHOUSE_URL"] = f"http://sluice:x@{NOWHERE}/default"
    return environment | {"PYTHONPATH": os.pathsep.join(sys.path)}


@asynccontextmanager
async def started(
    cluster: Cluster, workload: Workload, folder: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run a container's command with its environment; only places and ports are this machine's."""
    container = workload.containers[0]
    environment = _environment(cluster, container, folder)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sluice.cli", *container["args"]),
        env=environment,
        cwd="/",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("ready "), line
        yield process, line.removeprefix("ready ").strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(session: aiohttp.ClientSession, url: str, wanted: int) -> bool:
    async with session.get(url) as answer:
        return answer.status == wanted


@pytest.mark.parametrize("component", ["gateway", *(f"worker-{name}" for name in NAMES)])
async def test_pod_starts_answers_its_probes_and_stops_in_its_time(
    component: str, tmp_path: Path
) -> None:
    cluster = cluster_of("dev")
    [workload] = [one for one in cluster.ours() if one.component == component]
    container = workload.containers[0]
    async with started(cluster, workload, tmp_path) as (process, address):
        async with aiohttp.ClientSession() as session:
            for name in ("startupProbe", "livenessProbe", "readinessProbe"):
                url = address + container[name]["httpGet"]["path"]
                waits = component in NEED_TABLES and name == "readinessProbe"
                wanted = 503 if waits else 200
                await poll_until(partial(_answers, session, url, wanted), within_s=START_S)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(workload.pod["terminationGracePeriodSeconds"]):
            assert await process.wait() == 0
