"""What is refused when more arrives than there is room for, and how soon."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.core.limits import RateLimits
from gateway.dispatch import Dispatcher
from gateway.fast_path import FastPath
from gateway.rejections import Rejections
from gateway.routes.ingest import Ingest
from gateway.server import HttpServer
from gateway.stamps import Stamps
from gateway.token_keys import shared_secret
from sluice.telemetry import EVENTS_REJECTED, HTTP_FAST_PATH
from sluice.tenants import TenantsFile
from tests.support.gateway import EVENT, TENANT, TRACK
from tests.support.raw_http import connect, read_answer, request_bytes
from tests.unit.gateway.queues import GatedQueue, running_publisher

ROOM = 1_000
LARGE = b'{"user_id":"u-1","event_type":"large","payload":{"a":"%b"}}' % (b"x" * ROOM)


@dataclass(frozen=True, slots=True)
class Edge:
    """A gateway of ``track`` alone, whose disk the test stops and lets go on."""

    url: str
    queue: GatedQueue
    api_key: str

    def track_bytes(self, body: bytes) -> bytes:
        """Return the bytes of a request."""
        headers = [
            ("Authorization", f"ApiKey {self.api_key}"),
            ("Content-Length", str(len(body))),
        ]
        return request_bytes(TRACK, headers=headers, body=body)


@asynccontextmanager
async def running_edge(folder: Path) -> AsyncIterator[Edge]:
    """Serve ``track`` with the fast path over a queue in memory."""
    tenants = TenantsFile(folder / "tenants.toml")
    api_key = tenants.add_tenant(TENANT)
    tenants.refresh()
    directory = tenants.directory
    keys = shared_secret("s" * 32)
    stamps = Stamps()
    queue = GatedQueue()
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(
            running_publisher(queue, max_pending_bytes=ROOM)
        )
        ingest = Ingest(
            directory=lambda: directory,
            token_keys=lambda: keys,
            session_secret="s" * 32,
            limits=RateLimits(),
            monotonic=asyncio.get_running_loop().time,
            publisher=publisher,
            rejections=Rejections(publisher, new_ids=stamps.new_ids),
            stamps=stamps,
            body_timeout_s=10.0,
        )
        app = Dispatcher(
            ingest.routes(), rejections=ingest.rejections, new_request_id=lambda: "r-1"
        )
        fast_path = FastPath(
            directory=lambda: directory,
            token_keys=lambda: keys,
            session_secret="s" * 32,
            app=app,
            publisher=publisher,
            rejections=ingest.rejections,
            stamps=stamps,
            new_request_id=lambda: "r-1",
        )
        http = HttpServer(
            app, new_request_id=lambda: "r-1", max_connections=10, fast_path=fast_path
        )
        listener = await asyncio.get_running_loop().create_server(http, "127.0.0.1", 0)
        stack.push_async_callback(http.shutdown, 1.0)
        stack.callback(listener.close)
        port = listener.sockets[0].getsockname()[1]
        yield Edge(f"http://127.0.0.1:{port}", queue, api_key)


async def test_event_without_room_is_refused_on_the_fast_path_and_the_connection_goes_on(
    tmp_path: Path,
) -> None:
    """Under overload nearly all are refused: that must not cost more than to accept."""
    async with (
        running_edge(tmp_path) as edge,
        connect(edge.url) as (reader, writer),
        connect(edge.url) as (other_reader, other_writer),
    ):

        async def send(body: bytes) -> int:
            writer.write(edge.track_bytes(body))
            answer = await read_answer(reader)
            assert answer is not None
            if answer.status == 503:
                assert answer.error_type == "overloaded"
                assert 1 <= int(answer.headers["Retry-After"]) <= 30
                assert "Connection" not in answer.headers
            return answer.status

        for _ in range(3):
            assert await send(EVENT) == 202
        edge.queue.gate.clear()
        other_writer.write(edge.track_bytes(LARGE))
        started = edge.queue.started
        while edge.queue.started == started:  # noqa: ASYNC110 - the queue has no event for it
            await asyncio.sleep(0)
        fast = HTTP_FAST_PATH.value()
        rejected = EVENTS_REJECTED.value("track", "overloaded")
        assert [await send(EVENT) for _ in range(3)] == [503, 503, 503]
        assert HTTP_FAST_PATH.value() == fast + 3
        assert EVENTS_REJECTED.value("track", "overloaded") == rejected + 3
        edge.queue.gate.set()
        stored = await read_answer(other_reader)
        assert stored is not None
        assert stored.status == 202
        assert await send(EVENT) == 202
    assert len(edge.queue.rows()) == 5
