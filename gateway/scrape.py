"""What one process of the gateway says to Prometheus: its figures as they are at the scrape."""

import asyncio
from collections.abc import Callable

from gateway.routes.ops import QUEUE_TIMEOUT_S, Figures
from sluice.core.errors import QueueUnavailableError
from sluice.queue.protocol import TOPICS, Queue, SpoolState
from sluice.telemetry import (
    PENDING_BYTES,
    QUEUE_BACKLOG_EVENTS,
    QUEUE_MAX_BYTES,
    QUEUE_OLDEST_AGE,
    QUEUE_STORED_BYTES,
    QUEUE_TIME_TO_FULL,
    QUEUE_TIME_TO_LOSS,
    SPOOL_BYTES,
    SPOOL_IN_USE,
    SPOOL_MAX_BYTES,
    SPOOL_OLDEST_AGE,
    SPOOL_TIME_TO_FULL,
    render_metrics,
)


class Scrape:
    """Sets the levels that nobody follows in between, then renders all metrics."""

    def __init__(self, queue: Queue, *, pending_bytes: Callable[[], int]) -> None:
        self._queue = queue
        self._figures = Figures(queue)
        self._pending_bytes = pending_bytes

    async def text(self) -> bytes:
        """Return all metrics of this process."""
        PENDING_BYTES.set(self._pending_bytes())
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT_S):
                await self._ask_queue()
        except (TimeoutError, QueueUnavailableError):
            pass  # the queue's figures stay as they were; the rest is still worth reading
        return render_metrics()

    async def _ask_queue(self) -> None:
        state = await self._figures.state()
        if state is None:
            return
        if state.spool is None:
            QUEUE_STORED_BYTES.set(state.stored_bytes)
            QUEUE_MAX_BYTES.set(state.max_bytes)
            QUEUE_TIME_TO_FULL.set(state.time_to_full_s)
        else:
            _show(state.spool)
        for subscriptions in TOPICS.values():
            for subscription in subscriptions:
                backlog = await self._queue.backlog(subscription)
                QUEUE_OLDEST_AGE.labels(subscription).set(backlog.oldest_age_s)
                QUEUE_BACKLOG_EVENTS.labels(subscription).set(backlog.events)
                QUEUE_TIME_TO_LOSS.labels(subscription).set(backlog.time_to_loss_s)


def _show(spool: SpoolState) -> None:
    SPOOL_BYTES.set(spool.stored_bytes)
    SPOOL_MAX_BYTES.set(spool.max_bytes)
    SPOOL_OLDEST_AGE.set(spool.oldest_age_s)
    SPOOL_TIME_TO_FULL.set(spool.time_to_full_s)
    SPOOL_IN_USE.set(spool.is_in_use)
