"""Signed bodies as they come over a real connection."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gateway.body import read_body
from gateway.room import Room
from gateway.signed_body import Bounds, read_signed
from sluice.core.errors import ErrorType, Rejected
from tests.support.raw_http import connect, request_bytes
from tests.support.telemetry import MIB

WITHIN_S = 10
SENT = b"x" * (4 * MIB)
BOUNDS = Bounds(kept_bytes=5 * MIB, hashed_bytes=20 * MIB, timeout_s=WITHIN_S)
SHORT = Bounds(kept_bytes=5 * MIB, hashed_bytes=20 * MIB, timeout_s=0.5)

Read = Callable[[web.BaseRequest], Awaitable[object]]


async def read_within(request: web.BaseRequest) -> object:
    return await read_signed(request, "", ["secret"], BOUNDS, Room().hold())


async def read_too_late(request: web.BaseRequest) -> object:
    return await read_signed(request, "", ["secret"], SHORT, Room().hold())


async def read_unsigned(request: web.BaseRequest) -> object:
    return await read_body(request, max_bytes=5 * MIB, timeout_s=WITHIN_S)


@asynccontextmanager
async def reading(read: Read) -> AsyncIterator[tuple[str, asyncio.Queue[object]]]:
    """Serve nothing but the reading of bodies."""
    results: asyncio.Queue[object] = asyncio.Queue()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        results.put_nowait(await read(request))
        answer = web.Response()
        answer.force_close()
        return answer

    runner = web.ServerRunner(web.Server(handle, auto_decompress=False), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", results
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("read", "error_type"),
    [
        (read_within, ErrorType.BODY_INCOMPLETE),
        (read_too_late, ErrorType.BODY_TIMEOUT),
        (read_unsigned, ErrorType.BODY_INCOMPLETE),
    ],
    ids=["signed, cut short", "signed, too slow", "unsigned, cut short"],
)
async def test_body_that_never_ends_is_freed_without_waiting_for_the_collector(
    read: Read, error_type: ErrorType
) -> None:
    sent = request_bytes("/", headers=[("Content-Length", str(len(SENT) + 1))], body=SENT)
    is_late = error_type == ErrorType.BODY_TIMEOUT
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        async with reading(read) as (url, results):
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(3):
                async with asyncio.timeout(WITHIN_S), connect(url) as (_, writer):
                    writer.write(sent)
                    await writer.drain()
                    result = await results.get() if is_late else None
                result = result or await results.get()
                assert isinstance(result, Rejected)
                assert result.error_type == error_type
                del result, writer
            after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert after - before < 2 * MIB, "less than half of one body, of three"
