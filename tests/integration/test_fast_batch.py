"""The fast path of ``track/batch``: who takes it, and what becomes of bodies that come in pieces.

That it says and stores what the long way does is shown by ``test_fast_path_fuzz``.
"""

import asyncio
import gzip
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from gateway import admission, fast_batch
from gateway.connection import Connection
from gateway.group import Unstored
from gateway.publisher import Publisher
from sluice.core.errors import ErrorType
from sluice.telemetry import EVENTS_ACCEPTED, EVENTS_REJECTED, HTTP_FAST_PATH
from tests.support.gateway import BATCH, TENANT, Gateway, running_gateway, stored_rows
from tests.support.poll import poll_until
from tests.support.raw_http import connect, read_answer
from tests.support.segops import Answer

EVENTS = 100
_SOME = random.Random(9)  # noqa: S311 - so that gzip leaves it large, too
BODY = b'{"events":[%b]}' % b",".join(
    b'{"user_id":"u-%d","event_type":"viewed","payload":{"t":"%b"}}'
    % (number, _SOME.randbytes(250).hex().encode())
    for number in range(EVENTS)
)
ONE_BAD = b'{"events":[{"user_id":"u","event_type":"x"},{"event_type":"x"}]}'
GZIP = ("Content-Encoding", "gzip")


class Client:
    """One connection that says the same head again and again."""

    def __init__(
        self,
        gateway: Gateway,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        headers: Sequence[tuple[str, str]],
    ) -> None:
        self.reader, self.writer = streams
        self._gateway = gateway
        self._headers = headers

    def request(self, body: bytes) -> bytes:
        """Return the bytes of a batch."""
        return self._gateway.track_bytes(body, *self._headers, target=BATCH)

    async def send(self, *pieces: bytes) -> tuple[Answer, bool]:
        """Send a request piece by piece; return the answer, and if it took the fast path."""
        before = HTTP_FAST_PATH.value()
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.01)  # so that they arrive apart, as from afar
        return await self.read(), HTTP_FAST_PATH.value() > before

    async def read(self) -> Answer:
        """Return the next answer."""
        answer = await read_answer(self.reader)
        assert answer is not None, "the connection was closed without an answer"
        return answer


@asynccontextmanager
async def known(gateway: Gateway, *headers: tuple[str, str]) -> AsyncIterator[Client]:
    """Open a connection whose head the gateway knows."""
    body = gzip.compress(ONE_BAD) if headers else ONE_BAD
    async with connect(gateway.url) as streams:
        client = Client(gateway, streams, headers)
        for _ in range(2):
            answer, is_fast = await client.send(client.request(body))
            assert (answer.status, is_fast) == (202, False)
        yield client


@pytest.mark.parametrize("headers", [(), (GZIP,)], ids=["plain", "gzip"])
async def test_batch_takes_the_fast_path_in_one_piece_or_many(
    tmp_path: Path, headers: Sequence[tuple[str, str]]
) -> None:
    async with running_gateway(tmp_path) as gateway, known(gateway, *headers) as client:
        accepted = EVENTS_ACCEPTED.value("batch", TENANT)
        request = client.request(gzip.compress(BODY) if headers else BODY)
        size = len(request)
        for cuts in ([], [size - 1], [size - 20, size - 10], [size - 90, size - 60]):
            pieces = [
                request[begin:end] for begin, end in zip([0, *cuts], [*cuts, size], strict=True)
            ]
            answer, is_fast = await client.send(*pieces)
            assert orjson.loads(answer.body) == {"queued": EVENTS, "skipped": 0}
            assert is_fast
        assert EVENTS_ACCEPTED.value("batch", TENANT) == accepted + 4 * EVENTS
    rows = [orjson.loads(row) for row in (await stored_rows(gateway.settings))["events"]]
    assert len({row["event_id"] for row in rows}) == 2 + 4 * EVENTS
    assert {row["source"] for row in rows} == {"batch"}


async def test_bad_events_are_skipped_on_the_fast_path(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, known(gateway) as client:
        answer, is_fast = await client.send(client.request(ONE_BAD))
        said = orjson.loads(answer.body)
        assert (said["queued"], said["skipped"], said["errors"][0]["index"]) == (1, 1, 1)
        assert is_fast
        answer, is_fast = await client.send(client.request(b'{"events":[7]}'))
        assert orjson.loads(answer.body)["skipped"] == 1
        assert is_fast
    rows = await stored_rows(gateway.settings)
    assert len(rows["events"]) == 3
    assert sum(orjson.loads(row).get("occurrences", 1) for row in rows["errors"]) == 4


async def test_long_way_waits_for_a_body_that_comes_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "ARRIVES_WITHIN_S", 0.0)
    async with running_gateway(tmp_path) as gateway, known(gateway) as client:
        request = client.request(BODY)
        answer, is_fast = await client.send(request[:900], request[900:5_000], request[5_000:])
        assert (answer.status, is_fast) == (202, False)
        monkeypatch.undo()
        assert (await client.send(request[:900], request[900:]))[1]
    assert len((await stored_rows(gateway.settings))["events"]) == 2 + 2 * EVENTS


