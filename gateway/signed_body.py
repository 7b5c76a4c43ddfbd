"""Reading a body that is signed as a whole: kept up to one bound, only hashed up to a larger one.

A sender that is told "too large" for what it signed takes that for a failure; so what is too large
to be kept is hashed piece by piece, and the answer can depend on who sent it.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import StreamReader
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import BaseRequest, RequestPayloadError

from gateway.body import check_transfer, forget_frames, next_of
from gateway.room import Held
from gateway.sources.shopify_signature import Hashers, is_signed
from sluice.core.errors import ErrorType, Rejected

INLINE_BYTES: Final = 262_144
"""Hashing this much takes less than a millisecond; more is done in a thread."""


class Signed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A body that arrived, and whether its signature is good."""

    is_signed: bool
    body: bytes | None
    """None where it was too large to be kept."""
    size: int


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a body is kept and hashed, and how long it may take."""

    kept_bytes: int
    """At least ``INLINE_BYTES``."""
    hashed_bytes: int
    timeout_s: float


async def read_signed(
    request: BaseRequest, header: str, secrets: Sequence[str], bounds: Bounds, held: Held
) -> Signed | Rejected:
    """Return the body as it came, without decoding anything.

    Args:
        request: Of an application that does not decompress by itself.
        header: The signature that came with it.
        secrets: Any of them may have made the signature.
        bounds: On the body.
        held: Is charged for what is kept.

    Raises:
        NoRoomError: ``held`` does not get as much as arrives.
    """
    length = request.content_length
    wrong = check_transfer(request)
    if wrong is not None:
        return wrong
    if length is not None and length > bounds.hashed_bytes:
        return _too_large(bounds)
    content = request.content
    is_small = content.total_bytes * len(secrets) <= INLINE_BYTES
    if is_small and content.is_eof() and content.exception() is None:
        # It arrived with its head, as nearly all do: there is nothing to wait for.
        body = content.read_nowait()
        held.set_size(len(body))
        return Signed(is_signed=is_signed(header, body, secrets), body=body, size=len(body))
    # A timer of its own is a tenth of the price of asyncio.timeout; it ends the wait for the body.
    loop = asyncio.get_running_loop()
    timer = loop.call_later(bounds.timeout_s, content.set_exception, TimeoutError())
    try:
        return await _read(content, header, secrets, bounds, held)
    except TimeoutError as error:
        forget_frames(error)
        return Rejected(
            ErrorType.BODY_TIMEOUT, f"The body did not arrive within {bounds.timeout_s:g} seconds."
        )
    except (RequestPayloadError, HttpProcessingError, OSError) as error:
        forget_frames(error)
        return Rejected(ErrorType.BODY_INCOMPLETE, "The body ended before its announced length.")
    finally:
        timer.cancel()


async def _read(
    content: StreamReader, header: str, secrets: Sequence[str], bounds: Bounds, held: Held
) -> Signed | Rejected:
    chunks: list[bytes] = []
    try:
        return await _read_into(chunks, content, header, secrets, bounds, held)
    finally:
        chunks.clear()  # whatever still holds the frames of a read that failed, not the body


async def _read_into(
    chunks: list[bytes],
    content: StreamReader,
    header: str,
    secrets: Sequence[str],
    bounds: Bounds,
    held: Held,
) -> Signed | Rejected:
    size = 0
    hashers: Hashers | None = None
    while not content.at_eof():
        chunk = await next_of(content)
        size += len(chunk)
        if size > bounds.hashed_bytes:
            return _too_large(bounds)
        if hashers is None:
            held.set_size(size)
        chunks.append(chunk)
        if hashers is None and size > bounds.kept_bytes:
            hashers = Hashers(secrets)
        if hashers is not None:
            await asyncio.to_thread(hashers.update, b"".join(chunks))
            chunks.clear()
            held.set_size(0)
    if hashers is not None:
        return Signed(is_signed=hashers.is_signed(header), body=None, size=size)
    body = b"".join(chunks)
    if len(body) * len(secrets) <= INLINE_BYTES:
        is_good = is_signed(header, body, secrets)
    else:
        is_good = await asyncio.to_thread(is_signed, header, body, secrets)
    return Signed(is_signed=is_good, body=body, size=size)


def _too_large(bounds: Bounds) -> Rejected:
    return Rejected(
        ErrorType.BODY_TOO_LARGE, f"The body has more than {bounds.hashed_bytes} bytes."
    )
