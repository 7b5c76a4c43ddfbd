"""The fast path of ``track``: who takes it, and that nobody can tell but by the time."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from yarl import URL

from gateway import fast_path
from gateway.connection import Connection
from gateway.fast_path import FastPath
from gateway.group import Unstored
from gateway.publisher import Publisher
from gateway.reply import render_queued
from sluice.core.envelope import Envelope
from sluice.core.errors import ErrorType
from sluice.queue.local import LocalQueue
from sluice.telemetry import EVENTS_ACCEPTED, EVENTS_REJECTED, HTTP_FAST_PATH
from sluice.tenants import TenantsFile
from tests.support.gateway import EVENT, TENANT, TRACK, Gateway, running_gateway, stored_rows
from tests.support.poll import poll_until
from tests.support.raw_http import connect, read_answer, request_bytes
from tests.support.segops import Answer

BODIES = [
    EVENT,
    EVENT,
    EVENT,
    b'{"user_id":"u-2","event_type":"named","event_id":"e-1"}',
    b'{"user_id":7,"event_type":"a number","payload":{"a":[1,2,{"b":null}]}}',
    b'{"user_id":"u-3","event_type":"at","occurred_at":"2026-01-31T23:59:59.123456789Z"}',
    b'{"user_id":"u-3","event_type":"at","occurred_at":"2026-02-31T00:00:00Z"}',
    b'{"user_id":"u-3","event_type":"at","occurred_at":1767225600}',
    b'{"user_id":"u-4","event_type":"lines","payload":{\n "a":\r\n 1}}',
    '{"user_id":"ü","event_type":"Größe","payload":{"name":"\u2028 日本"}}'.encode(),
    b'{"user_id":"\xff","event_type":"no_utf8"}',
    b'\xef\xbb\xbf{"user_id":"u-5","event_type":"marked"}',
    b'{"user_id":"u-6","event_type":"repaired","payload":{"a":NaN}}',
    b'{"user_id":"u-7","event_type":"x","payload":null}',
    b'{"user_id":"u-7","event_type":"x","payload":[]}',
    b'{"user_id":"u-7","event_type":"deep","payload":' + b'{"a":' * 40 + b"1" + b"}" * 41,
    b'{"user_id":"u-8","event_type":" spaced"}',
    b'{"anonymous_id":"visitor","event_type":"x"}',
    b'{"user_id":"","event_type":"x"}',
    b'{"user_id":"u","event_type":"x"},{"user_id":"v","event_type":"y"}',
    b'{"user_id":"u","event_type":"x"',
    b'["user_id"]',
    b"null",
    b" ",
    b"{}",
    EVENT,
]
"""What is good, odd and bad in every way that the long way tells apart."""


@asynccontextmanager
async def on_fast_path(gateway: Gateway) -> AsyncIterator["Client"]:
    """Open a connection and send on it until its requests take the fast path."""
    async with connect(gateway.url) as (reader, writer):
        client = Client(gateway, reader, writer)
        for _ in range(2):
            assert (await client.send(EVENT)).status == 202
        before = HTTP_FAST_PATH.value()
        assert (await client.send(EVENT)).status == 202
        assert HTTP_FAST_PATH.value() == before + 1
        yield client


class Client:
    """One connection that says the same head again and again."""

    def __init__(
        self, gateway: Gateway, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._gateway = gateway

    async def send(self, *bodies: bytes) -> Answer:
        """Send requests in one write; return the answer to the first."""
        self.writer.write(b"".join(map(self._gateway.track_bytes, bodies)))
        return await self.read()

    async def read(self) -> Answer:
        """Return the next answer."""
        answer = await read_answer(self.reader)
        assert answer is not None, "the connection was closed without an answer"
        return answer


def seen(answer: Answer) -> object:
    """Return what a client sees but what differs from request to request."""
    headers = [
        (name, value)
        for name, value in answer.headers.items()
        if name not in {"Date", "X-Request-Id", "X-Event-Id"}
    ]
    return answer.status, headers, answer.body


def kept(rows: Sequence[bytes]) -> list[Any]:
    """Return rows without ids and times that were made here."""
    found = []
    for row in map(orjson.loads, rows):
        if row["occurred_at"] == row["received_at"]:
            row["occurred_at"] = "now"
        found.append({name: row[name] for name in row if name not in {"event_id", "received_at"}})
    return found


async def test_answers_and_rows_are_those_of_the_long_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr(FastPath, "take", lambda *_: False)
        async with running_gateway(tmp_path / "long") as gateway:
            long = [seen(await gateway.send(gateway.track_bytes(body))) for body in BODIES]
    long_rows = await stored_rows(gateway.settings)
    async with running_gateway(tmp_path / "fast") as gateway, connect(gateway.url) as streams:
        client = Client(gateway, *streams)
        before = HTTP_FAST_PATH.value()
        fast = [seen(await client.send(body)) for body in BODIES]
        assert HTTP_FAST_PATH.value() - before >= 6
    fast_rows = await stored_rows(gateway.settings)
    assert fast == long
    assert kept(fast_rows["events"]) == kept(long_rows["events"])
    assert len(fast_rows["errors"]) == len(long_rows["errors"])


async def test_events_that_arrive_together_are_stored_once_each_with_their_own_ids(
    tmp_path: Path,
) -> None:
    """A bad one among them is refused alone."""
    async with running_gateway(tmp_path) as gateway:
        accepted = EVENTS_ACCEPTED.value("track", TENANT)

        async def send_some(number: int) -> list[tuple[str, str]]:
            told = []
            async with connect(gateway.url) as streams:
                client = Client(gateway, *streams)
                for turn in range(20):
                    name = f"u-{number}-{turn}"
                    answer = await client.send(b'{"user_id":"%b","event_type":"x"}' % name.encode())
                    told.append((name, answer.headers["X-Event-Id"]))
                    assert (await client.send(b'{"event_type":"x"}')).status == 400
            return told

        async with asyncio.TaskGroup() as tasks:
            sent = [tasks.create_task(send_some(number)) for number in range(8)]
        assert EVENTS_ACCEPTED.value("track", TENANT) == accepted + 160
    rows = [orjson.loads(row) for row in (await stored_rows(gateway.settings))["events"]]
    told = [pair for one in sent for pair in one.result()]
    assert sorted((row["user_id"], row["event_id"]) for row in rows) == sorted(told)


async def test_revoked_key_is_refused_on_the_connection_that_used_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, on_fast_path(gateway) as client:
        TenantsFile(gateway.settings.tenants_path).rotate_key(TENANT, revoke_old=True)

        async def is_refused() -> bool:
            return (await client.send(EVENT)).status == 401

        await poll_until(is_refused, what="the old key is refused")


async def test_head_that_is_known_takes_the_fast_path_on_a_new_connection_too(
    tmp_path: Path,
) -> None:
    """A head that came twice, each time on a connection of its own, is known."""
    async with running_gateway(tmp_path) as gateway:
        fast = []
        for _ in range(4):
            before = HTTP_FAST_PATH.value()
            assert (await gateway.send(gateway.track_bytes())).status == 202
            fast.append(HTTP_FAST_PATH.value() - before)
        assert fast == [0, 0, 1, 1]
    assert len((await stored_rows(gateway.settings))["events"]) == 4


async def test_revoked_key_is_refused_on_a_new_connection_though_its_head_is_known(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path) as gateway:
        for _ in range(3):
            assert (await gateway.send(gateway.track_bytes())).status == 202
        TenantsFile(gateway.settings.tenants_path).rotate_key(TENANT, revoke_old=True)

        async def is_refused() -> bool:
            return (await gateway.send(gateway.track_bytes())).status == 401

        await poll_until(is_refused, what="the old key is refused")


@pytest.mark.parametrize("requests", [0, 1])
async def test_silent_connection_is_closed_whatever_it_said_before(
    tmp_path: Path, requests: int
) -> None:
    """Also one that never said anything, or whose only request took the fast path."""
    async with running_gateway(tmp_path, keepalive_s=1) as gateway:
        for _ in range(2):
            assert (await gateway.send(gateway.track_bytes())).status == 202
        before = HTTP_FAST_PATH.value()
        async with connect(gateway.url) as (reader, writer), asyncio.timeout(20):
            for _ in range(requests):
                writer.write(gateway.track_bytes())
                answer = await read_answer(reader)
                assert answer is not None
                assert answer.status == 202
            assert await reader.read() == b""
        assert HTTP_FAST_PATH.value() == before + requests


async def test_connections_that_ended_leave_nothing_behind(tmp_path: Path) -> None:
    """Without the collector, which comes seldom: ten thousand of them would be felt."""

    def alive() -> int:
        return sum(isinstance(one, Connection) for one in gc.get_objects())

    async with running_gateway(tmp_path) as gateway:
        gc.collect()
        before = alive()
        gc.disable()
        try:
            for requests in (0, 1, 3):
                for _ in range(10):
                    async with connect(gateway.url) as streams:
                        client = Client(gateway, *streams)
                        for _ in range(requests):
                            assert (await client.send(EVENT)).status == 202
            await poll_until(lambda: alive() <= before, what="they are all freed")
        finally:
            gc.enable()


@pytest.mark.parametrize("size", [1, 60, 150])
async def test_requests_behind_each_other_are_answered_in_order(tmp_path: Path, size: int) -> None:
    """Also where what is behind the first does not arrive in one piece."""
    names = [f"e-{number}" for number in range(3)]
    async with running_gateway(tmp_path) as gateway, on_fast_path(gateway) as client:
        data = b"".join(
            gateway.track_bytes(b'{"user_id":"u","event_type":"x","event_id":"%b"}' % name.encode())
            for name in names
        )
        for at in range(0, len(data), size * 10):
            client.writer.write(data[at : at + size * 10])
            await client.writer.drain()
            await asyncio.sleep(0)
        answers = [await client.read() for _ in names]
        ids = [answer.headers["X-Event-Id"] for answer in answers]
        alone = [
            (
                await gateway.send(
                    gateway.track_bytes(
                        b'{"user_id":"u","event_type":"x","event_id":"%b"}' % name.encode()
                    )
                )
            ).headers["X-Event-Id"]
            for name in names
        ]
    assert ids == alone


async def test_other_requests_on_the_connection_are_answered_too(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, on_fast_path(gateway) as client:
        client.writer.write(request_bytes("/livez", method="GET"))
        assert (await client.read()).status == 200
        before = HTTP_FAST_PATH.value()
        assert (await client.send(EVENT)).status == 202
        assert HTTP_FAST_PATH.value() == before + 1
        chunked = request_bytes(
            TRACK,
            headers=[
                ("Authorization", f"ApiKey {gateway.api_key}"),
                ("Transfer-Encoding", "chunked"),
            ],
            body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVENT), EVENT),
        )
        client.writer.write(chunked)
        assert (await client.read()).status == 202
        assert (await client.send(EVENT)).status == 202
        client.writer.write(b"no http\r\n\r\n")
        assert (await client.read()).status == 400


async def test_body_that_looks_like_a_request_is_a_body(tmp_path: Path) -> None:
    """The parser is never given the middle of something as its begin."""
    async with running_gateway(tmp_path) as gateway, on_fast_path(gateway) as client:
        inner = gateway.track_bytes(EVENT)
        request = gateway.track_bytes(inner)
        client.writer.write(request[: -len(inner)])
        await client.writer.drain()
        await asyncio.sleep(0.05)  # so that the two arrive apart; either way the answer is the same
        client.writer.write(inner)
        assert (await client.read()).status == 400
        assert (await client.send(EVENT)).status == 202
    assert len((await stored_rows(gateway.settings))["events"]) == 4


async def test_request_in_hand_is_answered_when_the_gateway_stops(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, on_fast_path(gateway) as client:
        client.writer.write(gateway.track_bytes())
        gateway.stop.set()
        answer = await client.read()
        assert answer.status == 202
        if "Connection" not in answer.headers:  # it was answered before the stop was heard
            assert await read_answer(client.reader) is None
    assert len((await stored_rows(gateway.settings))["events"]) == 4


async def test_body_that_arrives_when_the_gateway_stops_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a request that a handler has in hand, when connections are told to end."""
    closed: list[Connection] = []
    close = Connection.close

    def note_close(connection: Connection) -> None:
        close(connection)
        closed.append(connection)

    monkeypatch.setattr(Connection, "close", note_close)
    async with running_gateway(tmp_path) as gateway, connect(gateway.url) as (reader, writer):
        request = gateway.track_bytes(EVENT, ("Expect", "100-continue"))
        writer.write(request[:-9])
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        gateway.stop.set()
        await poll_until(lambda: closed, what="connections are told to end")
        writer.write(request[-9:])
        answer = await read_answer(reader)
        assert answer is not None
        assert (answer.status, answer.headers["Connection"]) == (202, "close")
    assert len((await stored_rows(gateway.settings))["events"]) == 1