async def test_batch_that_is_cut_off_is_noted_as_on_the_long_way(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, known(gateway) as client:
        cut = EVENTS_REJECTED.value("batch", "body_incomplete")
        client.writer.write(client.request(BODY)[:-1])
        client.writer.write_eof()
        await poll_until(
            lambda: EVENTS_REJECTED.value("batch", "body_incomplete") == cut + 1,
            what="the end is noted",
        )
    rows = await stored_rows(gateway.settings)
    assert len(rows["events"]) == 2
    assert "body_incomplete" in {orjson.loads(row)["error_type"] for row in rows["errors"]}


async def test_first_request_of_a_connection_that_is_cut_off_is_noted_too(tmp_path: Path) -> None:
    """Its head is not known; whose it is, its key says."""
    async with running_gateway(tmp_path) as gateway:
        cut = EVENTS_REJECTED.value("batch", "body_incomplete")
        request = gateway.track_bytes(BODY, target=BATCH)
        for key in (gateway.api_key, "sk_live_other"):
            async with connect(gateway.url) as (_, writer):
                writer.write(request.replace(gateway.api_key.encode(), key.encode())[:-1])
                writer.write_eof()
                await writer.drain()
        await poll_until(
            lambda: EVENTS_REJECTED.value("batch", "body_incomplete") == cut + 1,
            what="the end is noted",
        )
    [row] = map(orjson.loads, (await stored_rows(gateway.settings))["errors"])
    assert (row["error_type"], row.get("occurrences", 1)) == ("body_incomplete", 1)


async def test_more_than_the_body_behind_its_last_piece_is_the_next_request(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path) as gateway, known(gateway) as client:
        request = client.request(BODY)
        answer, is_fast = await client.send(request[:-5], request[-5:] + client.request(ONE_BAD))
        assert (answer.status, is_fast) == (202, True)
        assert orjson.loads((await client.read()).body)["skipped"] == 1
    assert len((await stored_rows(gateway.settings))["events"]) == 3 + EVENTS


@pytest.mark.parametrize("name", ["parse_batch", "stamp_batch", "encode"])
async def test_long_way_answers_when_the_fast_path_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        message = "planted"
        raise ValueError(message)

    async with running_gateway(tmp_path) as gateway, known(gateway) as client:
        monkeypatch.setattr(fast_batch, name, fail)
        assert (await client.send(client.request(BODY)))[0].status == 202
        monkeypatch.undo()
        assert (await client.send(client.request(BODY)))[1]
    assert len((await stored_rows(gateway.settings))["events"]) == 2 + 2 * EVENTS


@pytest.mark.parametrize("room", [0, len(BODY)], ids=["for nothing", "for the body, not the rows"])
async def test_batch_without_room_is_refused_and_the_connection_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    def refuse(_publisher: Publisher, size: int) -> Unstored | None:
        return None if size <= room else Unstored(ErrorType.OVERLOADED, "full", 2)

    async with running_gateway(tmp_path) as gateway, known(gateway) as client:
        monkeypatch.setattr(Publisher, "refuse", refuse)
        answer, is_fast = await client.send(client.request(BODY))
        assert (answer.status, answer.headers["Retry-After"], is_fast) == (503, "2", room > 0)
        monkeypatch.undo()
        assert (await client.send(client.request(BODY)))[1]
    assert len((await stored_rows(gateway.settings))["events"]) == 2 + EVENTS


async def test_body_for_which_there_is_no_room_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_publisher: Publisher, _size: int) -> Unstored | None:
        return Unstored(ErrorType.OVERLOADED, "full", 2)

    async with running_gateway(tmp_path) as gateway, known(gateway) as client:
        monkeypatch.setattr(Publisher, "refuse", refuse)
        client.writer.write(client.request(BODY)[:-1])
        assert (await client.read()).status == 503
        monkeypatch.undo()
    assert len((await stored_rows(gateway.settings))["events"]) == 2


async def test_batch_that_arrives_while_its_connection_is_to_be_closed_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Connection] = []
    start = Connection.connection_made

    def note(one: Connection, transport: asyncio.BaseTransport) -> None:
        opened.append(one)
        start(one, transport)

    monkeypatch.setattr(Connection, "connection_made", note)
    monkeypatch.setattr(admission, "ARRIVES_WITHIN_S", 60)
    async with running_gateway(tmp_path) as gateway, known(gateway) as client:
        request = client.request(BODY)
        client.writer.write(request[:-9])
        await poll_until(lambda: opened[0].large is not None, what="the body begins to arrive")
        opened[0].close()
        client.writer.write(request[-9:])
        assert (await client.read()).status == 202
    assert len((await stored_rows(gateway.settings))["events"]) == 2 + EVENTS
