"""Cases 52 to 67: content type, encoding and size of bodies."""

import gzip
import zlib
from pathlib import Path

import orjson
import zstandard

from tests.support.edge import running
from tests.support.segops import EVENT, Segops, assert_counted, assert_queued, assert_refused
from tests.support.shared import SharedParts
from tests.support.telemetry import MIB, PeakMemory

PLAIN = orjson.dumps(EVENT)
MAX_BODY = 5_242_880


def event_of(size: int) -> bytes:
    """Return the text of one valid event that has exactly ``size`` bytes."""
    frame = b'{"user_id":"u-1","event_type":"x","payload":{"s":""}}'
    return frame.replace(b'""}}', b'"' + b"x" * (size - len(frame)) + b'"}}')


def raw_deflate(body: bytes) -> bytes:
    """Return a deflate stream without the zlib wrapper, as some clients send it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


async def test_case_052_broken_json_is_refused_with_its_position(client: Segops) -> None:
    answer = await client.track(b'{"user_id":"u"')
    assert_refused(answer, 400, "json_invalid")
    for body in (PLAIN[:-1] + b",}", b"{'user_id':'u'}", PLAIN + b"x", b"// x\n" + PLAIN):
        answer = await client.track(body)
        assert_refused(answer, 400, "json_invalid")
        assert "line" in answer.json["detail"]
        assert "column" in answer.json["detail"]


async def test_case_053_empty_body_is_refused(client: Segops) -> None:
    assert_refused(await client.track(b""), 400, "body_empty")
    assert_refused(await client.batch(b""), 400, "body_empty")


async def test_case_054_body_that_is_no_object_is_refused(client: Segops) -> None:
    for body in (b"null", b'"x"', b"[]", b"5", b"true"):
        assert_refused(await client.track(body), 400, "body_not_object")
        assert_refused(await client.batch(body), 400, "body_not_object")


async def test_case_055_invalid_utf8_is_refused(client: Segops) -> None:
    for bad in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"):
        for field in (b"user_id", b"payload"):
            value = b'{"s":"' + bad + b'"}' if field == b"payload" else b'"' + bad + b'"'
            body = b'{"user_id":"u","event_type":"x","' + field + b'":' + value + b"}"
            assert_refused(await client.track(body), 400, "json_invalid")
    utf16 = PLAIN.decode().encode("utf-16")
    assert_refused(await client.track(utf16), 400, "json_invalid")


async def test_case_056_byte_order_mark_is_stripped(api: Segops) -> None:
    assert_queued(await api.track(b"\xef\xbb\xbf" + PLAIN))
    batch = b"\xef\xbb\xbf" + orjson.dumps({"events": [EVENT]})
    assert_counted(await api.batch(batch), queued=1, skipped=0)
    await api.rows_when(2)


async def test_case_057_compressed_bodies_are_taken(api: Segops) -> None:
    frame = zstandard.ZstdCompressor().compress
    bodies = [
        ("gzip", gzip.compress(PLAIN)),
        ("x-gzip", gzip.compress(PLAIN)),
        ("GZIP", gzip.compress(PLAIN)),
        ("deflate", zlib.compress(PLAIN)),
        ("deflate", raw_deflate(PLAIN)),
        ("zstd", frame(PLAIN)),
        ("zstd", frame(PLAIN[:20]) + frame(PLAIN[20:])),
        ("identity", PLAIN),
    ]
    for encoding, body in bodies:
        assert_queued(await api.track(body, Content_Encoding=encoding))
    await api.rows_when(len(bodies))


async def test_case_058_body_that_is_not_as_encoded_is_refused(client: Segops) -> None:
    packed = {
        "gzip": gzip.compress(PLAIN),
        "deflate": zlib.compress(PLAIN),
        "zstd": zstandard.ZstdCompressor().compress(PLAIN),
    }
    for encoding, body in packed.items():
        for bad in (PLAIN, body[:-3], body + b"trailing", body[:-1] + bytes([body[-1] ^ 0xFF])):
            if encoding == "zstd" and bad[:-1] == body[:-1]:
                continue  # the last byte of this frame is data without a checksum
            answer = await client.track(bad, Content_Encoding=encoding)
            assert_refused(answer, 400, "body_undecodable")


async def test_case_059_unknown_or_stacked_encoding_is_refused(client: Segops) -> None:
    for encoding in ("br", "gzip, gzip", "compress", "gzip, identity"):
        answer = await client.track(gzip.compress(PLAIN), Content_Encoding=encoding)
        assert_refused(answer, 415, "content_encoding_unsupported")
        assert answer.headers["Accept-Encoding"] == "gzip, deflate, zstd"


async def test_case_060_gzip_bomb_is_refused_in_bounded_memory(
    api: Segops, shared: SharedParts, tmp_path: Path
) -> None:
    bomb = gzip.compress(b'{"events":[' + b" " * 20_000_000)
    assert len(bomb) < 25_000
    with running("gateway", data_dir=tmp_path / "edge", settings=shared.settings) as edge:
        async with api.at(edge.url) as there:
            with PeakMemory(edge.pid) as memory:
                for _ in range(5):
                    answer = await there.batch(bomb, Content_Encoding="gzip")
                    assert_refused(answer, 413, "body_too_large")
            assert memory.growth_bytes < 20 * MIB
            assert_queued(await there.track(EVENT))


async def test_case_061_body_over_the_limit_is_refused(client: Segops) -> None:
    body = orjson.dumps({"events": [EVENT]})
    assert_refused(await client.batch(body.ljust(MAX_BODY + 1)), 413, "body_too_large")
    assert_counted(await client.batch(body.ljust(MAX_BODY)), queued=1, skipped=0)


async def test_case_062_event_over_the_limit_is_refused(api: Segops) -> None:
    assert_refused(await api.track(event_of(262_145)), 413, "event_too_large")
    assert_queued(await api.track(event_of(262_144)))
    (row,) = await api.rows_when(1)
    assert len(row.payload) > 262_000


async def test_case_064_other_content_types_are_refused(client: Segops) -> None:
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/x-ndjson",
        "multipart/form-data; boundary=x",
        "application/xml",
    ):
        answer = await client.track(PLAIN, Content_Type=content_type)
        assert_refused(answer, 415, "content_type_unsupported")
        assert "application/json" in answer.json["detail"]


async def test_case_065_missing_content_type_is_taken(client: Segops) -> None:
    assert_queued(await client.track(PLAIN, Content_Type=None))
    assert_queued(await client.track(PLAIN, Content_Type=""))


async def test_case_066_json_content_types_in_utf8_are_taken(client: Segops) -> None:
    for content_type in (
        "application/json; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/vnd.x+json",
        "Application/JSON",
        "application/json; odata=verbose",
    ):
        assert_queued(await client.track(PLAIN, Content_Type=content_type))


async def test_case_067_other_charset_is_refused(client: Segops) -> None:
    answer = await client.track(PLAIN, Content_Type="application/json; charset=latin-1")
    assert_refused(answer, 415, "content_type_unsupported")
