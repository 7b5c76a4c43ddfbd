"""Large bodies under overload: who is taken in, who is refused by the head, what that leaves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway import admission
from sluice.telemetry import EVENTS_REJECTED
from tests.support.gateway import EVENT
from tests.support.ingest_edge import Edge, running_edge
from tests.support.poll import poll_until
from tests.support.raw_http import connect, exchange, read_answer
from tests.support.segops import Answer

ONE = b'{"user_id":"u-1","event_type":"e","payload":{"a":"%b"}}' % (b"x" * 950)
EVENTS = 50
BODY = b'{"events":[' + b",".join([ONE] * EVENTS) + b"]}"
"""Some 50 KB."""
ROOM = 4 * len(BODY)
PENDING = 100 * len(BODY)
CLIENTS = 30
ROUNDS = 4


def is_refusal(answer: Answer) -> bool:
    """Whether it says that there is no room, and when to come back."""
    if answer.status != 503:
        return False
    assert answer.error_type == "overloaded"
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert "Connection" not in answer.headers
    return True


@dataclass(slots=True)
class MostHeld:
    """The most bytes that were held at once."""

    most: int = 0


@asynccontextmanager
async def watched(edge: Edge) -> AsyncIterator[MostHeld]:
    """Look at the bytes held in each turn of the loop until the block ends."""
    held, over = MostHeld(), asyncio.Event()

    async def watch() -> None:
        while not over.is_set():
            held.most = max(held.most, edge.admission.held_bytes)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        try:
            yield held
        finally:
            over.set()


async def send_all(edge: Edge, statuses: list[int], pieces: int) -> None:
    """Send batches on one connection, each in pieces, and note the answers."""
    async with connect(edge.url) as (reader, writer):
        for _ in range(ROUNDS):
            data = edge.batch_bytes(BODY)
            size = -(-len(data) // pieces)
            for at in range(0, len(data), size):
                writer.write(data[at : at + size])
                await asyncio.sleep(0)
            answer = await read_answer(reader)
            assert answer is not None, "the connection was closed without an answer"
            assert answer.status == 202 or is_refusal(answer)
            statuses.append(answer.status)


@pytest.mark.parametrize("pieces", [1, 3])
async def test_gateway_answers_every_large_request_and_stores_what_it_accepted_when_overloaded(
    tmp_path: Path, pieces: int
) -> None:
    statuses: list[int] = []
    async with running_edge(tmp_path, pending_bytes=PENDING, arriving_bytes=ROOM) as edge:
        async with watched(edge) as held, asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(send_all(edge, statuses, pieces))
        assert edge.admission.held_bytes == 0
    assert len(statuses) == CLIENTS * ROUNDS
    assert set(statuses) == {202, 503}
    assert 0 < held.most <= ROOM
    assert len(edge.queue.rows()) == EVENTS * statuses.count(202)


async def ask(edge: Edge, request: bytes) -> Answer:
    """Send a request on a connection of its own."""
    answer = await exchange(edge.url, request)
    assert answer is not None, "the connection was closed without an answer"
    return answer


async def fill(edge: Edge, tasks: asyncio.TaskGroup) -> list[asyncio.Task[Answer]]:
    """Stop the disk and send until nothing more is taken in; return those that wait."""
    edge.queue.gate.clear()
    waiting: list[asyncio.Task[Answer]] = []
    while True:
        before = edge.publisher.pending_bytes
        task = tasks.create_task(ask(edge, edge.batch_bytes(BODY)))
        await poll_until(lambda: task.done() or edge.publisher.pending_bytes > before)  # noqa: B023
        if task.done():
            assert is_refusal(task.result())
            return waiting
        waiting.append(task)


async def test_refusal_comes_before_the_body_does_and_the_connection_goes_on(
    tmp_path: Path,
) -> None:
    """Who sends 5 MB learns soon that nobody reads them; what follows them is a request again."""
    async with (
        running_edge(tmp_path, pending_bytes=PENDING, arriving_bytes=ROOM) as edge,
        asyncio.TaskGroup() as tasks,
        connect(edge.url) as (reader, writer),
    ):
        waiting = await fill(edge, tasks)
        rejected = EVENTS_REJECTED.value("batch", "overloaded")
        request = edge.batch_bytes(BODY, ("X-Request-Id", "mine"))
        for _ in range(2):
            writer.write(request[:2_000])
            answer = await read_answer(reader)
            assert answer is not None
            assert is_refusal(answer)
            assert answer.headers["X-Request-Id"] == "mine"
            writer.write(request[2_000:30_000])
            writer.write(request[30_000:])
        assert EVENTS_REJECTED.value("batch", "overloaded") == rejected + 2
        edge.queue.gate.set()
        for task in waiting:
            assert (await task).status == 202
        writer.write(edge.track_bytes(EVENT) + request)
        for _ in range(2):
            answer = await read_answer(reader)
            assert answer is not None
            assert answer.status == 202
    assert len(edge.queue.rows()) == EVENTS * (len(waiting) + 1) + 1


async def test_two_large_requests_in_one_piece_are_both_answered(tmp_path: Path) -> None:
    async with (
        running_edge(tmp_path, pending_bytes=PENDING) as edge,
        connect(edge.url) as (reader, writer),
    ):
        request = edge.batch_bytes(BODY)
        writer.write(request[:-9])
        await poll_until(lambda: edge.admission.held_bytes == len(request) - 9)
        writer.write(request[-9:] + edge.track_bytes(EVENT) + request)
        for _ in range(3):
            answer = await read_answer(reader)
            assert answer is not None
            assert answer.status == 202
    assert len(edge.queue.rows()) == 2 * EVENTS + 1


async def test_stalled_body_keeps_no_room_and_is_still_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "ARRIVES_WITHIN_S", 0.05)
    async with (
        running_edge(tmp_path, pending_bytes=PENDING, arriving_bytes=ROOM) as edge,
        connect(edge.url) as (reader, writer),
    ):
        request = edge.batch_bytes(BODY)
        async with watched(edge) as held:
            writer.write(request[:20_000])
            await poll_until(lambda: held.most == 20_000 and not edge.admission.held_bytes)
        writer.write(request[20_000:])
        answer = await read_answer(reader)
        assert answer is not None
        assert answer.status == 202
    assert len(edge.queue.rows()) == EVENTS


async def test_connection_that_is_lost_gives_its_room_back(tmp_path: Path) -> None:
    async with running_edge(tmp_path, pending_bytes=PENDING) as edge:
        async with connect(edge.url) as (_, writer):
            writer.write(edge.batch_bytes(BODY)[:20_000])
            await poll_until(lambda: edge.admission.held_bytes == 20_000)
        await poll_until(lambda: edge.admission.held_bytes == 0)
    assert edge.queue.rows() == []


async def test_body_that_grows_past_the_room_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async with (
        running_edge(tmp_path, pending_bytes=PENDING, arriving_bytes=30_000) as edge,
        connect(edge.url) as (reader, writer),
    ):
        for _ in range(2):
            writer.write(edge.batch_bytes(BODY))
            answer = await read_answer(reader)
            assert answer is not None
            assert is_refusal(answer)
            assert edge.admission.held_bytes == 0
        writer.write(edge.track_bytes(EVENT))
        answer = await read_answer(reader)
        assert answer is not None
        assert answer.status == 202


async def test_client_that_waits_for_100_continue_is_served_by_the_long_way(tmp_path: Path) -> None:
    """Such a head is the parser's: what follows it depends on the answer."""
    async with running_edge(tmp_path, pending_bytes=PENDING, arriving_bytes=ROOM) as edge:
        request = edge.batch_bytes(BODY, ("Expect", "100-continue"))
        head, _, body = request.partition(b"\r\n\r\n")
        async with connect(edge.url) as (reader, writer):
            writer.write(head + b"\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            answer = await read_answer(reader)
            assert answer is not None
            assert answer.status == 202
            assert edge.admission.held_bytes == 0


async def test_bodies_that_the_long_way_waits_for_are_held_within_a_bound(tmp_path: Path) -> None:
    """Such as those whose heads came in two pieces: the admission never saw them."""
    room = 2 * len(BODY)
    async with (
        running_edge(tmp_path, pending_bytes=PENDING, awaited_bytes=room) as edge,
        AsyncExitStack() as stack,
    ):
        request = edge.batch_bytes(BODY)

        async def begin() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await stack.enter_async_context(connect(edge.url))
            writer.write(request[:50])
            await poll_until(lambda: edge.http.heads)
            writer.write(request[50:-9])
            await poll_until(lambda: not edge.http.heads)
            return reader, writer

        clients = [await begin() for _ in range(2)]
        await poll_until(lambda: edge.awaited.used > room * 7 // 8)
        for _ in range(2):
            late, _ = await begin()
            answer = await read_answer(late)
            assert answer is not None
            assert (answer.status, answer.error_type) == (503, "overloaded")
        assert edge.awaited.used <= room
        # What is there as a whole waits for nothing and needs no room.
        assert (await ask(edge, request)).status == 202
        clients[0][1].transport.abort()
        await poll_until(lambda: edge.awaited.used < len(BODY))
        clients[1][1].write(request[-9:])
        answer = await read_answer(clients[1][0])
        assert answer is not None
        assert answer.status == 202
        assert edge.awaited.used == 0
    assert len(edge.queue.rows()) == 2 * EVENTS
