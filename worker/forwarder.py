"""Sends one tenant's events through lanes: one user always in the same lane, lanes at once.

A lane has one request in flight, so that the events of a user arrive in order. A project has at
most ``in_flight`` lanes. What the answers mean is decided in ``worker.core``.
"""

import asyncio
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from sluice.core.amplitude import AmplitudeConfig
from sluice.core.retry import backoff_s
from sluice.telemetry import (
    AMPLITUDE_EVENTS,
    AMPLITUDE_HELD,
    AMPLITUDE_REQUESTS,
    AMPLITUDE_SECONDS,
)
from worker.amplitude_client import AmplitudeClient, Endpoint
from worker.core.amplitude_answers import Held, Verdict, judge
from worker.core.lane import Item, Lane, LaneLimits, Probe, Settled
from worker.pace import Pace

QUICK_TRIES: Final = 4
"""Requests in a row that may fail without an answer before the whole project waits."""
QUICK_BACKOFF_S: Final = (0.05, 0.5)
RELEARN_S: Final = 600.0
"""How long a size that was too large is avoided."""
LEAST_BYTES: Final = 20_000
MAX_EVENTS: Final = 1_000
MAX_BYTES: Final[dict[Endpoint, int]] = {"/2/httpapi": 900_000, "/batch": 10_000_000}

SLOW: Final = Held("slow", "Amplitude answers slowly; others do not wait for it")
PROBE: Final = (
    b'{"user_id":"sluice-probe","event_type":"$identify","insert_id":"sluice-probe",'
    b'"user_properties":{"$set":{}}}'
)
"""Counts as nothing and changes nothing; says whether requests are read at all."""


@dataclass(slots=True)
class _Learned:
    """What a project's answers taught."""

    max_bytes: int
    until: float


class Forwarder:
    """Sends events to projects of Amplitude.

    Args:
        client: The connections.
        in_flight: Requests at once for one project.
        endpoint: ``/batch`` for what is sent again or belatedly.
        pace: What every request waits for; None: nothing.
    """

    def __init__(
        self,
        client: AmplitudeClient,
        *,
        in_flight: int,
        endpoint: Endpoint = "/2/httpapi",
        pace: Pace | None = None,
    ) -> None:
        self._client = client
        self._in_flight = in_flight
        self._endpoint = endpoint
        self._pace = pace
        self._learned: dict[str, _Learned] = {}

    async def forward(
        self,
        config: AmplitudeConfig,
        items: Sequence[Item],
        *,
        patience_s: float,
        within_s: float = math.inf,
        is_trial: bool = False,
    ) -> Settled:
        """Send the events of one tenant; return what became of each.

        Args:
            config: The tenant's project.
            items: In order.
            patience_s: How long one request may take, and how long quick failures are retried.
            within_s: After this time nothing more is begun, however well it goes: what is left
                then has to wait, as ``slow``.
            is_trial: One request at a time, because the project did not answer lately.
        """
        settled = Settled()
        if not items:
            return settled
        tenant = items[0].tenant
        limits = LaneLimits(MAX_EVENTS, self._max_bytes(tenant))
        lanes = 1 if is_trial else self._in_flight
        until = time.monotonic() + within_s
        parts: list[list[Item]] = [[] for _ in range(lanes)]
        for item in items:
            parts[crc32(item.user_id.encode()) % lanes].append(item)
        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                if part:
                    lane = Lane(part, limits, settled)
                    running = self._run(config, lane, patience_s, until)
                    tasks.create_task(running, name=f"lane:{tenant}")
        self._learn(tenant, settled)
        return settled

    async def _run(
        self, config: AmplitudeConfig, lane: Lane, patience_s: float, until: float
    ) -> None:
        failures = 0
        started = time.monotonic()
        while (todo := lane.next()) is not None:
            if time.monotonic() > until:
                lane.answered(SLOW)
                continue
            verdict = await self._ask(config, todo, patience_s)
            if isinstance(verdict, Held) and verdict.reason == "unavailable":
                failures += 1
                is_patient = time.monotonic() - started < patience_s
                if failures < QUICK_TRIES and is_patient:
                    lane.retry()
                    base_s, cap_s = QUICK_BACKOFF_S
                    await asyncio.sleep(
                        backoff_s(failures, base_s=base_s, cap_s=cap_s, jitter=jitter())
                    )
                    continue
            else:
                failures = 0
                started = time.monotonic()
            lane.answered(verdict)

    async def _ask(
        self, config: AmplitudeConfig, todo: Sequence[Item] | Probe, patience_s: float
    ) -> Verdict:
        if isinstance(todo, Probe):
            events, users = [PROBE], ["sluice-probe"]
        else:
            events, users = [item.body for item in todo], [item.user_id for item in todo]
        if self._pace is not None:
            await self._pace.take(len(events))
        with AMPLITUDE_SECONDS.time():
            answer = await self._client.post(config, self._endpoint, events, timeout_s=patience_s)
        AMPLITUDE_EVENTS.observe(len(events))
        verdict = judge(answer, users, secret=config.api_key)
        AMPLITUDE_REQUESTS.labels(type(verdict).__name__.lower()).inc()
        if isinstance(verdict, Held):
            AMPLITUDE_HELD.labels(verdict.reason).inc()
        return verdict

    def _max_bytes(self, tenant: str) -> int:
        learned = self._learned.get(tenant)
        if learned is None or learned.until < time.monotonic():
            return MAX_BYTES[self._endpoint]
        return learned.max_bytes

    def _learn(self, tenant: str, settled: Settled) -> None:
        if settled.smallest_refused_bytes:
            smaller = max(LEAST_BYTES, settled.smallest_refused_bytes // 2)
            self._learned[tenant] = _Learned(smaller, time.monotonic() + RELEARN_S)


def jitter() -> float:
    """Return a random number from [0, 1) that spreads retries."""
    return random.random()  # noqa: S311 - guards nothing
