"""Random sequences of requests, cut at random: the fast path answers and stores as the long way.

Two gateways get the same bytes, one without a fast path. What differs from run to run, times and
ids made by the gateway, is left out of the comparison; everything else must be equal.
"""

import asyncio
import gzip
import random
import re
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from yarl import URL

import gateway.app
from gateway.server import HttpServer
from sluice.meters import REGISTRY
from sluice.settings import load_settings
from sluice.telemetry import HTTP_FAST_PATH
from sluice.tenants import TenantsFile
from tests.support.gateway import TENANT, TRACK, running_gateway, stored_rows

CONVERSATIONS: Final = 150
AT_ONCE: Final = 8
OTHER: Final = "globex"
STRICT: Final = "initech"
COUNTED: Final = {
    "sluice_http_request_duration_seconds_count",
    "sluice_events_accepted_total",
    "sluice_events_rejected_total",
    "sluice_events_normalised_total",
}
MIN_FAST: Final = 40
"""So many take the fast path, or the test would say nothing."""
ANSWER_WITHIN_S: Final = 0.3
"""What is longer in coming does not come before more is sent: the request is not whole."""

END_WITHIN_S: Final = 20
"""Longer than a gateway waits for a body that never gets whole."""

BODIES: Final = (
    *[b'{"user_id":"u-1","event_type":"page_viewed"}'] * 2,
    b'{"user_id":"u-2","event_type":"named","event_id":"e-1"}',
    b'{"user_id":"u-2","event_type":"named","event_id":"e-1","payload":{"a":[1.0,{"b":"\\u00e9"}]}}',
    b'{"user_id":7,"event_type":"a number"}',
    b'{"user_id":"u","event_type":"Not Strict","occurred_at":"2026-01-31T23:59:59.5Z"}',
    b'{"user_id":"u","event_type":"late","occurred_at":"2026-02-31T00:00:00Z"}',
    b'{"user_id":"u","event_type":"at","occurred_at":1767225600}',
    b'{"user_id":"u","event_type":"x","payload":{"a":NaN}}',
    b'{"user_id":"u","event_type":"x","payload":{\n "a":\r\n\r\n 1}}',
    b'{"user_id":"\\ud800","event_type":"x"}',
    b'{"user_id":"\xff","event_type":"x"}',
    b'\xef\xbb\xbf{"user_id":"u","event_type":"x","user_id":"last"}',
    b'{"user_id":"u","event_type":"x"}\x00',
    b'{"event_type":"x","anonymous_id":"v-1"}',
    b'{"user_id":"u","event_type":"big","payload":{"t":"' + b"x" * 17_000 + b'"}}',
    b"POST /api/ingestion/track HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"{}",
    b"",
)
LINES: Final = (
    *["POST {track} HTTP/1.1"] * 3,
    "POST {track}/ HTTP/1.1",
    "POST {track}?a=b HTTP/1.1",
    "POST {track}#a HTTP/1.1",
    "POST http://sluice{track} HTTP/1.1",
    "POST //sluice{track} HTTP/1.1",
    "POST {track}/batch HTTP/1.1",
    "POST {track}\xff HTTP/1.1",
    "POST {track} HTTP/1.0",
    "POST {track} HTTP/2.0",
    "POST {track}",
    "POST  {track} HTTP/1.1",
    "\r\nPOST {track} HTTP/1.1",
    "\r\n\r\nPOST {track} HTTP/1.1",
    "\nPOST {track} HTTP/1.1",
    " POST {track} HTTP/1.1",
    "post {track} HTTP/1.1",
    "GET /livez HTTP/1.1",
    "HEAD /livez HTTP/1.1",
    "OPTIONS {track} HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "GET {track} HTTP/1.1",
    "CONNECT sluice:80 HTTP/1.1",
)
LENGTHS: Final = (
    *["Content-Length: {size}"] * 3,
    *["content-length: {size}"] * 3,
    "CONTENT-LENGTH: {size}",
    "Content-Length:{size}",
    "Content-Length:  {size}",
    "Content-Length: {size} ",
    "Content-Length: 0{size}",
    "Content-Length: +{size}",
    "Content-Length : {size}",
    "Content-Length: {size}, {size}",
    "Content-Length: {size}\r\n 1",
    "Content-Length: {size}\r\ncontent-length: {size}",
    "content-length: 3\r\nContent-Length: {size}",
    "X-Length: {size}\r\n Content-Length: {size}",
    "X-Content-Length: 5\r\nContent-Length: {size}",
    "Content-Length: {more}",
    "Content-Length: {less}",
    "Content-Length: {size}\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity\r\nContent-Length: {size}",
    "Transfer-Encoding : chunked\r\nContent-Length: {size}",
    "Transfer-Encoding: \x0bchunked\r\nContent-Length: {size}",
    "Transfer_Encoding: chunked\r\nContent-Length: {size}",
)
KEYS: Final = (
    *["Authorization: ApiKey {acme}"] * 2,
    *["Authorization: ApiKey {globex}"] * 2,
    *["authorization: apikey  {initech}"] * 2,
    "Authorization: ApiKey sk_live_no",
    "Authorization: Bearer no",
    "Authorization: ApiKey {acme}\r\nAuthorization: ApiKey {globex}",
    "Authorization: ApiKey {acme}\r\n ",
    "X-Api-Key: {acme}",
)
EXTRAS: Final = (
    *[""] * 2,
    *["Content-Type: application/json"] * 2,
    "Content-Type: application/json; charset=utf-8",
    "Content-Type: text/plain",
    "Content-Type:",
    "Content-Type: application/json\r\nContent-Type: text/plain",
    "User-Agent: \xff\xfe",
    "X-\xff: y",
    "X-Nul: a\x00b",
    "X-Cr: a\rContent-Length: 1",
    "X-Lf: a\nContent-Length: 1",
    "X-Fold: a\r\n b",
    " X-First: fold",
    "Connection: keep-alive",
    "Connection: close",
    "Connection: Upgrade\r\nUpgrade: websocket",
    "Connection: Upgrade\r\nUpgrade: h2c",
    "Expect: 100-continue",
    "Idempotency-Key: k-1",
    "X-Request-Id: r-1",
    "Origin: https://a.example",
    "Content-Encoding: gzip",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "Host: twice",
    "X-Long: " + "x" * 1_100,
    "X-Too-Long: " + "x" * 17_000,
)
BATCH_LINES: Final = (
    *["POST {track}/batch HTTP/1.1"] * 3,
    "POST {track}/batch/ HTTP/1.1",
    "POST {track}/batch?a=b HTTP/1.1",
    "POST {track} HTTP/1.1",
    "POST {track}/batch HTTP/1.0",
    "GET {track}/batch HTTP/1.1",
)
BATCH_EXTRAS: Final = (
    "",
    "Content-Encoding: gzip",
    "Content-Encoding: gzip\r\nContent-Type: application/json",
    "Content-Encoding: GZIP",
    "Content-Encoding: gzip, gzip",
    "Content-Encoding: gzip\r\nContent-Encoding: gzip",
    "Content-Encoding: zstd",
    "Content-Type: application/json",
    "Content-Type: text/plain",
    "Connection: close",
    "Expect: 100-continue",
    "Idempotency-Key: k-1",
    "X-Request-Id: r-1",
)
_SOME: Final = b'{"events":[%b]}' % b",".join(
    b'{"user_id":"u-%d","event_type":"page_viewed","event_id":"e-%d","payload":{"n":[%d]}}'
    % (number, number, number)
    for number in range(40)
)
_LARGE: Final = b'{"events":[%b]}' % b",".join(
    b'{"user_id":"u","event_type":"large","payload":{"t":"%b"}}' % (b"x" * 50_000) for _ in range(7)
)
PLAIN_BATCHES: Final = (
    b'{"events":[{"user_id":"u-1","event_type":"page_viewed"},{"user_id":"v","event_type":"b"}]}',
    _SOME,
    _LARGE,
    b'{"events":[{"user_id":"u-1","event_type":"page_viewed"},{"event_type":"no user"}]}',
    b'{"events":[{"user_id":"u-1"},7,{"user_id":"u","event_type":"x","occurred_at":"no"}]}',
    b'{"events":[{"event_type":"x"}]}',
    b'{"events":[{"user_id":"u","event_type":"x","payload":{"a":NaN}},{"user_id":7}]}',
    b'{"events":[{"user_id":"u","event_type":"x","payload":{\n "a":\r\n 1}}]}',
    b'{"events":[{"user_id":"u","event_type":"Not Strict"},{"user_id":"u","event_type":"y"}]}',
    b'\xef\xbb\xbf{"events":[{"user_id":"u","event_type":"x"}]}',
    b'{"events":[{"user_id":"\xff","event_type":"x"}]}',
    b'{"events":[{"user_id":"u","event_type":"x","payload":%b1%b}]}' % (b'{"a":' * 40, b"}" * 40),
    b'{"events":[%b]}' % b",".join([b'{"user_id":"u","event_type":"x"}'] * 501),
    b'{"events":[]}',
    b'{"events":{}}',
    b'{"events":[{"user_id":"u","event_type":"x"}',
    b'{"user_id":"u","event_type":"x"}',
    b"[]",
    b"{}",
    b"",
)
BATCHES: Final = (
    PLAIN_BATCHES[1],
    *(gzip.compress(one, mtime=0) for one in PLAIN_BATCHES),
    *PLAIN_BATCHES,
    gzip.compress(PLAIN_BATCHES[0], mtime=0) + b"more",
    gzip.compress(PLAIN_BATCHES[0], mtime=0) * 2,
    gzip.compress(PLAIN_BATCHES[0], mtime=0)[:-3],
    gzip.compress(b'{"events":[' + b" " * 1_048_576 + b"]}", mtime=0),
    gzip.compress(b'{"events":[' + b" " * 5_242_880 + b"]}", mtime=0),
    b'{"events":[' + b" " * 1_048_576 + b'{"user_id":"u","event_type":"x"}]}',
)


