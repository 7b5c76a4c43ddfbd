"""The HTTP server: aiohttp's protocol with our bounds and our words.

* At most ``max_connections`` are open; a further one is closed at once.
* A request head must be whole ``head_timeout_s`` after its first byte; one sweeper looks at the few
  connections that are in the middle of a head, so that a thousand slow clients cost one timer.
* An idle connection is closed after ``keepalive_s``.
* Large bodies past the room for them are refused by their head (``gateway.admission``).
* What is not HTTP gets 400 as JSON, like every other refusal.
"""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from gateway.admission import Admission
from gateway.connection import Connection
from gateway.fast_path import FastPath
from sluice.telemetry import (
    HTTP_ARRIVING_BYTES,
    HTTP_CONNECTIONS,
    HTTP_REFUSED_CONNECTIONS,
    HTTP_TIMED_OUT_HEADS,
)

MAX_LINE_BYTES: Final = 8_190
MAX_FIELD_BYTES: Final = 16_380
"""A token in the Authorization header may be long."""
MAX_HEADERS: Final = 100
KEEPALIVE_S: Final = 75.0
HEAD_TIMEOUT_S: Final = 15.0
LINGER_S: Final = 2.0
"""How long an unread body is read and thrown away, so that the client can see the answer."""
RESERVED_FILES: Final = 128
"""Descriptors kept for the queue, logs and the warehouse."""


class _Refused(asyncio.Protocol):
    """What a connection past the bound gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class HttpServer(web.Server):
    """Makes connections, counts them, and ends those that dawdle."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        new_request_id: Callable[[], str],
        max_connections: int,
        head_timeout_s: float = HEAD_TIMEOUT_S,
        keepalive_s: float = KEEPALIVE_S,
        fast_path: FastPath | None = None,
        admission: Admission | None = None,
    ) -> None:
        super().__init__(handler)
        self.fast_path = fast_path
        self.admission = admission
        self.new_request_id = new_request_id
        self.open_connections = 0
        self.has_none_open = asyncio.Event()
        self.heads: dict[Connection, float] = {}
        """Connections in the middle of a request head, with the time of its first byte."""
        self._max_connections = max_connections
        self._head_timeout_s = head_timeout_s
        self._options: dict[str, Any] = {
            "loop": self._loop,
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": keepalive_s,
            "lingering_time": LINGER_S,
            "max_line_size": MAX_LINE_BYTES,
            "max_field_size": MAX_FIELD_BYTES,
            "max_headers": MAX_HEADERS,
        }

    def __call__(self) -> asyncio.Protocol:  # type: ignore[override]  # past the bound: no handler
        """Return the protocol of a new connection."""
        if self.open_connections >= self._max_connections:
            HTTP_REFUSED_CONNECTIONS.add(1)
            return _Refused()
        return Connection(self, **self._options)

    async def let_leave(self, within_s: float) -> None:
        """Give clients a moment to end their connections, then end the idle ones.

        A client that keeps a connection alive and is busy learns from its next answer that it was
        the last; only what was silent all the time may lose a request that crosses with the end.
        """
        if self.open_connections:
            self.has_none_open.clear()
            try:
                async with asyncio.timeout(within_s):
                    await self.has_none_open.wait()
            except TimeoutError:
                self.pre_shutdown()

    async def sweep(self, stop: asyncio.Event, *, every_s: float = 1.0) -> None:
        """Cut connections whose request head does not get whole, until ``stop``."""
        while not stop.is_set():
            oldest = self._loop.time() - self._head_timeout_s
            for connection, since in list(self.heads.items()):
                if since > oldest:
                    break  # in order of their first byte
                self.heads.pop(connection, None)
                if connection.cut_head():
                    HTTP_TIMED_OUT_HEADS.add(1)
            HTTP_CONNECTIONS.set(self.open_connections)
            if self.admission is not None:
                HTTP_ARRIVING_BYTES.set(self.admission.held_bytes)
            try:
                async with asyncio.timeout(every_s):
                    await stop.wait()
            except TimeoutError:
                continue


def raise_file_limit() -> int:
    """Raise the bound on open files to what the system allows; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1_048_576)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard


def connection_bound(wanted: int, open_files: int) -> int:
    """Return how many connections may be open, given the bound on open files."""
    return max(1, min(wanted, open_files - RESERVED_FILES))
