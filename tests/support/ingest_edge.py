"""The routes of events over a queue in memory, with bounds that a test can fill."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.admission import Admission
from gateway.core.limits import RateLimits
from gateway.dispatch import Dispatcher
from gateway.fast_path import FastPath
from gateway.publisher import Publisher
from gateway.rejections import Rejections
from gateway.room import MAX_AWAITED_BYTES, Room
from gateway.routes.ingest import Ingest
from gateway.server import HttpServer
from gateway.stamps import Stamps
from gateway.token_keys import shared_secret
from sluice.tenants import TenantsFile
from tests.support.gateway import BATCH, TENANT, TRACK
from tests.support.raw_http import request_bytes
from tests.unit.gateway.queues import GatedQueue, running_publisher

SECRET: Final = "s" * 32


@dataclass(frozen=True, slots=True)
class Edge:
    """A gateway of events alone, whose disk the test stops and lets go on."""

    url: str
    queue: GatedQueue
    api_key: str
    publisher: Publisher
    admission: Admission
    awaited: Room
    http: HttpServer

    def track_bytes(self, body: bytes) -> bytes:
        """Return the bytes of a request."""
        return self._bytes(TRACK, body)

    def batch_bytes(self, body: bytes, *headers: tuple[str, str]) -> bytes:
        """Return the bytes of a request with many events."""
        return self._bytes(BATCH, body, *headers)

    def _bytes(self, target: str, body: bytes, *headers: tuple[str, str]) -> bytes:
        told = [
            ("Authorization", f"ApiKey {self.api_key}"),
            ("Content-Length", str(len(body))),
            *headers,
        ]
        return request_bytes(target, headers=told, body=body)


@asynccontextmanager
async def running_edge(
    folder: Path,
    *,
    pending_bytes: int,
    arriving_bytes: int = 1_000_000,
    awaited_bytes: int = MAX_AWAITED_BYTES,
) -> AsyncIterator[Edge]:
    """Serve events over a queue in memory.

    Args:
        folder: For the tenants.
        pending_bytes: Bound of what waits for the queue.
        arriving_bytes: Bound of large bodies and what waits together.
        awaited_bytes: Bound of bodies whose rest the long way waits for.
    """
    tenants = TenantsFile(folder / "tenants.toml")
    api_key = tenants.add_tenant(TENANT)
    tenants.refresh()
    directory = tenants.directory
    keys = shared_secret(SECRET)
    stamps = Stamps()
    queue = GatedQueue()
    awaited = Room(awaited_bytes)
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(
            running_publisher(queue, max_pending_bytes=pending_bytes)
        )
        ingest = Ingest(
            directory=lambda: directory,
            token_keys=lambda: keys,
            session_secret=SECRET,
            limits=RateLimits(),
            monotonic=asyncio.get_running_loop().time,
            publisher=publisher,
            rejections=Rejections(publisher, new_ids=stamps.new_ids),
            stamps=stamps,
            body_timeout_s=10.0,
            awaited=awaited,
        )
        app = Dispatcher(
            ingest.routes(), rejections=ingest.rejections, new_request_id=lambda: "r-1"
        )
        fast_path = FastPath(
            directory=lambda: directory,
            token_keys=lambda: keys,
            session_secret=SECRET,
            app=app,
            publisher=publisher,
            rejections=ingest.rejections,
            stamps=stamps,
            new_request_id=lambda: "r-1",
        )
        admission = Admission(
            app=app,
            publisher=publisher,
            new_request_id=lambda: "r-1",
            room=Room(arriving_bytes),
        )
        http = HttpServer(
            app,
            new_request_id=lambda: "r-1",
            max_connections=100,
            fast_path=fast_path,
            admission=admission,
        )
        listener = await asyncio.get_running_loop().create_server(http, "127.0.0.1", 0)
        stack.push_async_callback(http.shutdown, 1.0)
        stack.callback(listener.close)
        port = listener.sockets[0].getsockname()[1]
        yield Edge(f"http://127.0.0.1:{port}", queue, api_key, publisher, admission, awaited, http)
