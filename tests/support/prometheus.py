"""Prometheus itself and its promtool, as Debian's package ``prometheus`` brings them."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson
import pytest

from tests.support.poll import poll_until
from tests.support.ports import free_port

MISSING = (
    "the tests of metrics need Prometheus: `apt install prometheus`, or prometheus and promtool on"
    " the PATH"
)
WITHIN_S = 30


def require(name: str) -> str:
    """Return where a program is; where it is missing CI fails, and people are told."""
    path = shutil.which(name)
    if path is None and os.environ.get("CI") != "true":
        pytest.skip(MISSING)
    assert path is not None, MISSING
    return path


def complaints(metrics: str) -> list[str]:
    """Return what ``promtool check metrics`` says of a scrape; nothing when all is well."""
    ran = subprocess.run(  # noqa: S603 - a program of the system's
        [require("promtool"), "check", "metrics"],
        input=metrics,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    lines = (ran.stdout + ran.stderr).splitlines()
    assert lines or ran.returncode == 0, ran
    return lines


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one."""

    url: str
    session: aiohttp.ClientSession

    async def ask(self, query: str) -> float | None:
        """Return the one value of an instant query; None where there is no series."""
        async with self.session.get(f"{self.url}/api/v1/query", params={"query": query}) as answer:
            said = orjson.loads(await answer.read())
        assert said["status"] == "success", said
        series = said["data"]["result"]
        assert len(series) <= 1, f"{query} has {len(series)} series"
        return float(series[0]["value"][1]) if series else None


@asynccontextmanager
async def running_prometheus(folder: Path, targets: Mapping[str, str]) -> AsyncIterator[Prometheus]:
    """Run a Prometheus of one's own, which scrapes each second, until the block ends.

    Args:
        folder: Where it keeps its data and its log.
        targets: The ``host:port`` of each job.
    """
    address = f"127.0.0.1:{free_port()}"
    log = folder / "prometheus.log"
    words = _configured(folder, targets)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            require("prometheus"),
            *words,
            f"--web.listen-address={address}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    timeout = aiohttp.ClientTimeout(total=WITHIN_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            running = Prometheus(f"http://{address}", session)

            async def is_ready() -> bool:
                assert process.returncode is None, log.read_text()
                try:
                    async with session.get(f"{running.url}/-/ready") as answer:
                        return answer.ok
                except aiohttp.ClientConnectionError:
                    return False

            await poll_until(is_ready, within_s=WITHIN_S, what="Prometheus is ready")
            yield running
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _configured(folder: Path, targets: Mapping[str, str]) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [target]}]}
        for job, target in targets.items()
    ]
    config = folder / "prometheus.yml"  # JSON is YAML, too
    config.write_bytes(orjson.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    return [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        "--log.level=warn",
    ]