@dataclass(frozen=True, slots=True)
class Talk:
    """What clients say; the first two of each are what most say."""

    lines: Sequence[str]
    extras: Sequence[str]
    bodies: Sequence[bytes]


TRACKS: Final = Talk(LINES, EXTRAS, BODIES)
TALK_OF_BATCHES: Final = Talk(BATCH_LINES, BATCH_EXTRAS, BATCHES)

_LAST: Final = b"GET /livez HTTP/1.1\r\nHost: sluice\r\nConnection: close\r\n\r\n"
_MADE_HERE: Final = re.compile(
    rb"(?<=\r\nDate: )[^\r]+|(?<=\r\nX-Request-Id: )[0-9a-f]{16}-\d+"
    # Version 5 is derived from what the client sent: it stays, and must be equal.
    rb"|(?<=\r\nX-Event-Id: )[0-9a-f-]{14}7[0-9a-f-]{21}"
)

Step = tuple[bytes, int]
"""What is written at once, and for how many answers in all the client waits before."""


def a_head(random_: random.Random, talk: Talk) -> list[str]:
    """Return the lines of a head, as most clients send them but for up to two."""
    odd = random_.choices(range(4), k=random_.choice((0, 0, 0, 1, 1, 2)))
    lines = [
        random_.choice(options if number in odd else options[:2])
        for number, options in enumerate((talk.lines, KEYS, LENGTHS, talk.extras))
    ]
    lines.insert(random_.randint(1, 4), "Host: sluice")
    return [line for line in lines if line]


