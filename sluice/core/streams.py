"""Compressed streams that give at most as much as is asked for at a time."""

import sys
import zlib
from typing import Final, Literal, Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Encoding = Literal["gzip", "deflate", "zstd"]

MAX_ZSTD_FRAMES: Final = 1000
"""Bound on the frames of one body: a frame costs time even if it is empty."""

_ZSTD_WINDOW_LOG: Final = 23
"""Window of 8 MiB, the most that a decoder should be asked for (RFC 8878, 3.1.1.1.2)."""

STREAM_ERRORS: Final = (zlib.error, zstd.ZstdError)


class Stream(Protocol):
    """One compressed stream."""

    @property
    def is_done(self) -> bool:
        """Whether the stream has reached its end."""

    @property
    def rest(self) -> bytes:
        """What came behind the end of the stream."""

    def inflate(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        """Return at most ``limit`` bytes, and the part of ``data`` to hand in again."""


class _ZlibStream:
    """gzip (one member), zlib or raw deflate, by the ``wbits`` of zlib."""

    def __init__(self, wbits: int) -> None:
        self._stream = zlib.decompressobj(wbits)

    @property
    def is_done(self) -> bool:
        return self._stream.eof

    @property
    def rest(self) -> bytes:
        return self._stream.unused_data

    def inflate(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        return self._stream.decompress(data, limit), self._stream.unconsumed_tail


class _ZstdStream:
    """One zstd frame; it keeps by itself what it did not get to."""

    def __init__(self) -> None:
        self._stream = zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        )

    @property
    def is_done(self) -> bool:
        return self._stream.eof

    @property
    def rest(self) -> bytes:
        return self._stream.unused_data

    def inflate(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        return self._stream.decompress(data, limit), b""


def open_stream(encoding: Encoding, start: bytes) -> Stream:
    """Return the stream that bytes begin; deflate shows by its first two which of two it is."""
    match encoding:
        case "zstd":
            return _ZstdStream()
        case "gzip":
            return _ZlibStream(16 + zlib.MAX_WBITS)
        case "deflate":
            return _ZlibStream(zlib.MAX_WBITS if _has_zlib_header(start) else -zlib.MAX_WBITS)


def _has_zlib_header(data: bytes) -> bool:
    # RFC 1950, 2.2: method 8, and the first two bytes are a multiple of 31.
    return data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
