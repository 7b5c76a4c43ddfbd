"""How results and errors go back: headers, compression, and what to do when it fails half-way."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import orjson
from aiohttp import web

from sluice.warehouse.server.blocks import BlockEncoder
from sluice.warehouse.server.codecs import Encoder, choose_encoding, encoder
from sluice.warehouse.server.engine import Progress
from sluice.warehouse.server.errors import StatementError
from sluice.warehouse.server.request import Call

INLINE_BYTES: Final = 64 * 1024
MIN_ENCODED_BYTES: Final = 4 * 1024
DISPLAY_NAME: Final = "sluice"
BLOCK_STATUSES: Final = frozenset((400, 404, 500))
"""Statuses whose error text ClickHouse's JDBC driver expects packed if it asked for blocks."""


def summary(progress: Progress) -> str:
    """Return the value of ``X-ClickHouse-Summary``: every number is a string, as in ClickHouse."""
    return orjson.dumps(
        {
            "read_rows": str(progress.read_rows),
            "read_bytes": str(progress.read_bytes),
            "written_rows": str(progress.written_rows),
            "written_bytes": str(progress.written_bytes),
            "total_rows_to_read": str(progress.read_rows),
            "result_rows": str(progress.result_rows or progress.written_rows),
            "result_bytes": str(progress.result_bytes or progress.written_bytes),
            "elapsed_ns": str(int(progress.elapsed_s * 1e9)),
        }
    ).decode()


class Answer:
    """The answer to one statement: whole, or begun and then continued part by part."""

    def __init__(self, request: web.BaseRequest, call: Call, version: str) -> None:
        self._request = request
        self._version = version
        self._encoding: str | None = None
        self._is_in_blocks = call.is_compressed
        if call.wants_http_compression and not call.is_compressed:
            self._encoding = choose_encoding(request.headers.get("Accept-Encoding", ""))
        self._headers = {
            "X-ClickHouse-Server-Display-Name": DISPLAY_NAME,
            "X-ClickHouse-Query-Id": call.query_id,
            "X-ClickHouse-Timezone": "UTC",
        }

    def describe(self, headers: Mapping[str, str]) -> None:
        """Add headers that are known only now."""
        self._headers.update(headers)

    async def whole(self, data: bytes, progress: Progress) -> web.StreamResponse:
        """Return the answer with its whole result."""
        self._headers["X-ClickHouse-Summary"] = summary(progress)
        if not self._is_in_blocks and len(data) < MIN_ENCODED_BYTES:
            return web.Response(body=data, headers=self._headers)
        packer = self._make_encoder()
        if packer is not None:
            plain = data
            data = await _off_loop(lambda: packer.feed(plain) + packer.finish(), len(plain))
        return web.Response(body=data, headers=self._headers)

    async def begin(self, progress: Progress) -> "BegunAnswer":
        """Send status and headers; the result follows in parts."""
        self._headers["X-ClickHouse-Summary"] = summary(progress)
        packer = self._make_encoder()
        response = web.StreamResponse(headers=self._headers)
        await response.prepare(self._request)
        return BegunAnswer(response, packer, self._version)

    def failed(self, error: StatementError) -> web.StreamResponse:
        """Return the error as the whole answer."""
        text = error.text(self._version).encode()
        if self._is_in_blocks and error.status in BLOCK_STATUSES:
            text = BlockEncoder().feed(text)
        headers = {
            **self._headers,
            "X-ClickHouse-Exception-Code": str(error.code),
            "Content-Type": "text/plain; charset=UTF-8",
        }
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        return web.Response(status=error.status, body=text, headers=headers)

    def _make_encoder(self) -> Encoder | None:
        if self._is_in_blocks:
            return BlockEncoder()
        if self._encoding is None:
            return None
        self._headers["Content-Encoding"] = self._encoding
        return encoder(self._encoding)


class BegunAnswer:
    """An answer whose status is sent; parts follow, then an end or an error."""

    def __init__(self, response: web.StreamResponse, packer: Encoder | None, version: str) -> None:
        self._response = response
        self._packer = packer
        self._version = version

    async def part(self, data: bytes) -> None:
        """Send the next part of the result."""
        packer = self._packer
        if packer is not None:
            plain = data
            data = await _off_loop(lambda: packer.feed(plain), len(plain))
        if data:
            await self._response.write(data)

    async def end(self) -> web.StreamResponse:
        """Send what is left and end the answer."""
        if self._packer is not None and (rest := self._packer.finish()):
            await self._response.write(rest)
        await self._response.write_eof()
        return self._response

    async def failed(self, error: StatementError) -> web.StreamResponse:
        """Append the error behind what was already sent, as ClickHouse does."""
        await self.part(b"\n" + error.text(self._version).encode())
        return await self.end()


async def _off_loop(work: Callable[[], bytes], size: int) -> bytes:
    return work() if size < INLINE_BYTES else await asyncio.to_thread(work)
