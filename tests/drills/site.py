"""What a drill breaks: Sluice in processes of its own, under steady traffic that is judged.

Two kinds. On one machine everything meets in a queue file, and Amplitude is simulated:

    clients ──▶ gateway ──▶ queue file ──▶ worker ──▶ warehouse, simulator

On many machines everything meets in Pub/Sub (Google's emulator), each way there by a proxy that
can be broken; ``tests/faults/broker/stack.py`` runs that.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from sluice.tenants import TenantsFile
from tests.drills.prometheus import Prometheus, Targets, running_prometheus
from tests.drills.rules import QUICK, Pace
from tests.faults.broker.stack import BrokerStack, broker_stack, running
from tests.faults.broker.trial import Outcome
from tests.faults.oracle import Oracle
from tests.faults.processes import Part
from tests.faults.stored import Ledger
from tests.faults.traffic import Sender, client_session
from tests.support import command
from tests.support.poll import poll_until
from tests.support.ports import free_port
from tests.support.stack import Stack, environment

RATE_PER_S: Final = 50
"""Events a second, in batches and alone."""
SCRAPED_WITHIN_S: Final = 30
FORWARDED_WITHIN_S: Final = 60
EVENT_TYPE: Final = "drill"
TENANT: Final = "drill"
AMPLITUDE_KEY: Final = "key-of-the-drill"

Settings = Mapping[str, str]
"""SLUICE_* without the prefix."""


@dataclass(slots=True, kw_only=True)
class Site:
    """A running Sluice with a Prometheus that watches it and clients that send."""

    folder: Path
    session: aiohttp.ClientSession
    prometheus: Prometheus
    stack: Stack
    """As tests know it."""
    api_key: str
    sender: Sender
    ledger: Ledger
    tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    """For what a drill does beside; entered and left by ``run_drill``."""
    _is_sending: bool = True

    async def send_until_told(self) -> None:
        """Send at a steady rate until ``judge`` ends it."""
        while self._is_sending:
            await self.sender.send(EVENT_TYPE, seconds=1.0, rate_per_s=RATE_PER_S)

    async def judge(self, traffic: "asyncio.Task[None]") -> Outcome:
        """End the traffic, wait for what was promised, and count it."""
        self._is_sending = False
        await traffic
        await self.ledger.wait_until_visible(self.sender.oracle, EVENT_TYPE)
        stored = await self.ledger.read()
        rows = sum(count for _, count in stored)
        verdict = self.sender.oracle.judge(stored)
        return Outcome(verdict, rows, await self.ledger.wait_for_stats(rows))


@dataclass(slots=True, kw_only=True)
class OneMachine(Site):
    """Parts that meet in a queue file."""

    settings: dict[str, str]
    parts: dict[str, Part]
    """``warehouse``, ``worker``, ``gateway``, ``simulator``, as they were started first."""
    simulator_url: str

    async def sluice(self, *words: str) -> command.Ran:
        """Run ``sluice`` as a person beside it would."""
        return await command.sluice(*words, settings=self.settings)

    async def restart(self, name: str, **changed: str) -> None:
        """Stop a part in order, and start it again with these settings changed."""
        await self.parts[name].stop()
        self.parts[name] = Part(
            ["sluice.cli", name],
            environment(self.settings | changed),
            self.folder / f"{name}.log",
        )
        await self.parts[name].start()

    async def simulate(self, **members: object) -> None:
        """Set state of the simulated Amplitude."""
        async with self.session.post(
            f"{self.simulator_url}/_sim", data=orjson.dumps(members)
        ) as answer:
            assert answer.status == 200, await answer.text()

    async def parked(self) -> int:
        """Return how many events wait for Amplitude on the worker's disk."""
        async with self.session.get(f"{self.stack.worker_url}/status") as answer:
            found: dict[str, Any] = orjson.loads(await answer.read())
        return int(found["destinations"]["amplitude"]["parked_events"])

    async def taken_by_amplitude(self, *keys: str) -> int:
        """Return how many different events the projects of these keys took."""
        found: set[str] = set()
        for key in keys:
            url = f"{self.simulator_url}/_sim/taken"
            async with self.session.get(url, params={"api_key": key}) as answer:
                lines = (await answer.read()).splitlines()
            found |= {orjson.loads(line)["insert_id"] for line in lines}
        return len(found)

    async def wait_for_amplitude(self, events: int, *keys: str) -> None:
        """Wait until the projects of these keys took so many different events.

        Raises:
            TimeoutError: They did not.
        """

        async def has_all() -> bool:
            return await self.taken_by_amplitude(*keys) == events

        _: bool = await poll_until(
            has_all, within_s=FORWARDED_WITHIN_S, every_s=0.5, what=f"Amplitude has {events}"
        )


