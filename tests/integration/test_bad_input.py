"""Bad input: a clear error or a documented repair, never a 5xx or a hang, and the next is served.

Each test ends with ``the good event right after``: the fixture sends it, and checks that the
gateway has answered nothing with 5xx.
"""

import asyncio
import gzip
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from urllib.parse import quote

import jwt
import orjson
import pytest
import zstandard

from tests.support.credentials import TokenMaker
from tests.support.edge import Part, running
from tests.support.idle import idle_connections, most_connections
from tests.support.poll import poll_until
from tests.support.raw_http import connect, exchange, read_answer, request_bytes
from tests.support.segops import (
    ERRORS,
    EVENT,
    STATS,
    TRACK,
    Answer,
    Segops,
    assert_counted,
    assert_queued,
    assert_refused,
    check_manners,
)
from tests.support.shared import SharedParts
from tests.support.telemetry import MIB, PeakMemory, server_errors, sum_of

PLAIN = orjson.dumps(EVENT)
INJECTIONS = (
    "'; DROP TABLE events; --",
    "' OR '1'='1",
    "\\'; DROP TABLE events; --",
    '") FORMAT Null; --',
    "{tenant:String}",
    "${jndi:ldap://127.0.0.1/x}",
    "x' UNION ALL SELECT payload FROM events --",
    "%s %(tenant)s {0} {tenant}",
    "\\N",
    "ᐊ=HYPERLINK(1)",
)


@pytest.fixture(scope="module")
def slow_edge(shared: SharedParts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    """A gateway of this module's own, which waits a second for a body."""
    settings = {**shared.settings, "BODY_TIMEOUT_S": "1"}
    data_dir = tmp_path_factory.mktemp("edge")
    with running("gateway", data_dir=data_dir, settings=settings) as edge:
        yield edge


@pytest.fixture
async def gateway(slow_edge: Part, shared: SharedParts) -> AsyncIterator[Segops]:
    """The client of a gateway with short time-outs; the good event follows each test."""
    async with shared.common_client(slow_edge.url) as there:
        before = server_errors(await there.metrics())
        yield there
        assert_queued(await there.track(EVENT))
        assert_counted(await there.batch([EVENT, EVENT]), queued=2, skipped=0)
        assert server_errors(await there.metrics()) == before


def head(
    api: Segops, *more: tuple[str, str], body: bytes = b"", length: str | None = None
) -> bytes:
    """Return a request of a known tenant, with a Content-Length of any kind."""
    headers = [("Authorization", f"ApiKey {api.api_key}"), ("Content-Type", "application/json")]
    if length is not None:
        headers.append(("Content-Length", length))
    return request_bytes(TRACK, headers=[*headers, *more], body=body)


def nested(opening: bytes, closing: bytes, levels: int) -> bytes:
    """Return the good event with a payload that is that deep."""
    deep = b'{"a":' + opening * levels + b"1" + closing * levels + b"}"
    return b'{"user_id":"u-1","event_type":"x","payload":' + deep + b"}"


@pytest.mark.parametrize(
    ("body", "error_type"),
    [
        (b'{"user_id":"u-1","event_type"', "json_invalid"),
        (b'{"user_id":"u-1" "event_type":"x"}', "json_invalid"),
        (b"{'user_id':'u-1','event_type':'x'}", "json_invalid"),
        (PLAIN + PLAIN, "json_invalid"),
        (b"\x1f\x8b" + PLAIN, "json_invalid"),
        (b"\x00", "json_invalid"),
        (PLAIN + b"\x00", "json_invalid"),
        (b'{"user_id":"\xff","event_type":"x"}', "json_invalid"),
        (b'{"user_id":"u","event_type":"x","payload":{"s":"\xc3\x28"}}', "json_invalid"),
        (b'{"user_id":"u","event_type":"x","foo":"\xfe"}', "json_invalid"),
        (rb'{"user_id":"\udfff","event_type":"x"}', "user_id_invalid"),
        (rb'{"user_id":"u","event_type":"\ud83d"}', "event_type_invalid"),
        (rb'{"user_id":"u","event_type":"x","event_id":"\ud83d"}', "event_id_invalid"),
        (rb'{"user_id":"a\u0000b","event_type":"x"}', "user_id_invalid"),
        (b'{"user_id":"a\x00b","event_type":"x"}', "json_invalid"),
        (b'{"user_id":NaN,"event_type":"x"}', "user_id_invalid"),
        (b'{"user_id":"u","event_type":"x","payload":NaN}', "payload_invalid"),
        (b'{"user_id":"u","event_type":"x","occurred_at":Infinity}', "occurred_at_invalid"),
        (b'{"user_id":"u","event_type":"x","payload":{"n":nan}}', "json_invalid"),
        (b'{"user_id":' + b"9" * 1_000 + b',"event_type":"x"}', "user_id_invalid"),
        (
            b'{"user_id":"u","event_type":"x","occurred_at":' + b"9" * 1_000 + b"}",
            "occurred_at_invalid",
        ),
        (b'{"user_id":"u","event_type":"x","event_id":' + b"9" * 1_000 + b"}", "event_id_invalid"),
        (nested(b"[", b"]", 40), "payload_too_deep"),
        (nested(b"[", b"]", 499), "payload_too_deep"),
        (b"", "body_empty"),
        (b"[" * 10_000 + b"]" * 10_000, None),
        (nested(b"[", b"]", 10_000), None),
        (nested(b'{"a":', b"}", 10_000), None),
        (b'{"user_id":' + b"[" * 10_000 + b"]" * 10_000 + b"}", None),
        (b'{"foo":' + b'{"a":' * 10_000, None),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else str(value),
)
async def test_gateway_refuses_body_when_it_is_broken(
    gateway: Segops, body: bytes, error_type: str | None
) -> None:
    answer = await gateway.track(body)
    assert_refused(answer, 400, error_type)
    if error_type is None:
        assert answer.error_type in {"json_too_deep", "json_invalid"}
    in_batch = await gateway.batch(b'{"events":[' + body + b"," + PLAIN + b"]}")
    assert in_batch.status in {202, 400}
    if in_batch.status == 202:
        assert (in_batch.json["queued"], in_batch.json["skipped"]) == (1, 1)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (b'{"s":"\\ud800","t":"\\udc00\\ud800"}', {"s": "\ufffd", "t": "\ufffd\ufffd"}),
        (b'{"s":"\\\\ud800 \\ud83d\\ude00"}', {"s": "\\ud800 😀"}),
        (b'{"\\ud800":1}', {"\ufffd": 1}),
        (
            b'{"n":NaN,"l":[Infinity,-Infinity],"s":"NaN"}',
            {"n": None, "l": [None, None], "s": "NaN"},
        ),
        (b'{"s":"\\u0000"}', {"s": "\x00"}),
        (b'{"a":1,"a":2}', {"a": 2}),
    ],
    ids=repr,
)
async def test_gateway_repairs_payload_when_a_repair_is_documented(
    api: Segops, text: bytes, stored: object
) -> None:
    assert_queued(await api.track(PLAIN[:-1] + b',"payload":' + text + b"}"))
    (row,) = await api.rows_when(1)
    assert orjson.loads(row.payload) == stored


