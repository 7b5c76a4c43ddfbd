"""Bad clients: absurd lengths, slow ones, those that hang up, idle ones, floods of headers.

As in ``test_bad_input.py``, none of them gets a 5xx, and the good event right after is served.
"""

import asyncio
import time
from contextlib import AsyncExitStack, suppress

import orjson
import pytest

from tests.support.idle import idle_connections, most_connections
from tests.support.poll import poll_until
from tests.support.raw_http import connect, exchange, read_answer, request_bytes
from tests.support.segops import (
    EVENT,
    TRACK,
    Answer,
    Segops,
    assert_queued,
    assert_refused,
    check_manners,
)
from tests.support.telemetry import sum_of

PLAIN = orjson.dumps(EVENT)


def head(
    api: Segops, *more: tuple[str, str], body: bytes = b"", length: str | None = None
) -> bytes:
    """Return a request of a known tenant, with a Content-Length of any kind."""
    headers = [("Authorization", f"ApiKey {api.api_key}"), ("Content-Type", "application/json")]
    if length is not None:
        headers.append(("Content-Length", length))
    return request_bytes(TRACK, headers=[*headers, *more], body=body)


@pytest.mark.parametrize(
    "length", ["1000000000000000000", "9" * 400, "-1", "abc", "", "1, 2", "+5"]
)
async def test_gateway_answers_at_once_when_content_length_is_absurd(
    gateway: Segops, length: str
) -> None:
    started = time.monotonic()
    answer = await exchange(gateway.url, head(gateway, length=length, body=PLAIN))
    assert time.monotonic() - started < 5
    assert answer is not None
    check_manners(answer)
    assert_refused(answer, 413 if length == "1000000000000000000" else answer.status)
    assert answer.status in {400, 413}


async def test_gateway_refuses_request_smuggling(gateway: Segops) -> None:
    chunked = ("Transfer-Encoding", "chunked")
    for request in (
        head(gateway, chunked, length=str(len(PLAIN)), body=PLAIN),
        head(gateway, chunked, body=b"zz\r\n{}\r\n0\r\n\r\n"),
        head(gateway, chunked, body=b"-1\r\n{}\r\n0\r\n\r\n"),
        head(gateway, ("Transfer-Encoding", "gzip, chunked, x"), body=b"0\r\n\r\n"),
        head(gateway, ("Transfer-Encoding", "gzip, chunked"), body=b"2\r\n{}\r\n0\r\n\r\n"),
        head(gateway, ("Content-Length", "5"), length="6", body=PLAIN),
    ):
        answer = await exchange(gateway.url, request)
        assert answer is None or answer.status == 400
        if answer is not None:
            check_manners(answer)


async def test_gateway_gives_up_a_body_when_it_comes_one_byte_a_second(gateway: Segops) -> None:
    """Its SLUICE_BODY_TIMEOUT_S is 1: the answer is 408, however long the client drips on."""
    request = head(gateway, length=str(len(PLAIN)))

    async def drip() -> Answer | None:
        async with connect(gateway.url) as (reader, writer), asyncio.TaskGroup() as tasks:
            writer.write(request)
            rest = tasks.create_task(_drip(writer, PLAIN, every_s=0.3))
            answer = await read_answer(reader)
            rest.cancel()
            return answer

    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as slow_heads:
        for _ in range(50):
            _, writer = await slow_heads.enter_async_context(connect(gateway.url))
            tasks.create_task(_drip(writer, request[:5], every_s=0.3))
        dripping = [tasks.create_task(drip()) for _ in range(50)]
        while not all(task.done() for task in dripping):
            assert_queued(await gateway.track(EVENT))
    for task in dripping:
        answer = task.result()
        assert answer is not None
        check_manners(answer)
        assert_refused(answer, 408, "body_timeout")


async def _drip(writer: asyncio.StreamWriter, data: bytes, *, every_s: float) -> None:
    with suppress(ConnectionError):
        for n in range(len(data)):
            writer.write(data[n : n + 1])
            await writer.drain()
            await asyncio.sleep(every_s)


async def test_gateway_goes_on_when_clients_hang_up_in_the_middle(gateway: Segops) -> None:
    whole = head(gateway, length=str(len(PLAIN)), body=PLAIN)
    cuts = [1, 20, whole.index(b"\r\n\r\n") + 2, whole.index(b"\r\n\r\n") + 4, len(whole) - 1]
    for cut in cuts * 20:
        async with connect(gateway.url) as (_, writer):
            writer.write(whole[:cut])
            await writer.drain()
    for _ in range(100):  # hangs up without reading its answer
        async with connect(gateway.url) as (_, writer):
            writer.write(whole)
            await writer.drain()


async def test_gateway_answers_as_json_when_headers_flood_in(gateway: Segops) -> None:
    floods = [
        [(f"X-{n}", "x") for n in range(10_000)],
        [("X-Long", "x" * 1_000_000)],
        [("X-" + "n" * 50_000, "x")],
        [("Authorization", "ApiKey " + "x" * 100_000)],
        [("X-Same", "x")] * 5_000,
        [("Cookie", "a=b; " * 50_000)],
        [("Bad Name", "x")],
        [("X-Nul", "a\x00b")],
    ]
    for flood in floods:
        async with connect(gateway.url) as (reader, writer):
            writer.write(head(gateway, *flood, length=str(len(PLAIN)), body=PLAIN))
            answer = await read_answer(reader)
        if answer is not None:  # or the connection was cut before everything was sent
            check_manners(answer)
            assert 400 <= answer.status < 500
    for request in (
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"\r\n" * 100,
        b"POST / HTTP/9.9\r\n\r\n",
    ):
        async with connect(gateway.url) as (reader, writer):
            writer.write(request)
            writer.write_eof()
            answer = await read_answer(reader)
        assert answer is None or 400 <= answer.status < 500
    long_path = await exchange(gateway.url, request_bytes("/" + "x" * 100_000, method="GET"))
    assert long_path is None or 400 <= long_path.status < 500


async def test_gateway_serves_when_10_000_connections_idle(gateway: Segops) -> None:
    count = most_connections(10_000)
    assert count >= 3_000
    length = str(len(PLAIN))
    async with idle_connections(gateway.url, count):

        async def are_open() -> bool:
            opened = sum_of(await gateway.metrics(), "sluice_http_open_connections")
            return opened >= count

        await poll_until(are_open, within_s=30, what=f"{count} open connections")
        started = time.monotonic()
        for _ in range(20):
            assert_queued(await gateway.track(EVENT))
            answer = await exchange(gateway.url, head(gateway, length=length, body=PLAIN))
            assert answer is not None
            assert_queued(answer)
        assert time.monotonic() - started < 10
