"""Health as clients see it: three words, probed within bounds, kept for a second.

However many ask, each part is probed once at a time and at most once a second, and no probe takes
longer than two seconds (reference, "Health").
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

import aiohttp
import msgspec

from gateway.single_flight import SingleFlight
from sluice.core.errors import WarehouseError, WarehouseUnavailableError
from sluice.queue.protocol import Queue, QueueCondition

Word = Literal["ok", "degraded", "error", "unknown"]

PROBE_TIMEOUT_S: Final = 2.0
KEEP_S: Final = 1.0
SLOW_S: Final = 1.0
MAX_HEARTBEAT_AGE_S: Final = 30.0
STARTING_S: Final = 5.0
"""While the gateway is younger, a part that never answered yet is ``unknown``."""
MAX_BACKLOG_AGE_S: Final = 60.0
MAX_STATUS_BYTES: Final = 65_536
QUEUE_WORDS: Final[dict[QueueCondition, Word]] = {
    "ok": "ok",
    "degraded": "degraded",
    "full": "error",
    "unavailable": "error",
}

_log = logging.getLogger(__name__)


class Health(msgspec.Struct, frozen=True):
    """Exactly the three words of the health answer, in this order."""

    pubsub_topic: Word
    worker: Word
    clickhouse: Word

    @property
    def is_well(self) -> bool:
        """Whether all three are ``ok``."""
        return self.pubsub_topic == self.worker == self.clickhouse == "ok"


class _Destination(msgspec.Struct, frozen=True):
    backlog_age_s: float = 0.0
    breaker: str = "closed"
    state: str = "ok"


class WorkerStatus(msgspec.Struct, frozen=True):
    """What the worker's ``/status`` says, as far as health needs it."""

    heartbeat_age_s: float
    destinations: Mapping[str, _Destination] = {}


_STATUS: Final = msgspec.json.Decoder(WorkerStatus)


def judge_worker(status: WorkerStatus) -> Word:
    """Return the word for a worker that answered."""
    if status.heartbeat_age_s >= MAX_HEARTBEAT_AGE_S:
        return "error"
    troubled = any(
        one.state != "ok" or one.breaker == "open" or one.backlog_age_s > MAX_BACKLOG_AGE_S
        for one in status.destinations.values()
    )
    return "degraded" if troubled else "ok"


class HealthProbe:
    """Asks queue, worker and warehouse how they are."""

    def __init__(
        self,
        queue: Queue,
        *,
        worker_url: str,
        ping: Callable[[], Awaitable[None]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._status_url = worker_url.rstrip("/") + "/status"
        self._ping = ping
        self._monotonic = monotonic
        self._started = monotonic()
        self._answered = {"queue"}
        """Parts that answered before, or that are in this process: their failure is known."""
        self._last_status: tuple[float, WorkerStatus] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._cache: SingleFlight[str, Health] = SingleFlight(
            keep_s=KEEP_S, max_entries=1, monotonic=monotonic
        )

    async def check(self) -> Health:
        """Return the three words, at most a second old."""
        return await self._cache.get("health", self._probe)

    async def close(self) -> None:
        """Close the connection to the worker."""
        if self._session is not None:
            await self._session.close()

    async def _probe(self) -> Health:
        async with asyncio.TaskGroup() as tasks:
            queue = tasks.create_task(self._bounded("queue", self._probe_queue))
            worker = tasks.create_task(self._bounded("worker", self._probe_worker))
            warehouse = tasks.create_task(self._bounded("warehouse", self._probe_warehouse))
        return Health(queue.result(), worker.result(), warehouse.result())

    async def _bounded(self, part: str, probe: Callable[[], Awaitable[Word]]) -> Word:
        word: Word
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                word = await probe()
        except TimeoutError:
            word = "error"
        except Exception:  # noqa: BLE001 - a probe's failure is its result
            _log.exception("A health probe failed")
            word = "error"
        if word != "error":
            self._answered.add(part)
        elif part not in self._answered and self._monotonic() - self._started < STARTING_S:
            return "unknown"
        return word

    async def _probe_queue(self) -> Word:
        state = await self._queue.state()
        return QUEUE_WORDS[state.condition]

    async def _probe_warehouse(self) -> Word:
        started = self._monotonic()
        try:
            await self._ping()
        except WarehouseUnavailableError:
            return "error"
        except WarehouseError:
            return "degraded"  # it answered, but not as it should
        return "degraded" if self._monotonic() - started > SLOW_S else "ok"

    async def _probe_worker(self) -> Word:
        try:
            status = await self._fetch_status()
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
            return self._judge_silence()
        self._last_status = (self._monotonic(), status)
        return judge_worker(status)

    def _judge_silence(self) -> Word:
        # A worker that restarts is away for moments; its last heartbeat still counts.
        if self._last_status is None:
            return "error"
        seen_at, status = self._last_status
        age_s = status.heartbeat_age_s + self._monotonic() - seen_at
        return judge_worker(msgspec.structs.replace(status, heartbeat_age_s=age_s))

    async def _fetch_status(self) -> WorkerStatus:
        if self._session is None:
            timeout: Any = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        async with self._session.get(self._status_url, allow_redirects=False) as answer:
            answer.raise_for_status()
            return _STATUS.decode(await answer.content.read(MAX_STATUS_BYTES))
