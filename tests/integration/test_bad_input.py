"""Bad input: a clear error or a documented repair, never a 5xx or a hang, and the next is served.

The fixture ``gateway`` sends the good event right after each test, and checks that nothing was
answered with 5xx.
"""

import asyncio
import gzip
import time
import zlib
from typing import Final
from urllib.parse import quote

import jwt
import orjson
import pytest
import zstandard

from tests.support.credentials import TokenMaker
from tests.support.edge import Part
from tests.support.raw_http import exchange, request_bytes
from tests.support.segops import (
    ERRORS,
    EVENT,
    STATS,
    Segops,
    assert_counted,
    assert_queued,
    assert_refused,
)
from tests.support.shared import SharedParts
from tests.support.telemetry import MIB, PeakMemory

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


def nested(opening: bytes, closing: bytes, levels: int) -> bytes:
    """Return the good event with a payload that is that deep."""
    deep = b'{"a":' + opening * levels + b"1" + closing * levels + b"}"
    return b'{"user_id":"u-1","event_type":"x","payload":' + deep + b"}"


EVENT_WITH: Final = b'{"user_id":"u","event_type":"x",'
NINES: Final = b"9" * 1_000
BROKEN: Final[dict[str, tuple[bytes, str | None]]] = {
    "cut short": (b'{"user_id":"u-1","event_type"', "json_invalid"),
    "no comma": (b'{"user_id":"u-1" "event_type":"x"}', "json_invalid"),
    "single quotes": (b"{'user_id':'u-1','event_type':'x'}", "json_invalid"),
    "two objects": (PLAIN + PLAIN, "json_invalid"),
    "gzip magic": (b"\x1f\x8b" + PLAIN, "json_invalid"),
    "a NUL": (b"\x00", "json_invalid"),
    "a NUL behind": (PLAIN + b"\x00", "json_invalid"),
    "a NUL in a string": (b'{"user_id":"a\x00b","event_type":"x"}', "json_invalid"),
    "an escaped NUL in an id": (rb'{"user_id":"a\u0000b","event_type":"x"}', "user_id_invalid"),
    "no UTF-8 in an id": (b'{"user_id":"\xff","event_type":"x"}', "json_invalid"),
    "no UTF-8 in the payload": (EVENT_WITH + b'"payload":{"s":"\xc3\x28"}}', "json_invalid"),
    "no UTF-8 in an unknown key": (EVENT_WITH + b'"foo":"\xfe"}', "json_invalid"),
    "surrogate as user": (rb'{"user_id":"\udfff","event_type":"x"}', "user_id_invalid"),
    "surrogate as type": (rb'{"user_id":"u","event_type":"\ud83d"}', "event_type_invalid"),
    "surrogate as id": (EVENT_WITH + rb'"event_id":"\ud83d"}', "event_id_invalid"),
    "NaN as user": (b'{"user_id":NaN,"event_type":"x"}', "user_id_invalid"),
    "NaN as payload": (EVENT_WITH + b'"payload":NaN}', "payload_invalid"),
    "Infinity as time": (EVENT_WITH + b'"occurred_at":Infinity}', "occurred_at_invalid"),
    "nan in lower case": (EVENT_WITH + b'"payload":{"n":nan}}', "json_invalid"),
    "1,000 digits as user": (b'{"user_id":' + NINES + b',"event_type":"x"}', "user_id_invalid"),
    "1,000 digits as time": (EVENT_WITH + b'"occurred_at":' + NINES + b"}", "occurred_at_invalid"),
    "1,000 digits as id": (EVENT_WITH + b'"event_id":' + NINES + b"}", "event_id_invalid"),
    "42 levels": (nested(b"[", b"]", 40), "payload_too_deep"),
    "500 levels": (nested(b"[", b"]", 498), "payload_too_deep"),
    "nothing": (b"", "body_empty"),
    "10,000 lists": (b"[" * 10_000 + b"]" * 10_000, None),
    "10,000 lists in the payload": (nested(b"[", b"]", 10_000), None),
    "10,000 objects in the payload": (nested(b'{"a":', b"}", 10_000), None),
    "10,000 lists as user": (b'{"user_id":' + b"[" * 10_000 + b"]" * 10_000 + b"}", None),
    "10,000 objects cut short": (b'{"foo":' + b'{"a":' * 10_000, None),
}
"""Each with its error_type; None where it is for the parser to say why: too deep, or not JSON."""


@pytest.mark.parametrize(("body", "error_type"), BROKEN.values(), ids=BROKEN)
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
    ids=["lone surrogates", "escaped backslash", "key", "NaN", "NUL", "equal keys"],
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
    assert {task.result().status for task in many} == {413}
    assert memory.growth_bytes < 100 * MIB


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
    for key in ("';DROP/**/TABLE/**/events;--", "{tenant:String}"):
        answer = await api.batch(events, Idempotency_Key=key)
        assert_counted(answer, queued=len(events), skipped=0)
    rows = await api.rows_when(len(events))
    assert {(row.user_id, row.anonymous_id, row.event_type, row.payload) for row in rows} == {
        (text, text, text, orjson.dumps({text: text}).decode()) for text in INJECTIONS
    }
    stats = await api.stats()
    assert {entry["event_type"] for entry in stats["event_types"]} <= set(INJECTIONS)
    for text in INJECTIONS:
        query = quote(text, safe="")
        for path in (f"{STATS}?window={query}", f"{ERRORS}?limit={query}"):
            read = await exchange(
                api.url,
                request_bytes(
                    path, method="GET", headers=[("Authorization", f"Bearer {api.read_token}")]
                ),
            )
            assert read is not None
            assert read.status == 400


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
