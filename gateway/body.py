"""Reading a request's body: bounded in bytes before and after decompression, and in time.

A body that already arrived with its headers is taken without a wait, as nearly all single events
are. What is inflated beyond the first 256 KiB of a chunk is inflated in a thread. At most the bound
of compressed and the bound of inflated bytes are held, and no part of a body that was cut short is
ever returned.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import StreamReader, hdrs
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import BaseRequest, RequestPayloadError

from gateway.core.inflate import Encoding, InflatedTooLargeError, Inflater, UndecodableError
from gateway.core.media import check_content_type, read_encoding
from gateway.room import Held
from sluice.core.errors import ErrorType, Rejected

INLINE_BYTES: Final = 262_144
"""How much of a chunk is inflated on the event loop: a batch of 500 events, in 0.2 ms. To hand it
to a thread and back costs as much, and its parsing, which follows, takes several times as long."""

INCOMPLETE: Final = Rejected(
    ErrorType.BODY_INCOMPLETE, "The body ended before its announced length."
)


def send_continue(request: BaseRequest) -> None:
    """Tell a client that waits for it to send the body."""
    transport = request.transport
    expected = request.headers.get(hdrs.EXPECT, "").lower()
    if transport is not None and expected == "100-continue" and request.version.minor:
        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def check_transfer(request: BaseRequest) -> Rejected | None:
    """Return why the bytes of this body are not those that were meant."""
    if request.headers.get(hdrs.TRANSFER_ENCODING, "chunked").strip().lower() != "chunked":
        # aiohttp takes the frames off but leaves what a further coding did to the bytes.
        return Rejected(
            ErrorType.REQUEST_INVALID, "Use no Transfer-Encoding but chunked for the body."
        )
    return None


def check_headers(request: BaseRequest, *, may_be_text: bool = False) -> Rejected | None:
    """Return why this body is not even read: how it is coded, or its type, is not taken."""
    headers = request.headers
    wrong = check_transfer(request)
    if wrong is not None:
        return wrong
    problem = check_content_type(headers.get(hdrs.CONTENT_TYPE, ""), may_be_text=may_be_text)
    if problem is None and hdrs.CONTENT_ENCODING in headers:
        encoding = _encoding(request)
        if isinstance(encoding, Rejected):
            return encoding
    return problem


def check_encoding(request: BaseRequest) -> Rejected | None:
    """Return why this body is not even read: how it is coded is not taken; its type may be any.

    Client libraries and browsers send JSON under several types.
    """
    wrong = check_transfer(request)
    if wrong is None:
        encoding = _encoding(request)
        return encoding if isinstance(encoding, Rejected) else None
    return wrong


async def read_body(
    request: BaseRequest, *, max_bytes: int, timeout_s: float, held: Held | None = None
) -> bytes | Rejected:
    """Return the whole body, decompressed.

    After a refusal the rest of the body may still be on its way, so the connection is to be closed.

    Args:
        request: Of an application that does not decompress by itself.
        max_bytes: Bound on the body as it is sent, and as much again once it is decompressed.
        timeout_s: Bound on the whole of it.
        held: Is charged for the bytes that wait for more of them.

    Raises:
        NoRoomError: ``held`` does not get as much as arrives.
    """
    encoding = _encoding(request)
    if isinstance(encoding, Rejected):
        return encoding
    length = request.content_length
    if length is not None and length > max_bytes:
        return Rejected(
            ErrorType.BODY_TOO_LARGE,
            f"The body has {length} bytes; {max_bytes} are allowed.",
        )
    content = request.content
    try:
        if encoding is None and content.is_eof():
            body = content.read_nowait()
            return body if len(body) <= max_bytes else _too_large(max_bytes)
        async with asyncio.timeout(timeout_s):
            if encoding is None:
                return await _read_plain(content, max_bytes, held)
            return await _read_encoded(content, encoding, max_bytes, held)
    except TimeoutError:
        return Rejected(
            ErrorType.BODY_TIMEOUT, f"The body did not arrive within {timeout_s:g} seconds."
        )
    except (RequestPayloadError, HttpProcessingError, OSError) as error:
        forget_frames(error)
        return INCOMPLETE


def forget_frames(error: BaseException) -> None:
    """Drop the frames that an error came through, and so the pieces of the body in them.

    A stream keeps the error that ended it, and the frames lead back to the stream: without this,
    megabytes of a body that was cut short stay until the collector finds the circle.
    """
    error.__traceback__ = None


async def _read_plain(content: StreamReader, max_bytes: int, held: Held | None) -> bytes | Rejected:
    chunks: list[bytes] = []
    size = 0
    async for chunk in chunks_of(content):
        size += len(chunk)
        if size > max_bytes:
            return _too_large(max_bytes)
        if held is not None:
            held.set_size(size)
        chunks.append(chunk)
    return b"".join(chunks)


async def _read_encoded(
    content: StreamReader, encoding: Encoding, max_bytes: int, held: Held | None
) -> bytes | Rejected:
    inflater = Inflater(encoding, max_bytes=max_bytes)
    size = 0
    try:
        async for chunk in chunks_of(content):
            size += len(chunk)
            if size > max_bytes:
                return Rejected(
                    ErrorType.BODY_TOO_LARGE, f"The body is larger than {max_bytes} bytes."
                )
            inflater.feed(chunk)
            if inflater.step(INLINE_BYTES):
                await asyncio.to_thread(inflater.run)
            if held is not None:
                # After the fact, which the number of threads bounds: a few bytes may become many.
                held.set_size(inflater.held_bytes)
        return inflater.finish()
    except InflatedTooLargeError:
        return _too_large(max_bytes)
    except UndecodableError:
        return Rejected(ErrorType.BODY_UNDECODABLE, f"The body is not valid {encoding}.")


async def chunks_of(content: StreamReader) -> AsyncIterator[bytes]:
    """Yield a body piece by piece, as it arrives."""
    while not content.at_eof():
        chunk = await next_of(content)
        if chunk:
            yield chunk


async def next_of(content: StreamReader) -> bytes:
    """Return what of a body has arrived, once there is something, or nothing at its end.

    Raises:
        ConnectionResetError: The client hung up before anybody waited for more.
    """
    try:
        return await content.readany()
    except RuntimeError:  # aiohttp's word for it
        message = "the client hung up"
        raise ConnectionResetError(message) from None


def _encoding(request: BaseRequest) -> Encoding | Rejected | None:
    values = request.headers.getall(hdrs.CONTENT_ENCODING, None)
    return None if values is None else read_encoding(",".join(values))


def _too_large(max_bytes: int) -> Rejected:
    return Rejected(
        ErrorType.BODY_TOO_LARGE, f"The body is larger than {max_bytes} bytes once decompressed."
    )