def a_request(head: list[str], body: bytes, keys: Mapping[str, str]) -> bytes:
    """Return the bytes of a request; heads name the body's size and the tenants' keys."""
    size = len(body)
    text = "\r\n".join(head).format(
        size=size, more=size + 5, less=max(size - 3, 0), track=TRACK, **keys
    )
    if "chunked" in text:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    return text.encode("latin-1") + b"\r\n\r\n" + body


def a_conversation(random_: random.Random, keys: Mapping[str, str], talk: Talk) -> Iterator[Step]:
    """Yield what one client writes on its connection."""
    bodies = talk.bodies
    heads = [a_head(random_, talk) for _ in range(random_.randint(1, 3))]
    requests = [
        a_request(random_.choice(heads), random_.choice(random_.choice((bodies, bodies[:2]))), keys)
        for _ in range(random_.randint(1, 16))
    ]
    is_whole = random_.random() < 0.7
    at = 0
    while at < len(requests):
        together = 1 if is_whole or random_.random() < 0.7 else random_.randint(2, 4)
        data = b"".join(requests[at : at + together])
        number = 0 if random_.random() < 0.95 or is_whole else min(len(data) - 1, 3)
        cuts = sorted(random_.sample(range(1, len(data)), number))
        waits = random_.random() < 0.8
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            yield data[begin:end], at if waits and begin == 0 else 0
        at += together
    yield _LAST, len(requests)


