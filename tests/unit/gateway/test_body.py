"""Headers and compressed bodies: what is taken or refused, and that nothing outgrows its bound."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import pytest
import zstandard
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given
from hypothesis import strategies as st

from gateway.body import chunks_of
from gateway.core.inflate import (
    MAX_ZSTD_FRAMES,
    Encoding,
    InflatedTooLargeError,
    Inflater,
    UndecodableError,
)
from gateway.core.media import check_content_type, read_encoding
from sluice.core.errors import ErrorType, Rejected

MAX_BYTES: Final = 100_000


async def test_client_that_hangs_up_before_anybody_reads_has_sent_half_a_body() -> None:
    """Not a fault of ours: aiohttp's own error for it would be answered and counted as one."""
    loop = asyncio.get_running_loop()
    content = StreamReader(BaseProtocol(loop), 65_536, loop=loop)
    content.feed_data(b"half")
    pieces = chunks_of(content)
    assert await anext(pieces) == b"half"
    with pytest.raises(ConnectionResetError):
        await anext(pieces)


def raw_deflate(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeezer.compress(data) + squeezer.flush()


def zstd_of_unknown_size(data: bytes) -> bytes:
    squeezer = zstandard.ZstdCompressor().compressobj()
    return squeezer.compress(data) + squeezer.flush()


SQUEEZERS: Final[dict[str, tuple[Encoding, Callable[[bytes], bytes]]]] = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstandard.compress),
    "zstd of unknown size": ("zstd", zstd_of_unknown_size),
    "two zstd frames": (
        "zstd",
        lambda data: zstandard.compress(data[:7]) + zstd_of_unknown_size(data[7:]),
    ),
}
every_squeezer = pytest.mark.parametrize("squeezer", SQUEEZERS.values(), ids=SQUEEZERS)


def inflate(
    encoding: Encoding, *pieces: bytes, max_bytes: int = MAX_BYTES, step: int = 500
) -> bytes:
    inflater = Inflater(encoding, max_bytes=max_bytes)
    for piece in pieces:
        inflater.feed(piece)
        while inflater.step(step):
            pass
    return inflater.finish()