async def test_gateway_stores_integers_of_1000_digits_as_they_are(api: Segops) -> None:
    text = b'{"n":' + b"9" * 1_000 + b',"d":-' + b"1" * 5_000 + b".5}"
    assert_queued(await api.track(PLAIN[:-1] + b',"payload":' + text + b"}"))
    (row,) = await api.rows_when(1)
    assert row.payload.encode() == text


async def test_gateway_keeps_its_memory_bounded_when_bombs_arrive(
    gateway: Segops, slow_edge: Part
) -> None:
    zeros = b'{"events":[' + b" " * 50_000_000
    packer = zlib.compressobj(9, wbits=-15)
    bombs = {
        "gzip": gzip.compress(zeros),
        "deflate": packer.compress(zeros) + packer.flush(),
        "zstd": zstandard.ZstdCompressor(level=19).compress(zeros),
    }
    with PeakMemory(slow_edge.pid) as memory:
        for encoding, bomb in bombs.items():
            answer = await gateway.batch(bomb, Content_Encoding=encoding)
            assert_refused(answer, 413, "body_too_large")
        async with asyncio.TaskGroup() as tasks:
            many = [
                tasks.create_task(gateway.batch(bombs["gzip"], Content_Encoding="gzip"))
                for _ in range(20)
            ]
    assert {task.result().status for task in many} <= {413, 503}
    assert memory.growth_bytes < 150 * MIB