async def converse(url: str, steps: Iterator[Step]) -> bytes:
    """Return all that the gateway says."""
    loop = asyncio.get_running_loop()
    parts = URL(url)
    answers = bytearray()
    more = asyncio.Condition()
    ended = False

    async def read(client: socket.socket) -> None:
        nonlocal ended
        with suppress(ConnectionError):
            while data := await loop.sock_recv(client, 65_536):
                answers.extend(data)
                async with more:
                    more.notify_all()
        ended = True
        async with more:
            more.notify_all()

    def have(number: int) -> bool:
        return ended or answers.count(b"HTTP/1.1 ") - answers.count(b"HTTP/1.1 100") >= number

    with socket.socket() as client:
        client.settimeout(0)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(client, (parts.host, parts.port))
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(read(client))
            for data, number in steps:
                with suppress(TimeoutError):
                    async with asyncio.timeout(ANSWER_WITHIN_S), more:
                        await more.wait_for(partial(have, number))
                with suppress(ConnectionError):
                    await loop.sock_sendall(client, data)
            with suppress(TimeoutError):
                async with asyncio.timeout(END_WITHIN_S), more:
                    await more.wait_for(lambda: ended)
            reader.cancel()
    return _MADE_HERE.sub(b"?", bytes(answers)) + (b"" if ended else b"...")


def kept(rows: list[bytes]) -> Counter[str]:
    """Return rows of events without the ids and times that were made here."""
    found: Counter[str] = Counter()
    for row in map(orjson.loads, rows):
        if row.get("occurred_at") == row["received_at"]:
            row["occurred_at"] = "now"
        if row["event_id"][14] == "7":
            del row["event_id"]
        del row["received_at"]
        found[str(sorted(row.items()))] += 1
    return found


def refused(rows: list[bytes]) -> Counter[str]:
    """Return how often what was refused; how refusals fold into records is a matter of time."""
    found: Counter[str] = Counter()
    for row in map(orjson.loads, rows):
        said = {name: row[name] for name in row if name not in {"error_id", "ts", "request_id"}}
        times = said.pop("occurrences", 1)
        found[str(sorted(said.items()))] += times
    return found


def counted() -> Counter[str]:
    """Return what was counted of answers and events so far, but not how long anything took."""
    found: Counter[str] = Counter()
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name in COUNTED:
                found[f"{sample.name} {sorted(sample.labels.items())}"] += int(sample.value)
    return found


def without_fast_path(*given: Any, **options: Any) -> HttpServer:
    """Return a server all of whose requests go the long way."""
    return HttpServer(*given, **options | {"fast_path": None})


async def all_said(data_dir: Path, talk: Talk) -> tuple[list[bytes], list[Counter[str]]]:
    """Hold all conversations with a gateway; return what it said, stored and counted."""
    tenants = TenantsFile(load_settings(data_dir=data_dir).tenants_path)
    keys = {OTHER: tenants.add_tenant(OTHER), STRICT: tenants.add_tenant(STRICT)}
    tenants.set_value(STRICT, "strict_event_types", "true")
    async with running_gateway(data_dir) as running:
        keys[TENANT] = running.api_key
        before = counted()
        said: dict[int, bytes] = {}
        left = list(range(CONVERSATIONS))

        async def hold_some() -> None:
            while left:
                seed = left.pop()
                steps = a_conversation(random.Random(seed), keys, talk)  # noqa: S311 - no secret
                said[seed] = await converse(running.url, steps)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(hold_some())
        counts = counted()
        counts.subtract(before)
    rows = await stored_rows(running.settings)
    return [said[seed] for seed in range(CONVERSATIONS)], [
        kept(rows["events"]),
        refused(rows["errors"]),
        counts,
    ]


@pytest.mark.parametrize("talk", [TRACKS, TALK_OF_BATCHES], ids=["track", "batch"])
async def test_fast_path_says_and_stores_what_the_long_way_does_for_any_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, talk: Talk
) -> None:
    before = HTTP_FAST_PATH.value()
    fast_said, fast_left = await all_said(tmp_path / "fast", talk)
    assert HTTP_FAST_PATH.value() - before >= MIN_FAST
    monkeypatch.setattr(gateway.app, "HttpServer", without_fast_path)
    before = HTTP_FAST_PATH.value()
    said, left = await all_said(tmp_path / "long", talk)
    assert HTTP_FAST_PATH.value() == before
    assert fast_said == said
    assert fast_left == left
