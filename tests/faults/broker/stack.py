"""Sluice as it runs on many machines: every part a process of its own, Pub/Sub in between.

    gateways ──▶ proxy ──▶ emulator ──▶ proxy ──▶ workers ──▶ warehouse

Each gateway has a data dir of its own for its spool. They share the tenants file and the secret of
read tokens. Whatever was killed is started again by whoever killed it.
"""

import asyncio
import secrets
import sqlite3
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from sluice.core.tokens import mint_read_token
from sluice.tenants import TenantsFile
from tests.faults.processes import Part
from tests.faults.stored import Ledger
from tests.support import command
from tests.support.poll import poll_until
from tests.support.ports import free_port
from tests.support.stack import Stack, environment

TOKEN_TTL_S: Final = 7_200
KNOWN_WITHIN_S: Final = 20
LOOK_EVERY_S: Final = 0.1
SLUICE: Final = (sys.executable, "-m", "sluice.cli")


@dataclass(frozen=True, slots=True)
class Gateway:
    """An edge with its port and its spool."""

    part: Part
    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Its base address."""
        return f"http://127.0.0.1:{self.port}"

    async def spooled(self) -> int | None:
        """Return how many envelopes are in its spool; None where it cannot be read now."""
        return await asyncio.to_thread(_count_spooled, self.folder / "spool.sqlite")


def _count_spooled(path: Path) -> int | None:
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
            row = file.execute("SELECT count(*) FROM messages").fetchone()
    except sqlite3.OperationalError:
        return None
    return int(row[0])


class ProxyPart(Part):
    """A proxy before the broker as a process."""

    def __init__(self, target: str, log: Path) -> None:
        port = free_port()
        self.host = f"127.0.0.1:{port}"
        """``host:port`` of the proxy."""
        words = ["tests.support.broker_proxy", "--port", str(port), "--target", target]
        super().__init__(words, environment({}), log)

    async def use(self, mode: str) -> None:
        """Change how it forwards; in effect on return."""
        self.say(mode)
        await self.hear("ok")


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose events are sent."""

    slug: str
    api_key: str
    token: str


