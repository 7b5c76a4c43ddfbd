"""The client against servers that are not Amplitude: it comes back in time, with bounded memory."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sluice.core.amplitude import AmplitudeConfig
from worker.amplitude_client import MAX_ANSWER_BYTES, AmplitudeClient
from worker.core.amplitude_answers import Answer, NoAnswer
from worker.core.lane import Item
from worker.forwarder import MAX_EVENTS, SLOW, Forwarder

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
OK = b'{"code":200,"events_ingested":1}'
MIB = 1024 * 1024
AT_ONCE = 100
"""More hanging requests than a client has connections by default."""


@asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[AmplitudeClient]:
    """Yield a client of a server that leaves everything after the request's head to a handler."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await handler(await reader.readexactly(length), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with AmplitudeClient(f"http://127.0.0.1:{port}") as client:
            yield client


async def ask(client: AmplitudeClient, event: bytes, *, timeout_s: float) -> Answer | NoAnswer:
    config = AmplitudeConfig(api_key="k")
    return await client.post(config, "/2/httpapi", [event], timeout_s=timeout_s)


def reply(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def drip(_body: bytes, writer: asyncio.StreamWriter) -> None:
    for number in reply(OK):
        writer.write(bytes([number]))
        await writer.drain()
        await asyncio.sleep(0.05)


def endless(start: bytes, piece: bytes) -> Handler:
    async def send(_body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(piece)
            await writer.drain()

    return send


def packed_zeros(mib: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return b"".join([packer.compress(bytes(MIB)) for _ in range(mib)]) + packer.flush()


async def bomb(_body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(reply(packed_zeros(200), b"Content-Encoding: gzip"))
    await writer.drain()


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(drip, id="byte by byte"),
        pytest.param(bomb, id="a gzip bomb"),
        pytest.param(endless(HEAD + b"\r\n", bytes(65_536)), id="a body without end"),
        pytest.param(endless(HEAD, b"X-Y: z\r\n" * 1000), id="headers without end"),
        pytest.param(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), id="100 without end"),
    ],
)
async def test_an_answer_without_end_or_measure_is_given_up(handler: Handler) -> None:
    async with answering(handler) as client, asyncio.timeout(5):
        answer = await ask(client, b"{}", timeout_s=0.5)
    if isinstance(answer, Answer):
        assert len(answer.body) < 4 * MAX_ANSWER_BYTES


async def test_a_request_does_not_wait_for_others_that_hang() -> None:
    is_over = asyncio.Event()
    hanging = 0

    async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal hanging
        if b"stuck" in body:
            hanging += 1
            await is_over.wait()
        writer.write(reply(OK))
        await writer.drain()

    async with answering(answer) as client, asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(ask(client, b'"stuck"', timeout_s=20))
        assert await ask(client, b"{}", timeout_s=10) == Answer(200, OK)
        is_over.set()


async def test_what_a_slow_project_has_not_taken_in_time_is_left_in_order() -> None:
    async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(reply(b'{"code":200,"events_ingested":1000}'))
        await writer.drain()

    items = [
        Item(tenant="acme", user_id="u", event_id=str(number), received_at="", row=b"", body=b"1")
        for number in range(3 * MAX_EVENTS)
    ]
    async with answering(answer) as client:
        settled = await Forwarder(client, in_flight=1).forward(
            AmplitudeConfig(api_key="k"), items, patience_s=5, within_s=0.1
        )
    assert settled.delivered == items[:MAX_EVENTS]
    assert settled.left == items[MAX_EVENTS:]
    assert settled.held == SLOW
