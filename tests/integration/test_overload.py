"""What is refused when more arrives than there is room for, and how soon."""

import asyncio
from pathlib import Path

from sluice.telemetry import EVENTS_REJECTED, HTTP_FAST_PATH
from tests.support.gateway import EVENT
from tests.support.ingest_edge import running_edge
from tests.support.raw_http import connect, read_answer

ROOM = 1_000
LARGE = b'{"user_id":"u-1","event_type":"large","payload":{"a":"%b"}}' % (b"x" * ROOM)


async def test_event_without_room_is_refused_on_the_fast_path_and_the_connection_goes_on(
    tmp_path: Path,
) -> None:
    """Under overload nearly all are refused: that must not cost more than to accept."""
    async with (
        running_edge(tmp_path, pending_bytes=ROOM) as edge,
        connect(edge.url) as (reader, writer),
        connect(edge.url) as (other_reader, other_writer),
    ):

        async def send(body: bytes) -> int:
            writer.write(edge.track_bytes(body))
            answer = await read_answer(reader)
            assert answer is not None
            if answer.status == 503:
                assert answer.error_type == "overloaded"
                assert 1 <= int(answer.headers["Retry-After"]) <= 30
                assert "Connection" not in answer.headers
            return answer.status

        for _ in range(3):
            assert await send(EVENT) == 202
        edge.queue.gate.clear()
        other_writer.write(edge.track_bytes(LARGE))
        started = edge.queue.started
        while edge.queue.started == started:  # noqa: ASYNC110 - the queue has no event for it
            await asyncio.sleep(0)
        fast = HTTP_FAST_PATH.value()
        rejected = EVENTS_REJECTED.value("track", "overloaded")
        assert [await send(EVENT) for _ in range(3)] == [503, 503, 503]
        assert HTTP_FAST_PATH.value() == fast + 3
        assert EVENTS_REJECTED.value("track", "overloaded") == rejected + 3
        edge.queue.gate.set()
        stored = await read_answer(other_reader)
        assert stored is not None
        assert stored.status == 202
        assert await send(EVENT) == 202
    assert len(edge.queue.rows()) == 5
