"""Bodies as they come over a real connection: whole, in pieces, too slow, cut short, too large."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import zstandard
from aiohttp import web

from gateway.body import check_headers, read_body
from sluice.core.errors import ErrorType, Rejected
from tests.support.raw_http import connect, exchange, request_bytes

MAX_BYTES = 300_000
WITHIN_S = 10
BODY = b'{"user_id":"u-1","event_type":"page_viewed"}'


@dataclass
class Reader:
    """A server that does nothing but read bodies."""

    url: str
    results: asyncio.Queue[bytes | Rejected]
    started: asyncio.Semaphore
    """Counts the requests whose handler has begun."""

    async def result(self) -> bytes | Rejected:
        """What became of the next body."""
        async with asyncio.timeout(WITHIN_S):
            return await self.results.get()

    async def read(self, body: bytes, *headers: tuple[str, str]) -> bytes | Rejected:
        """What becomes of a body that is sent with its length."""
        sent = request_bytes("/", headers=[*headers, ("Content-Length", str(len(body)))], body=body)
        await exchange(self.url, sent)
        return await self.result()


@asynccontextmanager
async def reading(*, timeout_s: float = WITHIN_S) -> AsyncIterator[Reader]:
    results: asyncio.Queue[bytes | Rejected] = asyncio.Queue()
    started = asyncio.Semaphore(0)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        started.release()
        wrong = check_headers(request)
        body = wrong or await read_body(request, max_bytes=MAX_BYTES, timeout_s=timeout_s)
        results.put_nowait(body)
        answer = web.Response(status=202)
        if isinstance(body, Rejected):
            answer.force_close()
        return answer

    runner = web.ServerRunner(web.Server(handle, auto_decompress=False), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield Reader(f"http://127.0.0.1:{runner.addresses[0][1]}", results, started)
    finally:
        await runner.cleanup()


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    async with reading() as reader:
        yield reader


def error_of(result: bytes | Rejected) -> ErrorType:
    assert isinstance(result, Rejected), f"{len(result)} bytes came through"
    return result.error_type


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


LARGE = b'{"n":' + b"0123456789" * 29_000 + b"}"


@pytest.mark.parametrize("body", [b"", b"{}", BODY, LARGE, b"x" * MAX_BYTES], ids=len)
async def test_body_is_read_whole_when_sent_with_its_length(reader: Reader, body: bytes) -> None:
    assert await reader.read(body) == body


@pytest.mark.parametrize(
    ("encoding", "squeeze"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("zstd", zstandard.compress),
    ],
)
async def test_body_is_inflated_when_it_says_so(
    reader: Reader, encoding: str, squeeze: Callable[[bytes], bytes]
) -> None:
    for body in (BODY, LARGE):
        assert await reader.read(squeeze(body), ("Content-Encoding", encoding)) == body


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress], ids=["plain", "gzip"])
async def test_body_is_read_whole_when_it_comes_in_many_pieces(
    reader: Reader, squeeze: Callable[[bytes], bytes]
) -> None:
    sent = squeeze(BODY)
    headers = [("Transfer-Encoding", "chunked")]
    if sent != BODY:
        headers.append(("Content-Encoding", "gzip"))
    async with connect(reader.url) as (_, writer):
        writer.write(request_bytes("/", headers=headers))
        for at in range(len(sent)):
            writer.write(chunked(sent[at : at + 1]))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        assert await reader.result() == BODY


async def test_connection_serves_the_next_request_when_a_body_was_read(reader: Reader) -> None:
    sent = request_bytes("/", headers=[("Content-Length", str(len(BODY)))], body=BODY)
    async with connect(reader.url) as (_, writer):
        writer.write(sent * 3)
        assert [await reader.result() for _ in range(3)] == [BODY] * 3


async def test_body_is_too_large_by_its_announced_length_before_a_byte_came(
    reader: Reader,
) -> None:
    for length in (MAX_BYTES + 1, 10**15):
        async with connect(reader.url) as (_, writer):
            writer.write(request_bytes("/", headers=[("Content-Length", str(length))]))
            assert error_of(await reader.result()) is ErrorType.BODY_TOO_LARGE


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_body_is_too_large_when_it_has_no_length_and_never_ends(
    reader: Reader, encoding: str
) -> None:
    # An incompressible gzip stream, so that the bound on compressed bytes is what stops it.
    noise = bytes(at * at % 251 for at in range(2000))
    stored = zlib.compressobj(level=0, wbits=31)
    head = stored.compress(noise) + stored.flush(zlib.Z_SYNC_FLUSH) if encoding == "gzip" else b""
    headers = [("Transfer-Encoding", "chunked"), ("Content-Encoding", encoding)]
    async with connect(reader.url) as (_, writer):
        writer.write(request_bytes("/", headers=headers) + (chunked(head) if head else b""))
        for _ in range(MAX_BYTES // len(noise) + 2):
            piece = noise
            if encoding == "gzip":
                piece = stored.compress(noise) + stored.flush(zlib.Z_SYNC_FLUSH)
            writer.write(chunked(piece))
        assert error_of(await reader.result()) is ErrorType.BODY_TOO_LARGE


@pytest.mark.parametrize(
    ("encoding", "squeeze"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstandard.compress)],
)
async def test_bomb_is_too_large_as_soon_as_it_has_grown_past_the_bound(
    reader: Reader, encoding: str, squeeze: Callable[[bytes], bytes]
) -> None:
    bomb = squeeze(b"\x00" * 20_000_000)
    assert len(bomb) < 25_000
    result = await reader.read(bomb, ("Content-Encoding", encoding))
    assert error_of(result) is ErrorType.BODY_TOO_LARGE


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", BODY),
        ("gzip", gzip.compress(BODY)[:-1]),
        ("gzip", gzip.compress(BODY) + b"x"),
        ("deflate", b"\xff" * 20),
        ("zstd", zstandard.compress(BODY)[:-3]),
        ("zstd", zstandard.compress(BODY) + b"trailing"),
    ],
    ids=["plain", "gzip cut", "gzip and more", "noise", "zstd cut", "zstd and more"],
)
async def test_body_is_undecodable_when_it_is_not_what_it_says(
    reader: Reader, encoding: str, body: bytes
) -> None:
    result = await reader.read(body, ("Content-Encoding", encoding))
    assert error_of(result) is ErrorType.BODY_UNDECODABLE


@pytest.mark.parametrize(
    "sent",
    [
        request_bytes("/", headers=[("Content-Length", "100")], body=b'{"user_id":'),
        request_bytes("/", headers=[("Content-Length", "100")]),
        request_bytes("/", headers=[("Transfer-Encoding", "chunked")], body=chunked(BODY)),
        request_bytes(
            "/",
            headers=[("Content-Length", "100"), ("Content-Encoding", "gzip")],
            body=gzip.compress(BODY),
        ),
    ],
    ids=["in the middle", "after the headers", "before the last chunk", "behind whole gzip"],
)
async def test_body_is_incomplete_when_the_client_hangs_up(reader: Reader, sent: bytes) -> None:
    async with connect(reader.url) as (_, writer):
        writer.write(sent)
        await writer.drain()
    assert error_of(await reader.result()) is ErrorType.BODY_INCOMPLETE


async def test_body_ends_at_the_timeout_when_its_chunks_are_malformed() -> None:
    """aiohttp does not tell a handler that is already reading; nothing of the body is taken."""
    async with reading(timeout_s=0.3) as reader, connect(reader.url) as (_, writer):
        writer.write(request_bytes("/", headers=[("Transfer-Encoding", "chunked")]))
        await reader.started.acquire()
        writer.write(chunked(b"{}") + b"no size\r\n")
        assert error_of(await reader.result()) is ErrorType.BODY_TIMEOUT


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_body_times_out_as_a_whole_when_it_comes_byte_by_byte(encoding: str) -> None:
    sent = BODY if encoding == "identity" else gzip.compress(BODY)
    headers = [("Content-Length", str(len(sent))), ("Content-Encoding", encoding)]
    async with reading(timeout_s=0.3) as reader, connect(reader.url) as (_, writer):
        writer.write(request_bytes("/", headers=headers))
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(reader.result())
            for at in range(len(sent) - 1):
                writer.write(sent[at : at + 1])
                done, _ = await asyncio.wait({task}, timeout=0.05)
                if done:
                    break
        assert error_of(task.result()) is ErrorType.BODY_TIMEOUT


@pytest.mark.parametrize(
    ("name", "value", "error_type"),
    [
        ("Content-Type", "text/plain", ErrorType.CONTENT_TYPE_UNSUPPORTED),
        ("Content-Type", "application/json; charset=latin-1", ErrorType.CONTENT_TYPE_UNSUPPORTED),
        ("Content-Encoding", "br", ErrorType.CONTENT_ENCODING_UNSUPPORTED),
        ("Content-Encoding", "gzip, gzip", ErrorType.CONTENT_ENCODING_UNSUPPORTED),
    ],
)
async def test_body_is_not_read_when_its_headers_are_refused(
    reader: Reader, name: str, value: str, error_type: ErrorType
) -> None:
    assert error_of(await reader.read(BODY, (name, value))) is error_type


async def test_encodings_on_two_lines_are_a_list_of_two(reader: Reader) -> None:
    twice = [("Content-Encoding", "gzip")] * 2
    assert error_of(await reader.read(BODY, *twice)) is ErrorType.CONTENT_ENCODING_UNSUPPORTED
