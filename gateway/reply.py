"""An answer on its way out: a slim response that is written with one call.

``aiohttp.web.Response`` builds a header map, asks hooks and writes in steps; that costs more than
everything else an accepted event needs. ``Reply`` renders the few headers that Sluice sends as one
piece of text. It implements what the HTTP protocol of aiohttp 3.14 uses of a response
(``RequestHandler.finish_response``): ``prepare``, ``write_eof`` and ``keep_alive``.
"""

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable
from contextlib import aclosing
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web import BaseRequest, StreamResponse

from gateway.core.answers import JSON, Answer, Stream

NO_CONTENT: Final = 204
BAD_REQUEST: Final = 400
WRITE_TIMEOUT_S: Final = 30.0
"""How long a client may take to read an answer before its connection is cut."""
MAX_UNREAD_BYTES: Final = 65_536
"""A refused request with a longer unread body costs its connection."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger(__name__)
_heads: dict[tuple[int, str], str] = {}


def _head(status: int, content_type: str) -> str:
    key = (status, content_type)
    head = _heads.get(key)
    if head is None:
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            "Cache-Control: no-store\r\n"
            "X-Content-Type-Options: nosniff\r\n"
        )
        if status != NO_CONTENT:
            head += f"Content-Type: {content_type}\r\n"
        _heads[key] = head
    return head


@lru_cache(maxsize=1)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)


def request_ids() -> Callable[[], str]:
    """Return a maker of ids that are unique among all processes."""
    prefix = secrets.token_hex(8)
    numbers = itertools.count(1)
    return lambda: f"{prefix}-{next(numbers)}"


def is_request_id(text: str) -> bool:
    """Whether a client's own request id can be used."""
    return _REQUEST_ID.fullmatch(text) is not None


def render(
    answer: Answer,
    *,
    request_id: str,
    connection: str | None = None,
    has_body: bool = True,
    is_chunked: bool = False,
) -> bytes:
    """Return the bytes of an answer.

    Args:
        answer: What to say.
        request_id: Goes into X-Request-Id; already checked.
        connection: Value of the Connection header, where one is needed.
        has_body: False for the answer to HEAD: same headers, no body.
        is_chunked: Whether a body of unknown length follows in chunks; else its end is the
            connection's.
    """
    status = answer.status
    extra = ""
    if answer.headers:
        for name, value in answer.headers:
            extra += f"{name}: {value}\r\n"
    if answer.error_type is not None:
        extra += f"X-Error-Type: {answer.error_type}\r\n"
    if connection is not None:
        extra += f"Connection: {connection}\r\n"
    if status != NO_CONTENT:
        size = len(answer.body) if answer.stream is None else answer.stream.size
        if size is not None:
            extra += f"Content-Length: {size}\r\n"
        elif is_chunked:
            extra += "Transfer-Encoding: chunked\r\n"
    head = (
        f"{_head(status, answer.content_type)}X-Request-Id: {request_id}\r\n"
        f"Date: {_http_date(int(time.time()))}\r\n{extra}\r\n"
    ).encode("latin-1")
    return head + answer.body if has_body else head


def render_queued(event_id: str, request_id: str, *, is_last: bool) -> bytes:
    """Return what ``render`` returns for ``queued_one(event_id)``, in a quarter of the time."""
    connection = "Connection: close\r\n" if is_last else ""
    return (
        f"{_QUEUED}X-Request-Id: {request_id}\r\nDate: {_http_date(int(time.time()))}\r\n"
        f'X-Event-Id: {event_id}\r\n{connection}Content-Length: 15\r\n\r\n{{"queued":true}}'
    ).encode("latin-1")


_QUEUED: Final = _head(HTTPStatus.ACCEPTED, JSON)


class Reply(StreamResponse):
    """One answer, bound to its request id."""

    # The base class's constructor makes the header map that this class exists to avoid.
    def __init__(self, answer: Answer, request_id: str, *, is_last: bool = False) -> None:
        self._answer = answer
        self._is_last = is_last
        self._request_id = request_id

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Decide whether the connection goes on."""
        self._req = request
        answer = self._answer
        self._keep_alive = request.keep_alive and not (
            answer.closes
            or self._is_last
            or (answer.stream is not None and answer.stream.size is None)
            or (answer.status >= BAD_REQUEST and _is_large_unread(request))
        )
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write the whole answer; a client that does not read it is cut off after a while."""
        request = self._req
        if request is None:
            return
        self._req = None
        transport = request.transport
        if transport is None or transport.is_closing():
            return  # the client hung up; nobody is left to answer
        connection: str | None = None
        if not self._keep_alive:
            connection = "close"
        elif request.version.minor == 0:
            connection = "keep-alive"
        stream = self._answer.stream
        is_chunked = stream is not None and stream.size is None and request.version.minor > 0
        transport.write(
            render(
                self._answer,
                request_id=self._request_id,
                connection=connection,
                has_body=request.method != hdrs.METH_HEAD,
                is_chunked=is_chunked,
            )
        )
        if stream is not None and request.method != hdrs.METH_HEAD:
            await _send(request, transport, stream, is_chunked=is_chunked)
        elif request.protocol.writing_paused:
            await _drain(request, transport)


async def _drain(request: BaseRequest, transport: asyncio.Transport) -> None:
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await request.writer.drain()
    except TimeoutError:
        transport.abort()


async def _send(
    request: BaseRequest, transport: asyncio.Transport, stream: Stream, *, is_chunked: bool
) -> None:
    """Write a body piece by piece; one that cannot be read to its end ends the connection."""
    try:
        async with aclosing(stream.pieces()) as pieces:
            async for piece in pieces:
                if transport.is_closing():
                    return
                if piece:
                    transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                if request.protocol.writing_paused:
                    await _drain(request, transport)
        if is_chunked and not transport.is_closing():
            transport.write(b"0\r\n\r\n")
    except ConnectionError:
        transport.abort()  # the client hung up
    except OSError as error:
        _log.warning("A file could not be sent whole", extra={"reason": str(error)[:200]})
        transport.abort()


def _is_large_unread(request: BaseRequest) -> bool:
    if request.content.is_eof():
        return False
    length = request.content_length
    return length is None or length > MAX_UNREAD_BYTES
