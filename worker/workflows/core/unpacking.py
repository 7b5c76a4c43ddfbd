"""Decompresses an answer's body piece by piece, and tells a bomb from a body while it grows."""

from typing import Final

from sluice.core.streams import MAX_ZSTD_FRAMES, STREAM_ERRORS, Encoding, Stream, open_stream

ACCEPTED: Final = "gzip, deflate, zstd"
MAX_PIECE_BYTES: Final = 256 * 1024
MAX_RATIO: Final = 200
"""Of inflated to compressed bytes; tables of numbers come to 20."""
FREE_BYTES: Final = 1024 * 1024
"""Inflated bytes before which the ratio does not count."""
MAX_MEMBERS: Final = MAX_ZSTD_FRAMES


class BadBodyError(ValueError):
    """The body is refused; the words hold nothing of it."""


class Unpacker:
    """One body: ``feed`` it, ``take`` until nothing comes, ``finish`` at the end."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._stream: Stream | None = None
        self._waiting = b""
        self._members = 0
        self._fed = 0
        self._given = 0

    def feed(self, data: bytes) -> None:
        """Add compressed bytes."""
        self._waiting += data
        self._fed += len(data)

    def take(self) -> bytes:
        """Return at most ``MAX_PIECE_BYTES`` of what can be inflated now; empty: feed more.

        Raises:
            BadBodyError: It is not what its header says, or it is a bomb.
        """
        while True:
            stream = self._opened()
            if stream is None:
                return b""
            try:
                piece, self._waiting = stream.inflate(self._waiting, MAX_PIECE_BYTES)
            except STREAM_ERRORS as error:
                raise BadBodyError(f"its body is not the {self._encoding} it says") from error
            if stream.is_done:
                self._waiting = stream.rest
            self._given += len(piece)
            if self._given > FREE_BYTES and self._given > MAX_RATIO * self._fed:
                message = f"its body grows more than {MAX_RATIO} times when it is decompressed"
                raise BadBodyError(message)
            if piece or not stream.is_done or not self._waiting:
                return piece

    def finish(self) -> None:
        """Say that the last byte was fed and everything taken.

        Raises:
            BadBodyError: The stream has not reached its end.
        """
        if self._waiting or (self._stream is not None and not self._stream.is_done):
            raise BadBodyError(f"its {self._encoding} body ends too early")

    def _opened(self) -> Stream | None:
        """Return the stream that takes what waits; None if that cannot be told yet."""
        if self._stream is not None and not self._stream.is_done:
            return self._stream
        if len(self._waiting) < 2:
            return None
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise BadBodyError(f"its body has more than {MAX_MEMBERS:,} parts")
        self._stream = open_stream(self._encoding, self._waiting)
        return self._stream


def encoding_of(header: str) -> Encoding | None:
    """Return how a body is compressed; None: it is not.

    Raises:
        BadBodyError: It is compressed in a way that was not asked for, or twice.
    """
    names = [one.strip().lower() for one in header.split(",")]
    codes = [one for one in names if one not in ("", "identity")]
    if not codes:
        return None
    match codes:
        case ["gzip" | "x-gzip"]:
            return "gzip"
        case ["deflate"]:
            return "deflate"
        case ["zstd"]:
            return "zstd"
        case _:
            raise BadBodyError(
                f"its body is compressed as {', '.join(codes)[:50]!r}; one of {ACCEPTED} is taken"
            )
