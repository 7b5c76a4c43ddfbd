"""HTTP content encodings, portion by portion: nothing here holds a whole body."""

import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import lz4.frame
import zstandard

from sluice.warehouse.server.errors import StatementError, not_supported

PORTION: Final = 256 * 1024


class Decoder(Protocol):
    """Turns portions of an encoded body into portions of the plain one."""

    def feed(self, data: bytes) -> bytes:
        """Return what ``data`` decodes to so far."""
        ...

    def finish(self) -> None:
        """Say that nothing follows; raises StatementError where something is missing."""
        ...


class Encoder(Protocol):
    """Turns portions of a plain body into portions of the encoded one."""

    def feed(self, data: bytes) -> bytes:
        """Return what can be sent so far."""
        ...

    def finish(self) -> bytes:
        """Return what is left."""
        ...


def undecodable(what: str) -> StatementError:
    """Return the refusal of a body that is not what it is said to be."""
    return StatementError(117, "INCORRECT_DATA", f"The body is not {what}")


class _Members:
    """A decoder of streams that may stand one behind the other (gzip members, frames)."""

    def __init__(self, name: str, make: Callable[[], object]) -> None:
        self._name = name
        self._make = make
        self._current: object | None = None

    def feed(self, data: bytes) -> bytes:
        plain = []
        while data:
            current = self._current = self._current or self._make()
            try:
                plain.append(current.decompress(data))  # type: ignore[attr-defined]  # one of three
            except (zlib.error, zstandard.ZstdError, RuntimeError, EOFError) as error:
                raise undecodable(f"{self._name}: {error}") from None
            data = b""
            if current.eof:  # type: ignore[attr-defined]
                data = current.unused_data or b""  # type: ignore[attr-defined]
                self._current = None
        return b"".join(plain)

    def finish(self) -> None:
        if self._current is not None:
            raise undecodable(f"whole: the {self._name} stream breaks off")


class _Plain:
    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> None:
        return None


def decoder(encoding: str) -> Decoder:
    """Return a decoder for a Content-Encoding.

    Raises:
        StatementError: It is none that this server knows.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return _Plain()
        case "gzip" | "x-gzip":
            return _Members("gzip", lambda: zlib.decompressobj(31))
        case "deflate":
            return _Members("deflate", zlib.decompressobj)
        case "zstd":
            # One context for all frames: each of its own would touch its memory for the first time.
            return _Members("zstd", zstandard.ZstdDecompressor().decompressobj)
        case "lz4":
            return _Members("lz4", lz4.frame.LZ4FrameDecompressor)
        case other:
            raise not_supported(f"Content-Encoding {other[:40]!r}: use gzip, deflate, zstd or lz4")


class _Zlib:
    def __init__(self, window: int) -> None:
        self._compressor = zlib.compressobj(1, zlib.DEFLATED, window)

    def feed(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def finish(self) -> bytes:
        return self._compressor.flush()


class _Zstd:
    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=1).compressobj()

    def feed(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def finish(self) -> bytes:
        return self._compressor.flush()


class _Lz4:
    def __init__(self) -> None:
        self._compressor = lz4.frame.LZ4FrameCompressor()
        self._head = bytes(self._compressor.begin())

    def feed(self, data: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._compressor.compress(data))

    def finish(self) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._compressor.flush())


_ENCODERS: Final[dict[str, Callable[[], Encoder]]] = {
    "lz4": _Lz4,
    "zstd": _Zstd,
    "gzip": lambda: _Zlib(31),
    "deflate": lambda: _Zlib(15),
}
"""Cheapest first: both ends are on one machine."""


def choose_encoding(accept: str) -> str | None:
    """Return the encoding to answer with, or None for none; ``q=0`` means no."""
    offered = {
        name.strip().lower()
        for name, _, quality in (part.partition(";") for part in accept.split(","))
        if quality.replace(" ", "") not in ("q=0", "q=0.0")
    }
    return next((name for name in _ENCODERS if name in offered), None)


def encoder(encoding: str) -> Encoder:
    """Return an encoder for one of the names that ``choose_encoding`` gives."""
    return _ENCODERS[encoding]()


def portions(data: bytes) -> Iterator[bytes]:
    """Yield ``data`` in portions of at most ``PORTION`` bytes."""
    for at in range(0, len(data), PORTION):
        yield data[at : at + PORTION]
