"""A request's body as plain bytes, in portions, decoded off the event loop if that takes time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import ClientConnectionError, web
from aiohttp.http_exceptions import HttpProcessingError

from sluice.warehouse.server.blocks import BlockDecoder
from sluice.warehouse.server.codecs import Decoder, decoder, undecodable
from sluice.warehouse.server.errors import StatementError

PORTION: Final = 1024 * 1024
READ_BYTES: Final = 128 * 1024
"""Decoded at once at most, so that what it decodes to stays within the caches."""
INLINE_BYTES: Final = 16 * 1024
MAX_STATEMENT_BYTES: Final = 16 * 1024 * 1024


class Body:
    """The decoded body of one request; read once, from front to back."""

    def __init__(self, request: web.BaseRequest, *, is_in_blocks: bool) -> None:
        encoding = request.headers.get("Content-Encoding", "")
        self._content = request.content
        self._decoders: list[Decoder] = [decoder(encoding)]
        if is_in_blocks:
            self._decoders.append(BlockDecoder())
        self._is_plain = encoding in ("", "identity") and not is_in_blocks
        self._pushed_back = b""
        self._is_at_end = False

    async def read(self, at_least: int) -> bytes:
        """Return the next bytes: ``at_least`` as many, fewer only at the end.

        Raises:
            StatementError: The body is not what its encoding says, or breaks off.
        """
        parts = [self._pushed_back] if self._pushed_back else []
        size = len(self._pushed_back)
        self._pushed_back = b""
        while size < at_least and not self._is_at_end:
            part = await self._next()
            parts.append(part)
            size += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def push_back(self, data: bytes) -> None:
        """Put bytes back in front of what comes next."""
        self._pushed_back = data + self._pushed_back

    @property
    def is_at_end(self) -> bool:
        """Whether nothing follows."""
        return self._is_at_end and not self._pushed_back

    async def whole(self, max_bytes: int) -> bytes:
        """Return all that is left.

        Raises:
            StatementError: It is longer than ``max_bytes``.
        """
        data = await self.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise StatementError(
                66, "QUERY_IS_TOO_LARGE", f"The query is larger than {max_bytes} bytes"
            )
        return data

    async def portions(self) -> AsyncIterator[bytes]:
        """Yield all that is left, in portions of about ``PORTION`` bytes."""
        while data := await self.read(PORTION):
            yield data

    async def _next(self) -> bytes:
        try:
            if self._is_plain:
                data = await self._content.readany()
            else:
                data = await self._content.read(READ_BYTES)
        except (HttpProcessingError, ClientConnectionError, web.RequestPayloadError) as error:
            raise undecodable(f"whole: {error}") from None
        self._is_at_end = not data
        if self._is_plain:
            return data
        if len(data) < INLINE_BYTES:
            return self._decode(data)
        return await asyncio.to_thread(self._decode, data)

    def _decode(self, data: bytes) -> bytes:
        is_at_end = not data
        for each in self._decoders:
            data = each.feed(data) if data else data
            if is_at_end:
                each.finish()
        return data
