"""Clients that send the planned events to the gateway, each user's in order."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import orjson

from tests.faults.forwarding.plan import Planned, TenantPlan

CLIENTS: Final = 4
"""Of each tenant; a user's events all go through one of them."""
REQUEST_EVENTS: Final = 50
TRIES: Final = 100
TRY_EVERY_S: Final = 0.2


@dataclass(slots=True)
class Clients:
    """The clients of one tenant."""

    session: aiohttp.ClientSession
    gateway_url: str
    api_key: str
    plan: TenantPlan
    accepted: list[Planned] = field(default_factory=list)
    """Answered 202; each user's in order of acceptance."""

    async def send(self, *, seconds: float) -> None:
        """Send everything, spread over so many seconds, or as fast as the gateway takes it."""
        async with asyncio.TaskGroup() as tasks:
            for shard in self.plan.shards(CLIENTS):
                tasks.create_task(self._send(shard, seconds))

    async def _send(self, events: Sequence[Planned], seconds: float) -> None:
        started = time.monotonic()
        for first in range(0, len(events), REQUEST_EVENTS):
            due_s = seconds * first / len(events)
            await asyncio.sleep(max(0.0, started + due_s - time.monotonic()))
            some = events[first : first + REQUEST_EVENTS]
            await self._post(orjson.dumps({"events": [event.body for event in some]}))
            self.accepted += some

    async def _post(self, body: bytes) -> None:
        status = 0
        for _ in range(TRIES):
            async with self.session.post(
                f"{self.gateway_url}/api/ingestion/track/batch",
                data=body,
                headers={
                    "Authorization": f"ApiKey {self.api_key}",
                    "Content-Type": "application/json",
                },
            ) as answer:
                await answer.read()
                status = answer.status
            if status == 202:
                return
            await asyncio.sleep(TRY_EVERY_S)
        message = f"the gateway answered {status} {TRIES} times"
        raise RuntimeError(message)
