"""From the first request to the last: the background tasks of a gateway, and the order of its stop.

Not ready, while requests are still taken for the time that load balancers need to see it; no new
connections; each answer is the last on its connection; idle connections are closed; what is in hand
is finished; error records and the last group are flushed. What the deadline cuts off was never
answered with 202.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.dispatch import Dispatcher
from gateway.publisher import Publisher
from gateway.rejections import Rejections
from gateway.server import HttpServer

FINISH_SHARE: Final = 0.6
"""Part of the time to stop that requests in hand may take; the rest is for flushing."""
LEAVE_S: Final = 0.5
"""How long clients may go on on the connections that they have."""
CLOSE_TIMEOUT_S: Final = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """What lives between start and stop."""

    app: Dispatcher
    http: HttpServer
    listener: asyncio.Server
    publisher: Publisher
    rejections: Rejections
    watchers: Sequence[Callable[[asyncio.Event], Awaitable[None]]]
    """Tasks that nothing depends on at the end; each runs until its event is set."""
    stop_delay_s: float
    stop_timeout_s: float

    async def run(self, stop: asyncio.Event, on_ready: Callable[[], None]) -> None:
        """Serve until ``stop``; a background task that fails ends everything."""
        ends = [asyncio.Event() for _ in range(3)]
        watching, recording, publishing = ends
        async with asyncio.TaskGroup() as tasks:
            publisher = tasks.create_task(self.publisher.run(publishing), name="publisher")
            recorder = tasks.create_task(self.rejections.run(recording), name="rejections")
            watchers = [
                tasks.create_task(_until(watch, watching), name="watcher")
                for watch in self.watchers
            ]
            await self.listener.start_serving()
            on_ready()
            await stop.wait()
            self.app.is_leaving = True
            await asyncio.sleep(self.stop_delay_s)
            watching.set()
            try:
                async with asyncio.timeout(self.stop_timeout_s):
                    await self._finish_requests()
                    recording.set()
                    await asyncio.wait((recorder,))
                    publishing.set()
                    await asyncio.wait((publisher,))
            except TimeoutError:
                _log.warning("The time to stop was over before everything was flushed")
            for task in (recorder, publisher, *watchers):
                task.cancel()
        await self.http.shutdown(CLOSE_TIMEOUT_S)
        _log.info("Gateway stopped")

    async def _finish_requests(self) -> None:
        self.listener.close()
        await self.http.let_leave(LEAVE_S)
        if not await self.app.finish(self.stop_timeout_s * FINISH_SHARE):
            _log.warning("Requests were still in hand when the time to stop was over")


async def _until(watch: Callable[[asyncio.Event], Awaitable[None]], end: asyncio.Event) -> None:
    await watch(end)
