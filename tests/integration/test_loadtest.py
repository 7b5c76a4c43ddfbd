"""The load test itself: one short run from end to end, and the driver beside bad servers."""

import asyncio
from pathlib import Path

import pytest

from loadtest.cli import main
from loadtest.driver import drive
from loadtest.plan import Phase, Plan, Request
from loadtest.results import LATE_SHARE, read_result
from loadtest.seen import Seen, merged

RAW = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
STALL_S = 0.5


def test_run_of_track_leaves_a_result_and_a_page_when_it_lasts_a_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "track", "--seconds", "1", "--parts", "gateway", "--out", str(tmp_path)]
    assert main(words) == 0
    (data,) = tmp_path.glob("track-*.json")
    (page,) = tmp_path.glob("track-*.html")
    result = read_result(data.read_bytes())
    (only,) = result.rounds
    assert result.commit
    assert set(only.statuses) == {"202"}
    assert only.figures["ceiling/track/requests_per_s"] > 0
    assert only.figures["half/track/p99_ms"] > 0
    assert only.figures["sluice/events_per_core_s"] > 0
    (ceiling, half) = only.marks
    assert (ceiling.phase, half.phase) == ("ceiling", "half")
    assert 0.5 <= half.at - ceiling.at < only.seconds[-1].at + 1
    assert only.figures[LATE_SHARE] > 0
    assert page.read_text().count('class="phase"') == 4  # requests and latencies
    assert main(["compare", str(data), str(data)]) == 0
    assert "too few rounds" in capsys.readouterr().out


class Stalls(asyncio.Protocol):
    """Answers at once, but for the first request of a connection."""

    def __init__(self) -> None:
        self._free_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._free_at = self._free_at or loop.time() + STALL_S
        loop.call_at(self._free_at, self._transport.write, ANSWER)


class HangsUp(asyncio.Protocol):
    """Ends the connection instead of answering."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.close()


async def seen_by_one_connection(server: type[asyncio.Protocol], phase: Phase) -> Seen:
    """Return what an open loop on one connection sees of a server."""
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        requests = [Request("get", RAW)]
        url = f"http://127.0.0.1:{port}"
        return await drive(Plan(url=url, requests=requests, phases=[phase], connections=1))


async def test_open_loop_counts_from_when_requests_were_due_when_the_server_stalls() -> None:
    seen = await seen_by_one_connection(Stalls, Phase(name="open", seconds=1.0, rate=100))
    (group,) = seen.groups
    assert (group.requests, group.fate) == (100, "good")
    # Half of the requests were due while the one connection stood still, and they all say so.
    latencies = merged([group.histogram])
    assert latencies.max_ms() >= STALL_S * 1e3
    assert latencies.quantile_ms(0.75) > STALL_S * 1e3 / 4


async def test_request_counts_as_unanswered_when_the_server_hangs_up() -> None:
    seen = await seen_by_one_connection(HangsUp, Phase(name="open", seconds=0.3, rate=10))
    assert seen.statuses == {"0": 3}
    assert {group.fate for group in seen.groups} == {"unanswered"}
    assert seen.broken_connections == 3
