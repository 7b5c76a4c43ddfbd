"""Each decision that the ablation takes away: its place is there, and without it things differ."""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import aiohttp.web
import pytest
import uvloop

import gateway.app
import gateway.dispatch
from gateway.core.answers import Answer, queued_one
from gateway.fast_path import FastPath
from gateway.publisher import Publisher
from gateway.sources.segops import parse_batch, parse_track, read_plain
from gateway.stamps import Stamps
from loadtest.ablated import DECISIONS, taken_away
from loadtest.ablation import ALL, KINDS, Figures, Kind, middle, shares, without
from loadtest.counts import SAMPLE, batch_work, count_requests, counted
from sluice.core.envelope import Envelope, Rows, unseal
from sluice.core.errors import Rejected
from sluice.core.event import Candidate, time_in_id
from sluice.lifecycle import run_service

LINES = SAMPLE.read_bytes().splitlines()
SPACED = b'{"user_id":"u-1","event_type":"page_viewed","payload":{"a": 0.10}}'
YEAR_2020_S = 1_577_836_800


class Kept:
    """A queue that keeps what it is given."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        self.envelopes += envelopes


async def published(*rows: Rows) -> list[Envelope]:
    """Return the envelopes that a publisher makes of rows that come at once."""
    kept, stop = Kept(), asyncio.Event()
    async with (
        Publisher(kept, max_pending_bytes=2**25, timeout_s=5.0) as publisher,
        asyncio.TaskGroup() as tasks,
    ):
        for one in rows:
            publisher.offer([one], lambda _outcome: None)
        tasks.create_task(publisher.run(stop))
        stop.set()
    return kept.envelopes


def request_bytecodes() -> tuple[float, float]:
    """Return what a request costs on the long way and on the fast path."""
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        long, fast = runner.run(count_requests(Path(folder), LINES[:50]))
    return long["bytecodes"], fast["bytecodes"]


@pytest.mark.parametrize("name", DECISIONS)
def test_each_place_is_restored_when_a_decision_was_taken_away(name: str) -> None:
    changes = DECISIONS[name].changes
    before = [getattr(change.owner, change.name) for change in changes]
    with taken_away([name]):
        during = [getattr(change.owner, change.name) for change in changes]
    after = [getattr(change.owner, change.name) for change in changes]
    assert all(old is not new for old, new in zip(before, during, strict=True))
    assert after == before


def test_every_decision_is_measured_when_the_ablation_runs() -> None:
    measured = {name for kind in KINDS for names in kind.variants for name in names}
    assert measured == set(DECISIONS)
    for kind in KINDS:
        assert kind.variants[0] == ()
        assert set(kind.beside) <= set(kind.variants)
    assert without(ALL) == "all of these"


def test_share_is_the_median_of_the_pairs_when_one_of_them_was_disturbed() -> None:
    kind = KINDS[0]
    pair = (Figures(per_s=10.0, cpu_us=4.0), Figures(per_s=5.0, cpu_us=6.0))
    disturbed = (Figures(per_s=10.0, cpu_us=4.0), Figures(per_s=1.0, cpu_us=90.0))
    pairs = {(kind.name, names): [pair, disturbed, pair] for names in kind.variants if names}
    first, second = shares(kind, pairs).splitlines()[2:4]
    assert first.endswith("| 10 |  |  | 4.0 |  |  |")
    assert second.endswith("| 10 | 5 | 2.00 | 4.0 | 6.0 | 1.50 |")


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_columns_agree_with_their_ratio_when_the_machine_changes_between_rounds(kind: Kind) -> None:
    """A row once had 26,779 events/s beside 15,668 of the whole gateway, and the ratio 0.99."""
    moods = [1.0, 3.0, 0.4, 1.7]
    pairs = {
        (kind.name, names): [
            (Figures(10_000 * mood, 50 / mood), Figures(8_000 * mood / (1 + at / 9), 70 / mood))
            for at, mood in enumerate(moods)
        ]
        for names in kind.variants
        if names
    }
    lines = [line.strip("| ").split(" | ") for line in shares(kind, pairs).splitlines()[3:]]
    assert len(lines) == len(kind.variants) - 1
    for _, rate, rate_without, rates, time, time_without, times in lines:
        with_it, less = (float(text.replace(",", "")) for text in (rate, rate_without))
        assert with_it / less == pytest.approx(float(rates), abs=0.01)
        assert float(time_without) / float(time) == pytest.approx(float(times), abs=0.01)


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ([(4, 2)], (4, 2)),
        ([(1, 1), (9, 3), (100, 50)], (100, 50)),
        ([(9, 3), (2, 1)], (2, 1)),
    ],
)
def test_middle_pair_is_the_lower_one_when_there_are_two(
    pairs: list[tuple[float, float]], found: tuple[float, float]
) -> None:
    assert middle(pairs) == found


async def test_server_has_no_fast_path_when_it_is_taken_away() -> None:
    async def handle(_request: object) -> aiohttp.web.StreamResponse:
        return aiohttp.web.Response()

    def serve() -> FastPath | None:
        # By its place in the composition root, which is where it is taken away.
        make = cast("Callable[..., Any]", vars(gateway.app)["HttpServer"])
        server = make(
            handle, new_request_id=str, max_connections=1, fast_path=cast("FastPath", "given")
        )
        return cast("FastPath | None", server.fast_path)

    assert serve() is not None
    with taken_away(["fast-path"]):
        assert serve() is None


@pytest.mark.parametrize(
    ("name", "times"), [("together", 1.3), ("columns", 1.1), ("typed-decode", 1.1), ("stamps", 1.1)]
)
def test_a_request_on_the_fast_path_costs_more_when_a_decision_is_taken_away(
    name: str, times: float
) -> None:
    _, whole = request_bytecodes()
    with taken_away([name]):
        _, less = request_bytecodes()
    assert less > whole * times


def test_a_batch_costs_more_when_columns_are_taken_away() -> None:
    whole = counted(batch_work(LINES), len(LINES))["bytecodes"]
    with taken_away(["columns"]):
        assert counted(batch_work(LINES), len(LINES))["bytecodes"] > 2 * whole


async def test_rows_share_an_envelope_unless_group_commit_is_taken_away() -> None:
    rows = [Rows("events", 2, b'{"a":1}\n{"b":2}\n'), Rows("events", 1, b'{"c":3}\n')]
    assert [one.count for one in await published(*rows)] == [3]
    with taken_away(["group-commit"]):
        alone = await published(*rows)
    assert [unseal(one) for one in alone] == [b'{"a":1}\n', b'{"b":2}\n', b'{"c":3}\n']


async def test_a_group_is_committed_at_once_when_letting_arrive_is_taken_away() -> None:
    async def turns() -> int:
        group = type("Group", (), {"size": 1, "count": 1})()
        waiting = cast("Any", Publisher._let_arrive)(None, group)
        count = 0
        try:
            while True:
                waiting.send(None)
                count += 1
        except StopIteration:
            return count

    assert await turns() > 0
    with taken_away(["let-arrive"]):
        assert await turns() == 0


def test_a_service_runs_on_asyncios_own_loop_when_uvloop_is_taken_away() -> None:
    loops: list[type] = []

    async def serve(_stop: asyncio.Event) -> None:
        loops.append(type(asyncio.get_running_loop()))

    run_service(serve, stop_timeout_s=1)
    with taken_away(["uvloop"]):
        run_service(serve, stop_timeout_s=1)
    assert loops[0] is uvloop.Loop
    assert issubclass(loops[1], asyncio.SelectorEventLoop)


def test_the_answer_is_aiohttps_own_when_the_slim_one_is_taken_away() -> None:
    def reply(answer: Answer) -> aiohttp.web.StreamResponse:
        make = cast("Callable[..., aiohttp.web.StreamResponse]", vars(gateway.dispatch)["Reply"])
        return make(answer, "r-1")

    assert not isinstance(reply(queued_one("e-1")), aiohttp.web.Response)
    with taken_away(["slim-reply"]):
        response = reply(queued_one("e-1"))
    assert isinstance(response, aiohttp.web.Response)
    assert response.status == 202
    assert response.body == queued_one("e-1").body
    assert response.headers["X-Event-Id"] == "e-1"


def test_the_payload_is_written_anew_when_the_typed_decode_is_taken_away() -> None:
    def payloads() -> list[bytes]:
        track = parse_track(SPACED, strict=False)
        batch = parse_batch(b'{"events":[' + SPACED + b"]}", strict=False)
        plain = read_plain(SPACED)
        assert isinstance(track, Candidate)
        assert not isinstance(batch, Rejected)
        assert plain is not None
        return [track.payload, bytes(batch.candidates.payloads[0]), bytes(plain.payload)]

    assert payloads() == [b'{"a": 0.10}'] * 3
    with taken_away(["typed-decode"]):
        assert payloads() == [b'{"a":0.1}'] * 3


@pytest.mark.parametrize(
    "body",
    [
        b'{"user_id":7,"event_type":"x"}',
        b'{"user_id":true,"event_type":"x"}',
        b'{"user_id":"u","event_type":1}',
        b'{"user_id":"u","event_type":"x","payload":[]}',
        b'{"user_id":"u"',
        b'["u"]',
        b"null",
    ],
)
def test_verdicts_are_the_same_when_the_typed_decode_is_taken_away(body: bytes) -> None:
    whole = parse_track(body, strict=False), parse_batch(body, strict=False)
    with taken_away(["typed-decode"]):
        assert (parse_track(body, strict=False), parse_batch(body, strict=False)) == whole


def test_ids_and_times_are_made_one_by_one_when_stamps_are_taken_away() -> None:
    stamps = Stamps(random=bytes, unix_s=lambda: 0.0)
    assert time_in_id(stamps.new_id()) == 0
    with taken_away(["stamps"]):
        made = [stamps.new_id(), *stamps.new_ids(2)]
        assert stamps.received_at() > "2020"
    assert len(set(made)) == 3
    assert all((time_in_id(one) or 0) > YEAR_2020_S for one in made)


@pytest.mark.parametrize("size", [10, 128 * 1024 - 1, 300_000])
async def test_rows_are_not_compressed_but_can_be_read_when_zstd_is_taken_away(size: int) -> None:
    data = b'"' + b"a" * size + b'"\n'
    rows = Rows("events", 1, data)
    with taken_away(["zstd"]):
        (sealed,) = await published(rows)
    assert len(sealed.body) > len(data)
    assert unseal(sealed) == data
    (whole,) = await published(rows)
    assert len(whole.body) < len(sealed.body)
