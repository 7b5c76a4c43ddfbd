"""Health as clients see it: three words, probed within bounds, kept for a second.

However many ask, each part is probed once at a time and at most once a second, and no probe takes
longer than two seconds (reference, "Health"). It is also probed now and then when nobody asks, so
that since when a word holds does not depend on who looked.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from gateway.core.status import (
    Finding,
    HealthReport,
    PartHealth,
    Word,
    iso,
    judge_worker,
)
from gateway.single_flight import SingleFlight
from gateway.worker_link import WorkerLink
from sluice.core.errors import WarehouseError, WarehouseUnavailableError
from sluice.queue.protocol import QueueCondition, QueueState

PROBE_TIMEOUT_S: Final = 2.0
KEEP_S: Final = 1.0
SLOW_S: Final = 1.0
WATCH_EVERY_S: Final = 10.0
STARTING_S: Final = 5.0
"""While the gateway is younger, a part that never answered yet is ``unknown``."""
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


class Stateful(Protocol):
    """The part of a queue that health asks."""

    async def state(self) -> QueueState:
        """Return the queue's condition; never raises."""


class HealthProbe:
    """Asks queue, worker and warehouse how they are."""

    def __init__(
        self,
        queue: Stateful,
        *,
        worker: WorkerLink,
        ping: Callable[[], Awaitable[None]],
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._worker = worker
        self._ping = ping
        self._monotonic = monotonic
        self._now = now
        self._started = monotonic()
        self._answered = {"queue"}
        """Parts that answered before, or that are in this process: their failure is known."""
        self._since: dict[str, tuple[Word, float]] = {}
        """Of each part its last word, and when that was first seen."""
        self._cache: SingleFlight[str, HealthReport] = SingleFlight(
            keep_s=KEEP_S, max_entries=1, monotonic=monotonic
        )

    async def check(self) -> Health:
        """Return the three words, at most a second old."""
        report = await self.report()
        return Health(report.pubsub_topic.state, report.worker.state, report.clickhouse.state)

    async def report(self) -> HealthReport:
        """Return the same with since when and why."""
        return await self._cache.get("health", self._probe)

    async def watch(self, stop: asyncio.Event, *, every_s: float = WATCH_EVERY_S) -> None:
        """Look now and then until ``stop``."""
        while not stop.is_set():
            await self.report()
            try:
                async with asyncio.timeout(every_s):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _probe(self) -> HealthReport:
        async with asyncio.TaskGroup() as tasks:
            queue = tasks.create_task(self._bounded("queue", self._probe_queue))
            worker = tasks.create_task(self._bounded("worker", self._probe_worker))
            warehouse = tasks.create_task(self._bounded("warehouse", self._probe_warehouse))
        return HealthReport(
            pubsub_topic=self._noted("queue", queue.result()),
            worker=self._noted("worker", worker.result()),
            clickhouse=self._noted("warehouse", warehouse.result()),
        )

    def _noted(self, part: str, finding: Finding) -> PartHealth:
        before = self._since.get(part)
        if before is None or before[0] != finding.word:
            before = self._since[part] = (finding.word, self._now())
        since = before[1] if finding.since is None else finding.since
        return PartHealth(finding.word, iso(since), finding.detail)

    async def _bounded(self, part: str, probe: Callable[[], Awaitable[Finding]]) -> Finding:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                found = await probe()
        except TimeoutError:
            found = Finding("error", f"It did not answer within {PROBE_TIMEOUT_S:.0f} s.")
        except Exception:  # noqa: BLE001 - a probe's failure is its result
            _log.exception("A health probe failed")
            found = Finding("error", "It could not be asked; the gateway's log says why.")
        if found.word != "error":
            self._answered.add(part)
        elif part not in self._answered and self._monotonic() - self._started < STARTING_S:
            return Finding("unknown", "It has not answered since the gateway started.")
        return found

    async def _probe_queue(self) -> Finding:
        state = await self._queue.state()
        return Finding(QUEUE_WORDS[state.condition], state.detail, state.since)

    async def _probe_warehouse(self) -> Finding:
        started = self._monotonic()
        try:
            await self._ping()
        except WarehouseUnavailableError:
            return Finding("error", "ClickHouse does not answer.")
        except WarehouseError as error:  # it answered, but not as it should
            return Finding("degraded", f"ClickHouse answered with error code {error.code}.")
        took_s = self._monotonic() - started
        if took_s > SLOW_S:
            return Finding("degraded", f"ClickHouse took {took_s:.1f} s to answer.")
        return Finding("ok")

    async def _probe_worker(self) -> Finding:
        status = await self._worker.heard()
        if status is None:
            return Finding("error", "The worker does not answer.")
        return judge_worker(status)