class BrokerStack:
    """A running one; ``broker_stack`` makes it."""

    def __init__(self, folder: Path, emulator: str, settings: Mapping[str, str]) -> None:
        """Take a folder for data and logs, where the emulator is, and settings of all processes."""
        self.folder = folder
        self._settings = settings
        self.emulator = emulator
        self.gateways: list[Gateway] = []
        self.workers: list[Part] = []
        self.gateway_proxy = ProxyPart(emulator, folder / "gateway-proxy.log")
        self.worker_proxy = ProxyPart(emulator, folder / "worker-proxy.log")
        self._data = folder / "warehouse"
        self.warehouse = Part(
            ["sluice.cli", "warehouse"],
            environment({"DATA_DIR": str(self._data), "WAREHOUSE_PORT": str(free_port())}),
            folder / "warehouse.log",
        )
        self._jwt_secret = secrets.token_hex(32)
        self._project = f"project-{uuid.uuid4().hex[:12]}"
        self._worker_port = free_port()

    @property
    def urls(self) -> Sequence[str]:
        """Base addresses of all gateways."""
        return [gateway.url for gateway in self.gateways]

    @property
    def warehouse_url(self) -> str:
        """Where ClickHouse is, with user, password and database."""
        return (self._data / "warehouse.url").read_text().strip()

    @property
    def warehouse_dir(self) -> Path:
        """The folder of all that ClickHouse keeps."""
        return self._data / "warehouse"

    @property
    def _tenants_path(self) -> Path:
        return self._data / "tenants.toml"

    @property
    def as_one(self) -> Stack:
        """Return it as tests know a stack, by its first gateway and worker."""
        self._data.joinpath("jwt.secret").write_text(self._jwt_secret)
        return Stack(
            pid=self.gateways[0].part.pid,
            folder=str(self._data),
            port=self.gateways[0].port,
            worker_port=self._worker_port,
            warehouse_port=urlsplit(self.warehouse_url).port or 0,
        )

    def variables(self, broker: str, settings: dict[str, str]) -> dict[str, str]:
        """Return the environment of a process; ``settings`` are SLUICE_* without prefix."""
        common = {
            "QUEUE_URL": f"pubsub://{self._project}",
            "WAREHOUSE_URL": self.warehouse_url,
            "TENANTS_FILE": str(self._tenants_path),
            "JWT_SECRET": self._jwt_secret,
            "WORKER_URL": f"http://127.0.0.1:{self._worker_port}",
            "LOG_FORMAT": "json",
        }
        return environment(common | dict(self._settings) | settings) | {
            "PUBSUB_EMULATOR_HOST": broker
        }

    @property
    def proxies(self) -> Sequence[ProxyPart]:
        """All ways to the broker."""
        return [self.gateway_proxy, self.worker_proxy]

    def new_gateway(self, *words: str, broker: str = "", **settings: str) -> Gateway:
        """Return one more gateway, which is not started and not among ``gateways``."""
        port = free_port()
        folder = self._new_folder(f"gateway-{port}")
        given = {"DATA_DIR": str(folder), "PORT": str(port), **settings}
        part = Part(
            ["sluice.cli", "gateway", *words],
            self.variables(broker or self.gateway_proxy.host, given),
            folder.with_suffix(".log"),
        )
        return Gateway(part, port, folder)

    def new_worker(self, *, broker: str = "", **settings: str) -> Part:
        """Return one more worker, which is not started and not among ``workers``."""
        port = free_port() if self.workers else self._worker_port
        folder = self._new_folder(f"worker-{port}")
        given = {"DATA_DIR": str(folder), "WORKER_PORT": str(port), **settings}
        variables = self.variables(broker or self.worker_proxy.host, given)
        return Part(["sluice.cli", "worker"], variables, folder.with_suffix(".log"))

    def _new_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    async def new_tenant(self, session: aiohttp.ClientSession, *gateways: Gateway) -> Tenant:
        """Return a new tenant that all gateways know, also those named."""
        slug = f"t-{secrets.token_hex(6)}"
        key = TenantsFile(self._tenants_path).add_tenant(slug)
        now = datetime.now(UTC)
        token = mint_read_token(slug, secret=self._jwt_secret, now=now, ttl_s=TOKEN_TTL_S)
        for gateway in (*self.gateways, *gateways):
            url = f"{gateway.url}/api/ingestion/errors"

            async def is_known(url: str = url) -> bool:
                async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
                    return answer.status not in {401, 403}

            _: bool = await poll_until(
                is_known, within_s=KNOWN_WITHIN_S, what=f"{url} knows {slug}"
            )
        return Tenant(slug, key, token)

    def ledger(self, session: aiohttp.ClientSession, tenant: Tenant, url: str = "") -> Ledger:
        """Return where to look for the tenant's events; stats are asked of the first gateway."""
        return Ledger(session, self.warehouse_url, url or self.urls[0], tenant.slug, tenant.token)

    async def wait_until_drained(self, *gateways: Gateway, within_s: float) -> None:
        """Wait until the spools of these gateways, or of all, are empty.

        Raises:
            TimeoutError: They are not.
        """
        for gateway in gateways or self.gateways:

            async def is_empty(gateway: Gateway = gateway) -> bool:
                return await gateway.spooled() == 0

            _: bool = await poll_until(
                is_empty, within_s=within_s, every_s=LOOK_EVERY_S, what="the spool is empty"
            )

    async def set_up(self) -> None:
        """Do what a user does once, by the commands that a user has."""
        await self.command("setup")
        await self.command("tenant", "add", "first")

    async def command(self, *words: str) -> str:
        """Run one ``sluice`` command, as who sets all up, and return what it prints."""
        variables = self.variables(self.emulator, {"DATA_DIR": str(self._new_folder("setup"))})
        ran = await command.run(*SLUICE, *words, env=variables)
        assert ran.status == 0, ran
        return ran.stdout


@asynccontextmanager
async def broker_stack(
    folder: Path,
    emulator: str,
    *,
    gateways: int = 2,
    workers: int = 2,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[BrokerStack]:
    """Run everything, on a project of its own on the emulator at ``host:port``.

    Args:
        folder: Of data and logs.
        emulator: Where it is.
        gateways: How many.
        workers: How many.
        settings: SLUICE_* of every process, without prefix.
    """
    stack = BrokerStack(folder, emulator, settings or {})
    async with running(stack.warehouse, *stack.proxies):
        await stack.set_up()
        stack.gateways += [stack.new_gateway() for _ in range(gateways)]
        for _ in range(workers):
            stack.workers.append(stack.new_worker())
        async with running(*(gateway.part for gateway in stack.gateways), *stack.workers):
            yield stack


@asynccontextmanager
async def running(*parts: Part) -> AsyncIterator[None]:
    """Start parts side by side, and stop them one after the other in the end."""
    async with AsyncExitStack() as stops:
        for part in reversed(parts):
            stops.push_async_callback(part.stop)
        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                tasks.create_task(part.start())
        yield