async def test_gateway_refuses_compressed_body_when_it_is_cut_or_followed(gateway: Segops) -> None:
    zstd = zstandard.ZstdCompressor(write_checksum=True).compress(PLAIN * 50)
    streams = {"gzip": gzip.compress(PLAIN), "deflate": zlib.compress(PLAIN), "zstd": zstd}
    for encoding, stream in streams.items():
        for body in (stream[: len(stream) // 2], stream[:-1], stream[:3], stream + b"x", b"x"):
            answer = await gateway.track(body, Content_Encoding=encoding)
            assert_refused(answer, 400, "body_undecodable")
        assert_refused(await gateway.track(b"", Content_Encoding=encoding), 400)
    window = zstandard.ZstdCompressionParameters(window_log=27)
    wide = zstandard.ZstdCompressor(compression_params=window).compressobj()
    answer = await gateway.track(wide.compress(PLAIN) + wide.flush(), Content_Encoding="zstd")
    assert answer.status in {202, 400, 413}


async def test_gateway_refuses_6_mb_and_501_events(gateway: Segops) -> None:
    body = orjson.dumps({"events": [EVENT]})
    assert_refused(await gateway.batch(body.ljust(6_000_000)), 413, "body_too_large")
    assert_refused(
        await gateway.batch(gzip.compress(body.ljust(6_000_000)), Content_Encoding="gzip"),
        413,
        "body_too_large",
    )
    assert_refused(await gateway.batch([EVENT] * 501), 400, "batch_too_large")


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
        head(gateway, ("Content-Length", "5"), length="6", body=PLAIN),
    ):
        answer = await exchange(gateway.url, request)
        assert answer is None or answer.status == 400
        if answer is not None:
            check_manners(answer)


async def test_gateway_gives_up_a_body_when_it_comes_one_byte_a_second(gateway: Segops) -> None:
    """Its SLUICE_BODY_TIMEOUT_S is 1: the answer is 408, however long the client drips on."""

    async def drip() -> Answer | None:
        async with connect(gateway.url) as (reader, writer), asyncio.TaskGroup() as tasks:
            writer.write(head(gateway, length=str(len(PLAIN))))
            bytes_left = tasks.create_task(_drip(writer, PLAIN, every_s=0.3))
            answer = await read_answer(reader)
            bytes_left.cancel()
            return answer

    async with asyncio.TaskGroup() as tasks:
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


async def test_gateway_stores_sql_in_every_field_as_plain_text(api: Segops) -> None:
    events = [
        {
            "user_id": text,
            "anonymous_id": text,
            "event_type": text,
            "event_id": text,
            "payload": {text: text},
        }
        for text in INJECTIONS
    ]
    assert_counted(await api.batch(events), queued=len(events), skipped=0)
    assert_counted(await api.batch(events), queued=len(events), skipped=0)
    rows = await api.rows_when(len(events))
    assert {(row.user_id, row.anonymous_id, row.event_type, row.payload) for row in rows} == {
        (text, text, text, orjson.dumps({text: text}).decode()) for text in INJECTIONS
    }
    stats = await api.stats()
    assert {entry["event_type"] for entry in stats["event_types"]} <= set(INJECTIONS)
    for text in INJECTIONS:
        query = quote(text, safe="")
        for path in (f"{STATS}?window={query}", f"{ERRORS}?limit={query}"):
            answer = await exchange(
                api.url,
                request_bytes(
                    path, method="GET", headers=[("Authorization", f"Bearer {api.read_token}")]
                ),
            )
            assert answer is not None
            assert answer.status == 400


async def test_gateway_refuses_tokens_that_prove_nothing(
    gateway: Segops, sign: TokenMaker, shared: SharedParts
) -> None:
    soon = int(time.time()) + 600
    claims = {"tenant": gateway.slug, "exp": soon, "scope": "read"}
    unsigned = jwt.encode(claims, "", algorithm="none")
    stripped = sign(claims).rsplit(".", 1)[0] + "."
    swapped = ".".join([sign(claims).split(".")[0], unsigned.split(".")[1], "AAAA"])
    forged = [
        unsigned,
        stripped,
        swapped,
        sign(claims, algorithm="none"),
        sign(claims, secret="x" * 32),
        sign(claims) + "x",
        "a.b.c",
        "." * 10,
        "eyJhbGciOiJIUzI1NiJ9.e30.",
        "x" * 7_000,
        orjson.dumps(claims).decode(),
    ]
    for token in forged:
        for path in (STATS, ERRORS):
            answer = await gateway.get(path, token=token)
            assert_refused(answer, 401)
            assert "WWW-Authenticate" in answer.headers
    expired = sign({**claims, "exp": int(time.time()) - 60})
    assert_refused(await gateway.get(STATS, token=expired), 401, "token_expired")
    async with shared.new_client(gateway.url) as other:
        assert_queued(await other.track(EVENT))
        assert (await gateway.get(STATS, token=other.read_token)).status == 200
        answer = await gateway.track(EVENT, Authorization=f"Bearer {other.read_token}")
        assert_refused(answer, 403, "scope_denied")


async def test_gateway_shows_a_token_only_its_own_tenants_events(
    api: Segops, shared: SharedParts
) -> None:
    async with shared.new_client() as other:
        assert_counted(await api.batch([EVENT] * 3 + [{}]), queued=3, skipped=1)
        await api.rows_when(3)
        for query in ("", f"?tenant={api.slug}", f"?window=7d&tenant={api.slug}"):
            assert (await other.stats(query))["total_events"] == 0
        assert (await other.errors(f"?tenant={api.slug}"))["count"] == 0


async def test_gateway_serves_when_10_000_connections_idle(gateway: Segops) -> None:
    count = most_connections(10_000)
    assert count >= 3_000
    length = str(len(PLAIN))
    async with idle_connections(gateway.url, count):

        async def are_open() -> bool:
            opened = sum_of(await gateway.metrics(), "sluice_http_open_connections")
            return opened >= count

        await poll_until(are_open, within_s=20, what=f"{count} open connections")
        started = time.monotonic()
        for _ in range(20):
            assert_queued(await gateway.track(EVENT))
            answer = await exchange(gateway.url, head(gateway, length=length, body=PLAIN))
            assert answer is not None
            assert_queued(answer)
        assert time.monotonic() - started < 10