@dataclass(slots=True, kw_only=True)
class ManyMachines(Site):
    """Parts that meet in Pub/Sub."""

    broker: BrokerStack


@asynccontextmanager
async def one_machine(
    folder: Path, settings: Settings, pace: Pace = QUICK
) -> AsyncIterator[OneMachine]:
    """Run the parts side by side in one folder; ``settings`` are for all of them."""
    data_dir = folder / "data"
    data_dir.mkdir(mode=0o700)
    port, worker_port, warehouse_port, simulator_port = (free_port() for _ in range(4))
    simulator_url = f"http://127.0.0.1:{simulator_port}"
    given = {
        "DATA_DIR": str(data_dir),
        "PORT": str(port),
        "WORKER_PORT": str(worker_port),
        "WORKER_URL": f"http://127.0.0.1:{worker_port}",
        "WAREHOUSE_PORT": str(warehouse_port),
        "AMPLITUDE_URL": simulator_url,
        "AMPLITUDE_KEY_WAIT_S": "1",
        "LOG_FORMAT": "json",
        **settings,
    }
    parts = {
        name: Part(["sluice.cli", name], environment(given), folder / f"{name}.log")
        for name in ("warehouse", "worker", "gateway")
    }
    parts["simulator"] = Part(
        ["tests.simulators.amplitude", "--port", str(simulator_port), "--api-key", AMPLITUDE_KEY],
        environment({}),
        folder / "simulator.log",
    )
    tenants = TenantsFile(data_dir / "tenants.toml")
    key = tenants.add_tenant(TENANT)
    tenants.set_value(TENANT, "amplitude.api_key", AMPLITUDE_KEY)
    targets = {
        "sluice-gateway": [f"127.0.0.1:{port}"],
        "sluice-worker": [f"127.0.0.1:{worker_port}"],
    }
    stack = Stack(0, str(data_dir), port, worker_port, warehouse_port)
    async with (
        client_session(connections=0) as session,
        running(*parts.values()),
        _watched(folder, targets, session, pace) as prometheus,
    ):
        warehouse_url = (data_dir / "warehouse.url").read_text().strip()
        site = OneMachine(
            folder=folder,
            session=session,
            prometheus=prometheus,
            stack=stack,
            api_key=key,
            sender=_sender(session, [stack.url], key),
            ledger=Ledger(session, warehouse_url, stack.url, TENANT, stack.read_token(TENANT)),
            settings=given,
            parts=parts,
            simulator_url=simulator_url,
        )
        first = dict(parts)
        try:
            yield site
        finally:
            for name, part in site.parts.items():
                if part is not first[name]:
                    await part.stop()


@asynccontextmanager
async def many_machines(
    folder: Path, settings: Settings, emulator: str, pace: Pace = QUICK
) -> AsyncIterator[ManyMachines]:
    """Run two gateways, one with these settings, and a worker, on Google's emulator."""
    async with (
        client_session(connections=0) as session,
        broker_stack(folder, emulator, gateways=0, workers=1) as broker,
    ):
        broker.gateways += [broker.new_gateway(**settings) for _ in range(2)]
        async with running(*(gateway.part for gateway in broker.gateways)):
            targets = {
                "sluice-gateway": [one.url.removeprefix("http://") for one in broker.gateways],
                "sluice-worker": [broker.as_one.worker_url.removeprefix("http://")],
            }
            async with _watched(folder, targets, session, pace) as prometheus:
                tenant = await broker.new_tenant(session)
                yield ManyMachines(
                    folder=folder,
                    session=session,
                    prometheus=prometheus,
                    stack=broker.as_one,
                    api_key=tenant.api_key,
                    sender=_sender(session, broker.urls, tenant.api_key),
                    ledger=broker.ledger(session, tenant),
                    broker=broker,
                )


@asynccontextmanager
async def _watched(
    folder: Path, targets: Targets, session: aiohttp.ClientSession, pace: Pace
) -> AsyncIterator[Prometheus]:
    async with running_prometheus(folder / "prometheus", targets, session, pace) as prometheus:
        count = sum(len(hosts) for hosts in targets.values())
        _: bool = await poll_until(
            lambda: prometheus.is_up(count), within_s=SCRAPED_WITHIN_S, what="all are scraped"
        )
        yield prometheus


def _sender(session: aiohttp.ClientSession, urls: Sequence[str], api_key: str) -> Sender:
    return Sender(
        session=session,
        urls=urls,
        api_key=api_key,
        oracle=Oracle(),
        chance=random.Random(8),  # noqa: S311 - the same traffic each time
        run="drill",
        numbers=itertools.count(1),
    )
