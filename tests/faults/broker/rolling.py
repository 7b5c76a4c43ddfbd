"""A rolling restart under load: no client has a failed request, and totals are exact.

Two gateways share one port (``sluice gateway --processes 2``), two workers the subscription. One
after the other is told to stop, in turn. Clients keep their connections; one whose connection was
closed sends the same event, with the same id, once more on a new one.
"""

import asyncio
import itertools
import signal
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import orjson

from tests.faults.answers import Answered, Answers
from tests.faults.broker.stack import BrokerStack, Gateway, running
from tests.faults.broker.trial import Report, trial
from tests.faults.oracle import Oracle
from tests.faults.processes import children_of, send_signal
from tests.faults.traffic import client_session
from tests.support.poll import poll_until

CLIENTS: Final = 32
RATE_PER_S: Final = 1_000
"""Requests a second of all clients."""
PROCESSES: Final = 2
BACK_WITHIN_S: Final = 30
LISTENS: Final = "0A"
EVENT_TYPE: Final = "rolling"


@dataclass(slots=True, kw_only=True)
class SteadyClients:
    """Clients with one connection each, which count what went wrong."""

    url: str
    api_key: str
    oracle: Oracle
    run: str
    rate_per_s: int
    answers: Answers = field(default_factory=Answers)
    retried: int = 0
    failures: list[str] = field(default_factory=list)
    """What a client saw that could not do what it wanted."""
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def go_on(self, stop: asyncio.Event) -> None:
        """Send at a steady rate until ``stop``."""
        async with AsyncExitStack() as sessions, asyncio.TaskGroup() as tasks:
            for _ in range(CLIENTS):
                session = await sessions.enter_async_context(client_session(connections=1))
                tasks.create_task(self._be_a_client(session, stop))

    async def _be_a_client(self, session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        due = time.monotonic()
        while not stop.is_set():
            await self._send(session, next(self._numbers))
            due = max(due + CLIENTS / self.rate_per_s, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _send(self, session: aiohttp.ClientSession, n: int) -> None:
        event = {
            "event_id": f"{self.run}-{n}",
            "user_id": f"user-{n % 997}",
            "event_type": EVENT_TYPE,
            "payload": {"n": n},
        }
        body = orjson.dumps(event)
        seen = await self._post(session, body)
        if not isinstance(seen, int):
            self.retried += 1
            seen = await self._post(session, body)
        if seen == 202:
            self.oracle.accepted.add(n)
        else:
            self.oracle.unanswered.add(n)
            self.failures.append(str(seen))

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> int | str:
        """Return the status, or how the connection failed."""
        started = time.monotonic()
        headers = {"Authorization": f"ApiKey {self.api_key}", "Content-Type": "application/json"}
        try:
            async with session.post(
                f"{self.url}/api/ingestion/track", data=body, headers=headers
            ) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            return repr(error)
        took_s = time.monotonic() - started
        self.answers.all.append(Answered(started, took_s, answer.status))
        return answer.status


async def restart_in_turn(
    stack: BrokerStack,
    report: Report,
    *,
    seconds: float,
    seed: int,
    rate_per_s: int = RATE_PER_S,
) -> None:
    """Stop a gateway, then a worker, again and again for some seconds."""
    gateway = stack.new_gateway("--processes", str(PROCESSES))
    async with trial(stack, seed) as judge, running(gateway.part):
        clients = SteadyClients(
            url=gateway.url,
            api_key=judge.sender.api_key,
            oracle=judge.oracle,
            run=str(seed),
            rate_per_s=rate_per_s,
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(clients.go_on(stop))
            restarts = await _restart_until(stack, gateway, time.monotonic() + seconds)
            stop.set()
        await judge.wait_until_visible(EVENT_TYPE)
        outcome = await judge.judge()
    answers = clients.answers
    report.say("rolling", f"{restarts[0]} gateways and {restarts[1]} workers restarted")
    report.say("rolling: answers", answers)
    report.say("rolling: 5xx", answers.failed, is_well=answers.failed == 0)
    report.say(
        "rolling: failed",
        f"{len(clients.failures)} {clients.failures[:3] or ''}; sent once more {clients.retried}",
        is_well=not clients.failures,
    )
    report.say("rolling: totals", outcome, is_well=outcome.holds)


async def _restart_until(stack: BrokerStack, gateway: Gateway, end: float) -> tuple[int, int]:
    gateways = workers = 0
    while time.monotonic() < end:
        await _restart_gateway(gateway)
        gateways += 1
        worker = stack.workers[workers % len(stack.workers)]
        worker.kill(signal.SIGTERM)
        await worker.restart()
        workers += 1
    return gateways, workers


async def _restart_gateway(gateway: Gateway) -> None:
    """Tell the oldest process to stop, and wait until another serves in its place."""
    oldest = min(_processes(gateway))
    send_signal(oldest, signal.SIGTERM)

    def is_replaced() -> bool:
        return oldest not in _processes(gateway) and _listeners(gateway.port) == PROCESSES

    _: bool = await poll_until(
        is_replaced, within_s=BACK_WITHIN_S, what="another gateway serves in its place"
    )


def _processes(gateway: Gateway) -> list[int]:
    return [pid for name, pid in children_of(gateway.part.pid) if name == "gateway"]


def _listeners(port: int) -> int:
    """Return how many sockets listen on a port of loopback."""
    found = 0
    with suppress(FileNotFoundError):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            found += state == LISTENS and int(local.rpartition(":")[2], 16) == port
    return found
