"""The worker process: a consumer for each destination, their upkeep, and the status port."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from sluice.logs import get_logger
from sluice.loop_lag import watch_loop
from sluice.queue import messaging_system, open_queue
from sluice.settings import Settings
from sluice.telemetry import note_build
from sluice.tracing import open_tracer
from worker.consumer import Consumer
from worker.core.batches import Limits
from worker.delivery import Deliverer, Destination
from worker.destinations import NAMES, load
from worker.status import StatusPort, Watched, serve_status
from worker.traces import BatchTraces

SWITCH_S: Final = 0.0005
"""How long a thread that reads envelopes may keep the event loop waiting. With Python's own 5 ms
each step of a request to a destination waits so long, and a request takes twice its time.
"""

log: Final = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    name: str
    subscription: str
    deliverer: Deliverer[Any]
    consumer: Consumer


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    on_ready: Callable[[str], None],
    *,
    only: Sequence[str] = NAMES,
) -> None:
    """Run until ``stop``; then finish the batches in hand, within ``stop_timeout_s``.

    Starts and answers whether or not the queue or a destination is there; it says so in its status.

    Args:
        settings: All of them.
        stop: Set to end it.
        on_ready: Called once with the address of the status port.
        only: Names of the destinations to feed.

    Raises:
        ConfigError: The status port is taken.
    """
    sys.setswitchinterval(SWITCH_S)
    note_build(settings.revision)
    async with _open(settings, only) as (running, port), serve_status(settings, port) as address:
        on_ready(address)
        drained = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch_loop(drained), name="loop-lag")
            for one in running:
                tasks.create_task(one.deliverer.upkeep(drained), name=f"upkeep:{one.name}")
            consumers = [
                tasks.create_task(one.consumer.run(stop), name=f"consumer:{one.name}")
                for one in running
            ]
            deadline = tasks.create_task(_end(stop, consumers, settings.stop_timeout_s))
            await asyncio.wait(consumers)
            drained.set()
            deadline.cancel()


@asynccontextmanager
async def _open(
    settings: Settings, only: Sequence[str]
) -> AsyncIterator[tuple[list[_Running], StatusPort]]:
    async with AsyncExitStack() as stack:
        tracer = await stack.enter_async_context(open_tracer("worker"))
        system = messaging_system(settings)
        queue = await stack.enter_async_context(open_queue(settings))
        running: list[_Running] = []
        for name in only:
            destination = load(name)
            deliverer = await stack.enter_async_context(destination.open(settings))
            consumer = Consumer(
                queue,
                deliverer,
                subscription=destination.subscription,
                limits=_limits(settings, destination),
                is_ordered=destination.is_ordered,
                name=name,
                traces=BatchTraces(tracer, destination.subscription, system=system),
            )
            running.append(_Running(name, destination.subscription, deliverer, consumer))
        watched = {
            one.name: Watched(one.subscription, one.consumer, one.deliverer) for one in running
        }
        yield running, StatusPort(queue, watched)


def _limits(settings: Settings, destination: Destination) -> Limits:
    rows = settings.batch_max_rows * destination.inserts_at_once
    size = settings.batch_max_bytes * destination.inserts_at_once
    return Limits(
        max_rows=min(rows, destination.max_batch_rows or rows),
        max_bytes=min(size, destination.max_batch_bytes or size),
        max_age_s=settings.batch_max_age_s,
    )


async def _end(
    stop: asyncio.Event, consumers: Sequence[asyncio.Task[None]], timeout_s: float
) -> None:
    """Cancel consumers that do not end in time; what they held is delivered again."""
    await stop.wait()
    _, late = await asyncio.wait(consumers, timeout=timeout_s)
    for consumer in late:
        log.warning("A consumer did not finish in time", consumer=consumer.get_name())
        consumer.cancel()