async def test_tenant_takes_the_long_way_when_it_gets_a_limit(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, on_fast_path(gateway) as client:
        tenants = TenantsFile(gateway.settings.tenants_path)
        tenants.set_value(TENANT, "key_events_per_s", "1000")

        async def takes_the_long_way() -> bool:
            before = HTTP_FAST_PATH.value()
            assert (await client.send(EVENT)).status == 202
            return HTTP_FAST_PATH.value() == before

        await poll_until(takes_the_long_way, what="the limit is counted")


async def test_connection_goes_on_when_its_event_is_given_back_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As happens to the one whose body makes the gathered bytes too many to wait for more."""
    monkeypatch.setattr(fast_path, "MAX_GATHERED_BYTES", 1)
    async with running_gateway(tmp_path) as gateway, on_fast_path(gateway) as client:
        assert (await client.send(b'{"user_id":"u","event_type":" spaced"}')).status == 400
        assert (await client.send(EVENT)).status == 202


@pytest.mark.parametrize("name", ["judge_plain", "stamp_batch", "encode"])
async def test_long_way_answers_when_the_fast_path_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        message = "planted"
        raise ValueError(message)

    async with running_gateway(tmp_path) as gateway, on_fast_path(gateway) as client:
        monkeypatch.setattr(fast_path, name, fail)
        assert (await client.send(EVENT)).status == 202
        monkeypatch.undo()
        assert (await client.send(EVENT)).status == 202
    assert len((await stored_rows(gateway.settings))["events"]) == 5


async def test_only_the_connection_ends_whose_answer_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []

    def fail_once(event_id: str, request_id: str, *, is_last: bool) -> bytes:
        if failed:
            return render_queued(event_id, request_id, is_last=is_last)
        failed.append(event_id)
        message = "planted"
        raise ValueError(message)

    async with (
        running_gateway(tmp_path) as gateway,
        on_fast_path(gateway) as one,
        on_fast_path(gateway) as other,
    ):
        monkeypatch.setattr(fast_path, "render_queued", fail_once)
        for client in (one, other):
            client.writer.write(gateway.track_bytes())
        answers = [await read_answer(client.reader) for client in (one, other)]
        assert sorted(0 if answer is None else answer.status for answer in answers) == [0, 202]
        monkeypatch.undo()
        assert (await gateway.send(gateway.track_bytes())).status == 202
    assert len((await stored_rows(gateway.settings))["events"]) == 9


async def test_rows_for_which_there_is_no_room_are_refused_as_on_the_long_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room for the body, but its row is longer."""

    def refuse(_publisher: Publisher, size: int) -> Unstored | None:
        return None if size <= len(EVENT) else Unstored(ErrorType.OVERLOADED, "full", 2)

    async with running_gateway(tmp_path) as gateway, on_fast_path(gateway) as client:
        monkeypatch.setattr(Publisher, "refuse", refuse)
        answer = await client.send(EVENT)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
        monkeypatch.undo()
        assert (await client.send(EVENT)).status == 202
    assert len((await stored_rows(gateway.settings))["events"]) == 4


async def test_what_waits_behind_a_request_is_dropped_when_the_client_hangs_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on the long way; so reading goes on while something waits."""
    gate = asyncio.Event()
    publish = LocalQueue.publish
    started: list[str] = []

    async def wait_and_publish(
        queue: LocalQueue, topic: str, envelopes: Sequence[Envelope]
    ) -> None:
        started.append(topic)
        await gate.wait()
        await publish(queue, topic, envelopes)

    lost: list[Connection] = []
    end = Connection.connection_lost

    def note_end(connection: Connection, exc: BaseException | None) -> None:
        lost.append(connection)
        end(connection, exc)

    async with running_gateway(tmp_path) as gateway, on_fast_path(gateway) as client:
        monkeypatch.setattr(LocalQueue, "publish", wait_and_publish)
        monkeypatch.setattr(Connection, "connection_lost", note_end)
        client.writer.write(gateway.track_bytes())
        await poll_until(lambda: started, what="the first is on its way")
        client.writer.write(gateway.track_bytes())
        client.writer.write_eof()
        await poll_until(lambda: lost, what="the end is noticed")
        gate.set()
    assert len((await stored_rows(gateway.settings))["events"]) == 4


async def test_client_that_never_reads_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers would keep the connection open for good, though it is idle."""
    start, end = Connection.connection_made, Connection.connection_lost
    lost: list[Connection] = []

    def with_small_buffer(connection: Connection, transport: asyncio.BaseTransport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        start(connection, transport)

    def note_end(connection: Connection, exc: BaseException | None) -> None:
        lost.append(connection)
        end(connection, exc)

    monkeypatch.setattr(Connection, "connection_made", with_small_buffer)
    monkeypatch.setattr(Connection, "connection_lost", note_end)
    loop = asyncio.get_running_loop()
    async with running_gateway(tmp_path, keepalive_s=1) as gateway:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.settimeout(0)
            address = URL(gateway.url)
            await loop.sock_connect(client, (address.host, address.port))
            for _ in range(100):
                await loop.sock_sendall(client, gateway.track_bytes())
            await poll_until(lambda: lost, what="the connection is cut")
    assert len((await stored_rows(gateway.settings))["events"]) == 100


LARGE = b'{"user_id":"u","event_type":"large","payload":{"t":"%b"},%b}'
"""Above what the fast path takes of single events: the admission has it before."""


async def test_large_event_is_one_event_also_where_it_looks_like_a_batch(tmp_path: Path) -> None:
    """The head is known, but as that of single events."""
    body = LARGE % (b"x" * 20_000, b'"events":[{"user_id":"v","event_type":"inner"}]')
    async with running_gateway(tmp_path) as gateway, on_fast_path(gateway) as client:
        answer = await client.send(body)
        assert (answer.status, answer.body) == (202, b'{"queued":true}')
    rows = [orjson.loads(row) for row in (await stored_rows(gateway.settings))["events"]]
    assert [row["event_type"] for row in rows[3:]] == ["large"]
    assert {row["source"] for row in rows} == {"track"}


async def test_large_event_that_is_cut_off_is_noted_as_an_event(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, on_fast_path(gateway) as client:
        cut = EVENTS_REJECTED.value("track", "body_incomplete")
        client.writer.write(gateway.track_bytes(LARGE % (b"x" * 20_000, b'"a":1'))[:-1])
        client.writer.write_eof()
        await poll_until(
            lambda: EVENTS_REJECTED.value("track", "body_incomplete") == cut + 1,
            what="the end is noted",
        )
    [row] = map(orjson.loads, (await stored_rows(gateway.settings))["errors"])
    assert (row["source"], row["error_type"]) == ("track", "body_incomplete")
