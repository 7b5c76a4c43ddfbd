"""One client connection: aiohttp's protocol, with our answers to what is no HTTP, and a fast path.

Requests whose head this connection has sent before (``core.request_shape``) go to the fast path,
which answers them in order like any other; everything else goes through aiohttp's parser. That is
sound only where a request begins at the first byte that arrives, so the connection counts along:
where it cannot tell, such as after pipelined or chunked requests, the parser has it for good.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from gateway.core.answers import refused_one
from gateway.core.request_shape import END_OF_HEAD, split_request
from gateway.reply import Reply
from sluice.core.errors import ErrorType
from sluice.telemetry import HTTP_SECONDS, UNMATCHED

if TYPE_CHECKING:
    from gateway.fast_path import Grant
    from gateway.server import HttpServer

MAX_SHAPES: Final = 4
MAX_SHAPE_BYTES: Final = 1_024
"""How many heads a connection remembers, and how long one may be: 4 KiB in all."""
MAX_HELD_BYTES: Final = 65_536
"""Held behind a request in hand before reading pauses; what one read brings may come on top."""
REST_WITHIN_S: Final = 0.1
"""How long the fast path waits for the rest of a body; then the long way waits for it."""
UNKNOWN: Final = -1

_log = logging.getLogger(__name__)


class _Arriving:
    """A request for the fast path whose body is not whole yet."""

    __slots__ = ("begin", "grant", "missing", "pieces", "started", "timer")

    def __init__(
        self, grant: "Grant", data: bytes, begin: int, missing: int, timer: asyncio.TimerHandle
    ) -> None:
        self.grant = grant
        self.pieces = [data]
        self.begin = begin
        self.missing = missing
        self.timer = timer
        self.started = time.perf_counter()


class Connection(RequestHandler):
    """One client connection."""

    __slots__ = (
        "_arriving",
        "_grants",
        "_held",
        "_is_in_head",
        "_is_taken",
        "_left",
        "_served_until",
        "_server",
    )

    def __init__(self, server: "HttpServer", **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._is_in_head = False
        self._served_until = 0.0
        self._left = UNKNOWN if server.fast_path is None else 0
        """Bytes of the body that is arriving; 0: a request begins with the next byte."""
        self._grants: dict[bytes, Grant] = {}
        """What the fast path may do, by the shape of the head."""
        self._is_taken = False
        """Whether the fast path has a request in hand."""
        self._held = b""
        """What arrived behind that request."""
        self._arriving: _Arriving | None = None
        """That request, as long as it is not whole."""

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
        self._held = b""
        arriving = self._arriving
        if arriving is not None:
            self._end_arriving(arriving)
            arriving.grant.fast_path.note_cut(arriving.grant, arriving.started)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand a request to the fast path or, as a rule, to the parser."""
        if self._is_taken:
            if self._arriving is None:
                self._hold(data)
            else:
                self._add(self._arriving, data)
        elif self._left or not data:
            if self._left > 0:
                left = self._left - len(data)
                self._left = left if left >= 0 else UNKNOWN
            self._parse(data)
        else:
            request = split_request(data)
            if request is not None:
                shape, begin, size = request
                grant = self._grants.get(shape)
                if grant is not None and begin + size == len(data) and self._is_idle():
                    self._is_taken = True  # before the call, which may already give it back
                    if grant.fast_path.take(grant, self, data, begin):
                        return
                    self._is_taken = False
                elif grant is not None and self._wait_for_rest(grant, data, begin, size):
                    return
            self._parse_and_learn(data, request)

    def _wait_for_rest(self, grant: "Grant", data: bytes, begin: int, size: int) -> bool:
        """Keep the begin of a body until the rest is there; whether that is worth it."""
        missing = begin + size - len(data)
        if missing <= 0 or not self._is_idle() or not grant.fast_path.may_wait(grant, size):
            return False
        timer = self._loop.call_later(REST_WITHIN_S, self._wait_no_more)
        self._arriving = _Arriving(grant, data, begin, missing, timer)
        self._is_taken = True
        return True

    def _add(self, arriving: _Arriving, data: bytes) -> None:
        """Take a piece of the request that is arriving; hand it on when it is whole."""
        arriving.pieces.append(data)
        arriving.missing -= len(data)
        if arriving.missing > 0:
            return
        self._end_arriving(arriving)
        if arriving.missing == 0:
            grant = arriving.grant
            self._is_taken = True
            if grant.fast_path.take_batch(
                grant, self, arriving.pieces, arriving.begin, arriving.started
            ):
                return
            self._is_taken = False
        else:
            self._left = UNKNOWN
        self._parse_all(arriving.pieces)

    def _wait_no_more(self) -> None:
        """Let the long way wait for what is missing."""
        arriving = self._arriving
        if arriving is not None:
            self._end_arriving(arriving)
            self._left = arriving.missing
            self._parse_all(arriving.pieces)

    def _end_arriving(self, arriving: _Arriving) -> None:
        arriving.timer.cancel()
        self._arriving = None
        self._is_taken = False

    def _parse_all(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            self._parse(piece)

    def _parse(self, data: bytes) -> None:
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

    def _parse_and_learn(self, data: bytes, request: tuple[bytes, int, int] | None) -> None:
        """Parse what begins a request, and note where it ends and whether its head can be known."""
        is_first = not self._messages and self._current_request is None
        self._left = UNKNOWN
        self._parse(data)
        if not is_first or len(self._messages) != 1:
            return
        message, payload = self._messages[0]
        if not isinstance(message, RawRequestMessage) or message.chunked or message.upgrade:
            return
        if request is None:
            if payload.is_eof() and data.find(END_OF_HEAD) + len(END_OF_HEAD) == len(data):
                self._left = 0
            return
        shape, begin, size = request
        if message.headers.getall(hdrs.CONTENT_LENGTH, ()) != [str(size)]:
            return
        self._left = max(begin + size - len(data), UNKNOWN)
        if self._left >= 0 and len(shape) <= MAX_SHAPE_BYTES:
            self._learn(shape, message)

    def _learn(self, shape: bytes, message: RawRequestMessage) -> None:
        fast_path = self._server.fast_path
        known = self._grants.get(shape)
        # The first request of a connection is often its last: it is not worth the time.
        if self._request_count < 2 or fast_path is None:
            return
        if known is None and len(self._grants) >= MAX_SHAPES:
            return
        if known is None or not fast_path.is_valid(known):
            self._grants.pop(shape, None)
            grant = fast_path.grant(message)
            if grant is not None:
                self._grants[shape] = grant

    def _is_idle(self) -> bool:
        waiter = self._waiter
        return (
            waiter is not None
            and not waiter.done()
            and not self._messages
            and not self._close
            and not self._force_close
            and not self._paused
        )

    def _hold(self, data: bytes) -> None:
        """Keep what arrives behind a request that is in hand; past the bound no more is read.

        Up to there it is, as aiohttp reads on: or nobody saw that the client hung up.
        """
        self._held += data
        if len(self._held) >= MAX_HELD_BYTES and not self._buffer_paused:
            self._pause_reading_for_buffer()

    def answer(self, data: bytes, *, is_last: bool) -> None:
        """Write the answer to the request that the fast path has in hand, and go on."""
        self._is_taken = False
        transport = self.transport
        if transport is None or transport.is_closing():
            return  # the client hung up; nobody is left to answer
        transport.write(data)
        if is_last:
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self._go_on()

    def fail(self) -> None:
        """End the connection after an error of ours, as the event loop does, and spare others."""
        _log.exception("A connection failed outside the application")
        self.force_close()

    def give_back(self, data: bytes) -> None:
        """Parse a request after all that the fast path took and could not serve."""
        self._is_taken = False
        if self.transport is not None:
            self._parse(data)
            self._go_on()

    def _go_on(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            if self._buffer_paused:
                self._resume_reading_for_buffer()
            self.data_received(held)

    @property
    def is_waiting(self) -> bool:
        """Whether the fast path waits for the rest of a body."""
        return self._arriving is not None

    @property
    def is_ending(self) -> bool:
        """Whether the answer to the request in hand is the last."""
        return self._close

    def close(self) -> None:
        """End the connection, after the answer to the request that the fast path has in hand."""
        self._wait_no_more()
        if self._is_taken:
            self._close = True
        else:
            super().close()

    def _process_keepalive(self) -> None:
        if self._is_taken:  # to aiohttp it looks idle
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        transport = self.transport
        super()._process_keepalive()
        # A client that does not read its answers would keep a closed connection for good.
        if transport is not None and transport.is_closing() and transport.get_write_buffer_size():
            transport.abort()

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