def bytes_of(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@every_squeezer
@given(data=st.binary(max_size=300) | st.binary(max_size=20).map(lambda piece: piece * 200))
def test_body_is_the_same_when_fed_whole_or_byte_by_byte(
    squeezer: tuple[Encoding, Callable[[bytes], bytes]], data: bytes
) -> None:
    encoding, squeeze = squeezer
    squeezed = squeeze(data)
    assert inflate(encoding, squeezed) == data
    assert inflate(encoding, *bytes_of(squeezed), step=1) == data


@every_squeezer
@pytest.mark.parametrize("behind", [b"\x00", b"x", b"{}", b"\n\n\n\n"])
@pytest.mark.parametrize("split", [False, True], ids=["whole", "byte by byte"])
def test_body_is_refused_when_bytes_stand_behind_it(
    squeezer: tuple[Encoding, Callable[[bytes], bytes]], behind: bytes, *, split: bool
) -> None:
    encoding, squeeze = squeezer
    sent = squeeze(b'{"a":1}' * 50) + behind
    with pytest.raises(UndecodableError):
        inflate(encoding, *(bytes_of(sent) if split else [sent]))


@every_squeezer
def test_body_is_refused_when_cut_short_anywhere(
    squeezer: tuple[Encoding, Callable[[bytes], bytes]],
) -> None:
    encoding, squeeze = squeezer
    data = b'{"a":1}' * 50
    whole = squeeze(data)
    for end in range(1, len(whole)):
        try:
            got = inflate(encoding, whole[:end])
        except UndecodableError:
            continue
        assert encoding == "zstd"  # the first of two frames is a whole body in itself
        assert got == data[:7]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("sent", [b'{"user_id":"u-1"}', b"\x1f", b"\x1f\x8b\x08\x00", b"\xff" * 50])
def test_body_is_refused_when_it_is_not_what_the_header_says(
    encoding: Encoding, sent: bytes
) -> None:
    with pytest.raises(UndecodableError):
        inflate(encoding, sent)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
@given(sent=st.binary(max_size=100))
def test_inflater_fails_only_as_documented_whatever_it_is_fed(
    encoding: Encoding, sent: bytes
) -> None:
    with suppress(UndecodableError, InflatedTooLargeError):
        inflate(encoding, sent, max_bytes=1000)


def test_second_gzip_member_is_refused_as_trailing_bytes() -> None:
    with pytest.raises(UndecodableError):
        inflate("gzip", gzip.compress(b"{}") + gzip.compress(b"{}"))


def test_frames_are_bounded_when_they_are_empty() -> None:
    frame = zstandard.compress(b"")
    assert inflate("zstd", frame * MAX_ZSTD_FRAMES) == b""
    with pytest.raises(UndecodableError):
        inflate("zstd", frame * (MAX_ZSTD_FRAMES + 1))


def test_window_is_bounded_when_a_frame_asks_for_a_huge_one() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    squeezer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    squeezed = squeezer.compress(b"x" * 1000) + squeezer.flush()
    with pytest.raises(UndecodableError):
        inflate("zstd", squeezed)


def test_empty_body_stays_empty() -> None:
    assert inflate("gzip") == b""
    assert inflate("zstd", b"") == b""


@every_squeezer
def test_body_is_too_large_when_one_byte_over_the_bound(
    squeezer: tuple[Encoding, Callable[[bytes], bytes]],
) -> None:
    encoding, squeeze = squeezer
    assert len(inflate(encoding, squeeze(b"x" * MAX_BYTES))) == MAX_BYTES
    with pytest.raises(InflatedTooLargeError):
        inflate(encoding, squeeze(b"x" * (MAX_BYTES + 1)))


@every_squeezer
def test_bomb_takes_no_more_memory_than_the_bound(
    squeezer: tuple[Encoding, Callable[[bytes], bytes]],
) -> None:
    encoding, squeeze = squeezer
    bomb = squeeze(b"\x00" * 20_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(InflatedTooLargeError):
            inflate(encoding, bomb, step=65_536)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    "value",
    [
        *("", "application/json", "Application/JSON", "application/json; charset=UTF-8"),
        *('application/json;charset="utf-8"', "application/json; charset=utf8; x=y"),
        *("application/vnd.x+json", "application/cloudevents+json; charset=utf-8"),
        *("application/json; foo=bar", " application/json ", "application/json;"),
    ],
)
def test_content_type_is_taken_when_it_is_json_in_utf_8(value: str) -> None:
    assert check_content_type(value) is None


@pytest.mark.parametrize(
    "value",
    [
        *("text/plain", "application/x-www-form-urlencoded", "application/x-ndjson", "text/json"),
        *("application/json; charset=latin-1", "application/jsonp", "application/+json/x"),
        *("multipart/form-data; boundary=x", "json", "*/*", "application/json, text/plain"),
        *("application/json; charset=utf-16", "application/<script>+xml", "x" * 10_000),
    ],
    ids=lambda value: value[:40],
)
def test_content_type_is_refused_with_the_right_header_named(value: str) -> None:
    rejected = check_content_type(value)
    assert rejected is not None
    assert rejected.error_type is ErrorType.CONTENT_TYPE_UNSUPPORTED
    assert "Send `Content-Type: application/json`" in rejected.detail
    assert len(rejected.detail) < 200
    assert "<" not in rejected.detail


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("X-GZip", "gzip"),
        (" deflate ", "deflate"),
        ("zstd", "zstd"),
    ],
)
def test_encoding_is_taken_in_any_case(value: str, encoding: Encoding | None) -> None:
    assert read_encoding(value) == encoding


@pytest.mark.parametrize(
    "value", ["br", "gzip, gzip", "gzip,identity", "compress", "gzip;q=1", "*"]
)
def test_encoding_is_refused_when_unknown_or_several(value: str) -> None:
    rejected = read_encoding(value)
    assert isinstance(rejected, Rejected)
    assert rejected.error_type is ErrorType.CONTENT_ENCODING_UNSUPPORTED
