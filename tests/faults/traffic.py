"""Clients of the fault tests: numbered events at a steady rate, and every answer remembered."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import orjson

from tests.faults.answers import Answered, Answers
from tests.faults.oracle import Oracle

RATE_PER_S: Final = 2_000
"""Events a second."""
TICK_S: Final = 0.02
BATCH_SHARE: Final = 0.5
"""Share of the events that go out in batches; the rest are single requests."""
BATCH_EVENTS: Final = 20
BAD_SHARE: Final = 0.01
"""Share of events that are invalid on purpose and must never be stored."""
TRIES: Final = 40
OPEN_ERROR: Final = "publish_timeout"
"""The one refusal that leaves open whether the event is stored."""
ANSWER_WITHIN_S: Final = 10


@asynccontextmanager
async def client_session(*, connections: int = 256) -> AsyncIterator[aiohttp.ClientSession]:
    """Connections as clients have them; 0 for as many as there are requests at once."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield session


@dataclass(slots=True, kw_only=True)
class Sender:
    """Sends numbered events at a steady rate and tells the oracle what each answer was.

    Every second event carries an ``event_id`` and is retried until it is answered 202, at whichever
    gateway, as a careful client does; the others are sent once, and count as unanswered when the
    connection broke.
    """

    session: aiohttp.ClientSession
    urls: Sequence[str]
    """Base addresses of the gateways."""
    api_key: str
    oracle: Oracle
    chance: random.Random
    run: str
    """Begins each ``event_id``."""
    again_share: float = 0.0
    """Share of the accepted events with an id that are sent once more, as after a lost answer."""
    tries: int = TRIES
    filler: int = 0
    """Random letters in each payload, so that little traffic takes much space."""
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    answers: Answers = field(default_factory=Answers)

    async def send(self, event_type: str, *, seconds: float, rate_per_s: int = RATE_PER_S) -> None:
        """Send for some seconds, whatever the answers are (open loop)."""
        per_tick = int(rate_per_s * TICK_S)
        start = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for tick in range(int(seconds / TICK_S)):
                await asyncio.sleep(max(0.0, start + tick * TICK_S - time.monotonic()))
                left = per_tick
                while left > 0:
                    size = BATCH_EVENTS if self.chance.random() < BATCH_SHARE / 10 else 1
                    left -= size
                    tasks.create_task(self._deliver(event_type, size))

    async def _deliver(self, event_type: str, size: int) -> None:
        numbers = [next(self.numbers) for _ in range(size)]
        has_id = self.chance.random() < 0.5
        is_bad = size == 1 and self.chance.random() < BAD_SHARE
        events = [self._event(event_type, n, has_id=has_id, is_bad=is_bad) for n in numbers]
        outcome = await self._post(events, is_batch=size > 1, can_retry=has_id)
        {
            "accepted": self.oracle.accepted,
            "refused": self.oracle.refused,
            "unanswered": self.oracle.unanswered,
        }[outcome].update(numbers)

    def _event(self, event_type: str, n: int, *, has_id: bool, is_bad: bool) -> dict[str, object]:
        payload: dict[str, object] = {"n": n}
        if self.filler:
            payload["filler"] = self.chance.randbytes(self.filler // 2).hex()
        event: dict[str, object] = {
            "user_id": "" if is_bad else f"user-{n % 997}",
            "event_type": event_type,
            "payload": payload,
        }
        return event | {"event_id": f"{self.run}-{n}"} if has_id else event

    async def _post(
        self, events: list[dict[str, object]], *, is_batch: bool, can_retry: bool
    ) -> str:
        path = "/api/ingestion/track/batch" if is_batch else "/api/ingestion/track"
        body = orjson.dumps({"events": events} if is_batch else events[0])
        first = self.chance.randrange(len(self.urls))
        outcome = "unanswered"
        for attempt in range(self.tries if can_retry else 1):
            if attempt:
                await asyncio.sleep(self.chance.uniform(0.1, 0.4))
            outcome = await self._post_once(first + attempt, path, body)
            if outcome == "accepted" and can_retry and self.chance.random() < self.again_share:
                await self._post_once(first + attempt + 1, path, body)
            if outcome == "invalid":
                return "refused"  # whoever asks again is told the same
            if outcome == "accepted" or (outcome == "refused" and attempt == 0):
                return outcome
        # A retried event that was refused at last may have been stored by an earlier try.
        return "unanswered" if can_retry else outcome

    async def _post_once(self, gateway: int, path: str, body: bytes) -> str:
        started = time.monotonic()
        status, retry_after = 0, None
        try:
            async with self.session.post(
                self.urls[gateway % len(self.urls)] + path,
                data=body,
                headers={
                    "Authorization": f"ApiKey {self.api_key}",
                    "Content-Type": "application/json",
                },
            ) as answer:
                await answer.read()
            status, retry_after = answer.status, answer.headers.get("Retry-After")
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            return "unanswered"
        finally:
            took_s = time.monotonic() - started
            self.answers.all.append(Answered(started, took_s, status, retry_after))
        if status == 202:
            return "accepted"
        if status < 500:
            return "invalid"
        return "unanswered" if answer.headers.get("X-Error-Type") == OPEN_ERROR else "refused"
