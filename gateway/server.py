"""The HTTP server: aiohttp's protocol with our bounds and our words.

* At most ``max_connections`` are open; a further one is closed at once.
* A request head must be whole ``head_timeout_s`` after its first byte; one sweeper looks at the few
  connections that are in the middle of a head, so that a thousand slow clients cost one timer.
* An idle connection is closed after ``keepalive_s``.
* What is not HTTP gets 400 as JSON, like every other refusal.
"""

import asyncio
import logging
import resource
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.core.answers import refused_one
from gateway.reply import Reply
from sluice.core.errors import ErrorType
from sluice.telemetry import (
    HTTP_CONNECTIONS,
    HTTP_REFUSED_CONNECTIONS,
    HTTP_SECONDS,
    HTTP_TIMED_OUT_HEADS,
    UNMATCHED,
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

_log = logging.getLogger(__name__)


class Connection(RequestHandler):
    """One client connection."""

    __slots__ = ("_is_in_head", "_served_until", "_server")

    def __init__(self, server: "HttpServer", **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._is_in_head = False
        self._served_until = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to serve."""
        super().connection_made(transport)
        self._server.open_connections += 1

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        if self._manager is not None:
            self._server.open_connections -= 1
            if not self._server.open_connections:
                self._server.has_none_open.set()
            self._server.heads.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; note when a head begins and when it is whole."""
        super().data_received(data)
        if not self._messages and self._current_request is None:
            if not self._is_in_head:
                self._is_in_head = True
                self._served_until = self._next_keepalive_close_time
                self._server.heads[self] = self._loop.time()
        elif self._is_in_head:
            self._is_in_head = False
            self._server.heads.pop(self, None)

    def cut_head(self) -> bool:
        """Close the connection if it still waits for the same head; whether it did."""
        self._is_in_head = False
        waiter = self._waiter
        # aiohttp moves this time when a request was answered: then what was taken for the begin
        # of a head was the body of a request that had not reached its handler yet.
        if self._served_until != self._next_keepalive_close_time:
            return False
        if waiter is None or waiter.done():
            return False
        self.force_close()
        return True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP (400), or what escaped the application (500)."""
        server = self._server
        request_id = server.new_request_id()
        if status < 500:
            _log.debug("Refused a request that is not valid HTTP")
            answer = refused_one(
                ErrorType.REQUEST_INVALID, "The request is not valid HTTP; it was not read."
            )
        else:
            _log.error(
                "A request failed outside the application",
                exc_info=exc,
                extra={"request_id": request_id},
            )
            answer = refused_one(ErrorType.INTERNAL, "Something failed here; quote the request id.")
        # Nobody knows when it came; that it came is what counts.
        HTTP_SECONDS.observe((UNMATCHED, str(answer.status)), 0.0)
        return Reply(answer, request_id)


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
    ) -> None:
        super().__init__(handler)
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
