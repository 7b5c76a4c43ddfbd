"""One client connection: aiohttp's protocol, with our answers to what is no HTTP, and a fast path.

Requests whose head is known (``core.request_shape``, ``known_heads``) go to the fast path, which
answers them in order like any other; everything else goes through aiohttp's parser. That is sound
only where a request begins at the first byte that arrives, so the connection counts along:
where it cannot tell, such as after pipelined or chunked requests, the parser has it for good.
"""

import asyncio
import logging
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
    from gateway.admission import Large
    from gateway.fast_path import Grant
    from gateway.server import HttpServer

MAX_SHAPES: Final = 4
MAX_SHAPE_BYTES: Final = 1_024
"""How many heads a connection remembers, and how long one may be: 4 KiB in all."""
MAX_HELD_BYTES: Final = 65_536
"""Held behind a request in hand before reading pauses; what one read brings may come on top."""
SMALL_BYTES: Final = 16_384
"""A larger body is the admission's (``gateway.admission``): it costs much more than its head."""
UNKNOWN: Final = -1

_log = logging.getLogger(__name__)


class Connection(RequestHandler):
    """One client connection."""

    __slots__ = (
        "_grants",
        "_held",
        "_is_discarding",
        "_is_in_head",
        "_is_taken",
        "_left",
        "_served_until",
        "_server",
        "large",
    )

    def __init__(self, server: "HttpServer", **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._is_in_head = False
        self._served_until = 0.0
        self._left = 0 if server.fast_path or server.admission else UNKNOWN
        """Bytes of the body that is arriving; 0: a request begins with the next byte."""
        self._grants: dict[bytes, Grant] = {}
        """What the fast path may do, by the shape of the head."""
        self._is_taken = False
        """Whether the fast path, or the admission, has a request in hand."""
        self._held = b""
        """What arrived behind that request."""
        self.large: Large | None = None
        """What the admission has in hand."""
        self._is_discarding = False
        """Whether the body that arrives is that of a request that was refused."""

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
        large = self.large
        if large is not None and self._server.admission is not None:
            self._server.admission.forget(self)
            if large.left and self._server.fast_path is not None:
                self._server.fast_path.note_cut(large.request, large.started)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand a request to the fast path or, as a rule, to the parser."""
        if self._is_taken:
            self._hold(data)
        elif self._left or not data:
            if self._is_discarding:
                self._discard(data)
                return
            if self._left > 0:
                left = self._left - len(data)
                self._left = left if left >= 0 else UNKNOWN
            self._parse(data)
        else:
            request = split_request(data)
            if request is not None:
                shape, begin, size = request
                if size > SMALL_BYTES:
                    if self._admit(data, request):
                        return
                elif (
                    (grant := self._grants.get(shape) or self._grant_of(shape)) is not None
                    and begin + size == len(data)
                    and self._is_idle()
                ):
                    self._is_taken = True  # before the call, which may already give it back
                    if grant.fast_path.take(grant, self, data, begin):
                        return
                    self._is_taken = False
            self._parse_and_learn(data, request)

    def _admit(self, data: bytes, request: tuple[bytes, int, int]) -> bool:
        """Let the admission have a large request; whether it took it, or refused it."""
        admission = self._server.admission
        # What comes right behind its connection is read before aiohttp waits for it.
        is_first = self._waiter is None and not self._request_count and not self._force_close
        if admission is None or not (self._is_idle() or is_first):
            return False
        self._is_taken = True  # before the call, which may already give it back
        if admission.take(self, data, request):
            return True
        self._is_taken = False
        return False

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
        if fast_path is None:
            return
        known = self._grants.get(shape)
        if known is not None and fast_path.is_valid(known):
            return
        may_keep = known is not None or len(self._grants) < MAX_SHAPES
        is_known_to_all = fast_path.heads.is_worth_learning(shape)
        # The first request of a connection is often its last: it is not worth the time.
        if not is_known_to_all and (self._request_count < 2 or not may_keep):
            return
        self._grants.pop(shape, None)
        grant = fast_path.grant(message)
        if grant is None:
            return
        if may_keep:
            self._grants[shape] = grant
        if is_known_to_all:
            fast_path.heads.learn(shape, grant)

    def _grant_of(self, shape: bytes) -> "Grant | None":
        """Return what a head may do that this connection, or another, has sent before."""
        grant = self._grants.get(shape)
        if grant is not None or self._server.fast_path is None:
            return grant
        grant = self._server.fast_path.heads.get(shape)
        if grant is not None and len(self._grants) < MAX_SHAPES:
            self._grants[shape] = grant
        return grant

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
        if self.large is not None and self.large.left and self._server.admission is not None:
            self._server.admission.add(self, self.large, data)
            return
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

    def hand_on(self, large: "Large") -> None:
        """Let the fast path or the parser have a request that the admission had in hand.

        Its end may still be on its way.
        """
        self._is_taken = False
        if self.transport is None:
            return
        self._close = False  # that was at the end of the process, whose answers are all the last
        self._left = 0
        grant = None if large.left else self._grant_of(large.shape)
        if grant is not None and self._is_idle():
            self._is_taken = True
            if grant.fast_path.take_batch(grant, self, large.pieces, large.begin, large.started):
                return
            self._is_taken = False
        first, *rest = large.pieces
        self._parse_and_learn(first, split_request(first))
        for piece in rest:
            self.data_received(piece)
        self._go_on()

    def refuse(self, data: bytes, left: int, *, is_last: bool) -> None:
        """Answer a request of which ``left`` bytes are still to come; nobody reads these."""
        self._left = left
        self._is_discarding = left > 0
        self.answer(data, is_last=is_last and not left)
        self._close = is_last

    def _discard(self, data: bytes) -> None:
        rest = data[self._left :] if len(data) > self._left else b""
        self._left = max(0, self._left - len(data))
        if self._left:
            return
        self._is_discarding = False
        if self._close:
            self.force_close()
        elif rest:
            self.data_received(rest)

    def _go_on(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            if self._buffer_paused:
                self._resume_reading_for_buffer()
            self.data_received(held)

    @property
    def is_ending(self) -> bool:
        """Whether the answer to the request in hand is the last."""
        return self._close

    def close(self) -> None:
        """End the connection, after the answer to the request in hand."""
        waiter = self._waiter
        if self._is_taken:
            self._close = True
        elif self._current_request is None and not (waiter is not None and waiter.done()):
            super().close()
        # Else a handler has it, or is about to: its answer is the last at the end of the process
        # (``Dispatcher.is_leaving``). To aiohttp the rest of its body would be nothing any more.

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
