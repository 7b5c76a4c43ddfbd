"""Debian's Prometheus, which reads the shipped rules and asks real processes every second."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import yaml

from tests.drills.rules import Pace, scaled
from tests.support.poll import poll_until
from tests.support.ports import free_port

RULES: Final = Path(__file__).parents[2] / "ops/prometheus/rules.yaml"
MISSING: Final = "Prometheus is not here: install prometheus (Debian has it), with promtool."
READY_WITHIN_S: Final = 30
STOP_WITHIN_S: Final = 10
LOOKBACK_S: Final = 300
"""Prometheus's own; scaled as the rules are."""
ASK_EVERY_S: Final = 0.2

Targets = Mapping[str, Sequence[str]]
"""``host:port`` of what is scraped, by job."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one."""

    url: str
    session: aiohttp.ClientSession

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression, now.

        Raises:
            ValueError: It is not PromQL; the text says why.
        """
        found = await self._ask("query", query=expression)
        samples: list[dict[str, Any]] = found["result"]
        return samples

    async def firing(self) -> dict[str, list[dict[str, Any]]]:
        """Return the alerts that fire, by name."""
        found: dict[str, list[dict[str, Any]]] = {}
        for alert in (await self._ask("alerts"))["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert)
        return found

    async def rule_errors(self) -> list[str]:
        """Return what went wrong when rules were evaluated last."""
        groups = (await self._ask("rules"))["groups"]
        return [rule["lastError"] for group in groups for rule in group["rules"]
                if rule.get("lastError")]  # fmt: skip

    async def is_up(self, targets: int) -> bool:
        """Whether so many targets answer."""
        return [one["value"][1] for one in await self.query("sum(up)")] == [str(targets)]

    async def _ask(self, path: str, **params: str) -> dict[str, Any]:
        async with self.session.get(f"{self.url}/api/v1/{path}", params=params) as answer:
            body: dict[str, Any] = orjson.loads(await answer.read())
        if body["status"] != "success":
            message = str(body.get("error"))
            raise ValueError(message)
        data: dict[str, Any] = body["data"]
        return data


@asynccontextmanager
async def running_prometheus(
    folder: Path, targets: Targets, session: aiohttp.ClientSession, pace: Pace
) -> AsyncIterator[Prometheus]:
    """Run it in a folder of its own until the block ends.

    Args:
        folder: For its configuration and its data.
        targets: What it scrapes.
        session: With which it is asked.
        pace: How fast the shipped rules go.

    Raises:
        RuntimeError: There is no Prometheus, or it did not get ready.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise RuntimeError(MISSING)
    config_path = _configure(folder, targets, pace)
    url = f"http://127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={config_path}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={url.removeprefix('http://')}",
            f"--query.lookback-delta={LOOKBACK_S // pace.factor}s",
            "--log.level=warn",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _: bool = await poll_until(
            lambda: _is_ready(url, session), within_s=READY_WITHIN_S, what="Prometheus is ready"
        )
        yield Prometheus(url, session)
    finally:
        await _stop(process)


def _configure(folder: Path, targets: Targets, pace: Pace) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "rules.yaml").write_text(scaled(RULES.read_text(), pace.factor))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(_config(targets, f"{pace.scrape_s}s")))
    return path


def _config(targets: Targets, every: str) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(hosts)}]}
            for job, hosts in targets.items()
        ],
    }


async def _is_ready(url: str, session: aiohttp.ClientSession) -> bool:
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with session.get(f"{url}/-/ready") as answer:
            return answer.status == 200
    return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
