"""What a worker's own port says of a queue that it cannot pull from."""

import uuid
from pathlib import Path

import aiohttp
from aiohttp import web

from sluice.queue.pubsub import PubSubQueue
from sluice.queue.pubsub_setup import ensure_topics
from sluice.queue.pubsub_wire import Names
from sluice.settings import load_settings
from sluice.telemetry import QUEUE_TIME_TO_LOSS
from tests.support.queues import make_envelope, pull
from worker.consumer import Consumer
from worker.core.batches import Limits
from worker.destinations import load
from worker.status import CACHE_S, StatusPort, Watched

FIGURE = 'sluice_queue_time_to_loss_seconds{subscription="warehouse"}'


async def _metrics(port: StatusPort) -> str:
    app = web.Application()
    app.add_routes(port.routes())
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.text()
    finally:
        await runner.cleanup()


async def test_worker_shows_no_old_figures_of_a_backlog_that_it_does_not_know(
    pubsub_emulator: str, tmp_path: Path
) -> None:
    """An old one would say for ever that nothing is lost soon (SluiceEventsExpireSoon)."""
    assert pubsub_emulator
    names = Names(f"project-{uuid.uuid4().hex[:12]}")
    await ensure_topics(names)
    settings = load_settings(data_dir=tmp_path, warehouse_url="http://u:p@127.0.0.1:1/default")
    warehouse = load("warehouse")
    async with PubSubQueue(names) as queue, warehouse.open(settings) as deliverer:
        limits = Limits(max_rows=1, max_bytes=1, max_age_s=CACHE_S)
        consumer = Consumer(queue, deliverer, subscription="warehouse", limits=limits)
        watched = {"warehouse": Watched("warehouse", consumer, deliverer)}
        QUEUE_TIME_TO_LOSS.labels("warehouse").set(600_000)  # when it could pull
        assert FIGURE not in await _metrics(StatusPort(queue, watched))
        await queue.publish("events", [make_envelope()])
        await pull(queue, wait_s=20)
        assert FIGURE in await _metrics(StatusPort(queue, watched))
