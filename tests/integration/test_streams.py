"""Bodies of unknown length on the wire: chunks, a clean end, and clients that read slowly or go."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from gateway.core.answers import Answer, Stream
from gateway.reply import Reply
from gateway.server import HttpServer
from tests.support.poll import poll_until
from tests.support.raw_http import connect, request_bytes

PIECE = b"x" * 16_384
GET = request_bytes("/", method="GET")


@asynccontextmanager
async def serving(pieces: Callable[[], AsyncGenerator[bytes, None]]) -> AsyncIterator[str]:
    """Answer every request with a stream of these pieces; yield the address."""

    async def handler(_request: web.BaseRequest) -> Reply:
        return Reply(Answer(200, stream=Stream(None, pieces)), "r")

    server = HttpServer(handler, new_request_id=lambda: "r", max_connections=10)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(server, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    listener.close()
    await server.shutdown(1)


async def test_stream_arrives_whole_and_ends_cleanly() -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for piece in (b"one", b"", PIECE, b"end"):
            yield piece

    async with serving(pieces) as url, aiohttp.ClientSession() as session:
        async with session.get(url) as answer:
            assert answer.headers["Transfer-Encoding"] == "chunked"
            assert "Content-Length" not in answer.headers
            assert await answer.read() == b"one" + PIECE + b"end"
        async with session.head(url) as head:
            assert (head.status, await head.read()) == (200, b"")


async def test_stream_waits_for_a_client_that_does_not_read_and_holds_no_more_for_it() -> None:
    made = 0
    is_closed = False

    async def pieces() -> AsyncGenerator[bytes, None]:
        nonlocal made, is_closed
        try:
            while True:
                made += 1
                yield PIECE
                await asyncio.sleep(0)
        finally:
            is_closed = True

    async with serving(pieces) as url:
        async with connect(url) as (_, writer):
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a transport that reads, too
            writer.write(GET)

            before = -1

            async def is_still() -> bool:
                nonlocal before
                was, before = before, made
                return was == made

            await poll_until(is_still, every_s=0.3, what="the stream waits")
            assert 0 < made * len(PIECE) < 16 * 1024 * 1024  # what two sockets hold, and one piece
        await poll_until(lambda: is_closed, what="the stream was closed")


async def test_stream_that_has_nothing_to_say_ends_when_the_client_hangs_up() -> None:
    is_closed = False

    async def pieces() -> AsyncGenerator[bytes, None]:
        nonlocal is_closed
        try:
            yield b"hello"
            while True:
                await asyncio.sleep(0.01)
                yield b""
        finally:
            is_closed = True

    async with serving(pieces) as url:
        async with connect(url) as (reader, writer):
            writer.write(GET)
            await reader.readuntil(b"hello")
            assert not is_closed
        await poll_until(lambda: is_closed, what="the stream was closed")
