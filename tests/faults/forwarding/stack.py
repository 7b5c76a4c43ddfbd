"""Sluice with a simulated Amplitude, every part a process of its own, in one folder.

clients ──▶ gateway ──▶ queue file ──▶ worker ──▶ warehouse, simulator
"""

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from sluice.tenants import TenantsFile
from tests.faults.broker.stack import running
from tests.faults.forwarding.oracle import Evidence, Taken, Told
from tests.faults.processes import Part
from tests.support.ports import free_port
from tests.support.stack import environment

WAITS: Final = {
    "AMPLITUDE_THROTTLE_WAIT_S": "1",
    "AMPLITUDE_QUOTA_WAIT_S": "1.5",
    "AMPLITUDE_KEY_WAIT_S": "0.5",
}
"""Short, so that a run meets each many times."""


class ForwardingStack:
    """A running one; ``forwarding_stack`` makes it."""

    def __init__(self, folder: Path, session: aiohttp.ClientSession) -> None:
        self.folder = folder
        self.session = session
        self.data_dir = folder / "data"
        self.data_dir.mkdir(mode=0o700)
        self.tenants = TenantsFile(self.data_dir / "tenants.toml")
        ports = [free_port() for _ in range(4)]
        self.gateway_url, self.worker_url, self.simulator_url = (
            f"http://127.0.0.1:{port}" for port in ports[:3]
        )
        variables = environment(
            {
                "DATA_DIR": str(self.data_dir),
                "PORT": str(ports[0]),
                "WORKER_PORT": str(ports[1]),
                "WORKER_URL": self.worker_url,
                "WAREHOUSE_PORT": str(ports[3]),
                "AMPLITUDE_URL": self.simulator_url,
                "LOG_FORMAT": "json",
                **WAITS,
            }
        )

        def part(name: str, *words: str) -> Part:
            return Part(words, variables, folder / f"{name}.log")

        self.gateway = part("gateway", "sluice.cli", "gateway")
        self.worker = part("worker", "sluice.cli", "worker")
        self.warehouse = part("warehouse", "sluice.cli", "warehouse")
        self.simulator = part("simulator", "tests.simulators.amplitude", "--port", str(ports[2]))

    @property
    def warehouse_url(self) -> str:
        """Where ClickHouse is, with user, password and database."""
        return (self.data_dir / "warehouse.url").read_text().strip()

    def add_tenant(self, slug: str, amplitude_key: str, **properties: str) -> str:
        """Make a tenant that forwards, and return its key for the gateway."""
        key = self.tenants.add_tenant(slug)
        self.tenants.set_value(slug, "amplitude.api_key", amplitude_key)
        for name, text in properties.items():
            self.tenants.set_value(slug, f"amplitude.{name}", text)
        return key

    async def simulate(self, **members: object) -> None:
        """Set state of the simulator."""
        async with self.session.post(
            f"{self.simulator_url}/_sim", data=orjson.dumps(members)
        ) as answer:
            assert answer.status == 200, await answer.text()

    async def status(self) -> dict[str, Any] | None:
        """Return what the worker says of forwarding; None while it is away."""
        found = await self._destinations()
        return found.get("amplitude")

    async def is_drained(self) -> bool:
        """Whether every destination has acknowledged everything."""
        found = await self._destinations()
        return bool(found) and not any(one["backlog_events"] for one in found.values())

    async def _destinations(self) -> dict[str, dict[str, Any]]:
        try:
            async with self.session.get(f"{self.worker_url}/status") as answer:
                found: dict[str, Any] = orjson.loads(await answer.read())
        except (aiohttp.ClientError, OSError, TimeoutError):
            return {}
        destinations: dict[str, dict[str, Any]] = found["destinations"]
        return destinations

    async def waiting_users(self) -> set[tuple[str, str]]:
        """Return the tenant and id of each user of whom something is parked."""
        return await asyncio.to_thread(_parked_users, self.data_dir / "parked.sqlite")

    async def taken(self, amplitude_key: str) -> list[Taken]:
        """Return what a project took, in order."""
        url = f"{self.simulator_url}/_sim/taken"
        async with self.session.get(url, params={"api_key": amplitude_key}) as answer:
            rows = [orjson.loads(line) for line in (await answer.read()).splitlines()]
        return [Taken(row["insert_id"], row["user_id"], row["copies"]) for row in rows]

    async def requests(self) -> dict[str, int]:
        """Return how the simulator's requests for uploads ended, by status or fault."""
        async with self.session.get(f"{self.simulator_url}/_sim") as answer:
            found: dict[str, int] = (await answer.json())["requests"].get("/2/httpapi", {})
        return found

    async def evidence(self, slug: str, amplitude_key: str) -> Evidence:
        """Return all that there is about one tenant."""
        stored = await self.ask(
            "SELECT JSONExtractUInt(payload, 'n'), toString(event_id) FROM events FINAL"
            " WHERE tenant = {tenant:String}",
            tenant=slug,
        )
        outcomes = await self.ask(
            "SELECT toString(event_id), outcome, reason, detail FROM outcomes FINAL"
            " WHERE tenant = {tenant:String} AND destination = 'amplitude'",
            tenant=slug,
        )
        letters = await self.ask(
            "SELECT JSONExtractString(row, 'event_id'), reason FROM dead_letters FINAL"
            " WHERE tenant = {tenant:String} AND destination = 'amplitude'",
            tenant=slug,
        )
        return Evidence(
            event_ids={int(n): event_id for n, event_id in stored},
            outcomes={event_id: Told(*rest) for event_id, *rest in outcomes},
            letters=dict(letters),
            taken=await self.taken(amplitude_key),
        )

    async def ask(self, query: str, **parameters: str) -> Sequence[list[str]]:
        """Return the rows of a SELECT from ClickHouse itself."""
        parts = urlsplit(self.warehouse_url)
        async with self.session.post(
            f"http://{parts.hostname}:{parts.port}/",
            params={
                **{f"param_{name}": text for name, text in parameters.items()},
                "database": parts.path.strip("/"),
            },
            data=f"{query} FORMAT JSONCompactEachRow".encode(),
            headers={
                "X-ClickHouse-User": parts.username or "",
                "X-ClickHouse-Key": parts.password or "",
            },
        ) as answer:
            data = await answer.read()
            assert answer.status == 200, data
        return [orjson.loads(line) for line in data.splitlines()]


def _parked_users(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        return set(file.execute("SELECT DISTINCT tenant, user FROM parked"))


@asynccontextmanager
async def forwarding_stack(
    folder: Path, session: aiohttp.ClientSession
) -> AsyncIterator[ForwardingStack]:
    """Run everything but the worker, which is started once there are tenants."""
    stack = ForwardingStack(folder, session)
    async with running(stack.warehouse, stack.gateway, stack.simulator):
        try:
            yield stack
        finally:
            await stack.worker.stop()


def end_in_order() -> None:
    """Let SIGTERM cancel this task: processes of sessions of their own would outlive us."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
