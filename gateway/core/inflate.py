"""Decompression of request bodies in steps, so that none can grow past its bound.

A bomb is stopped when it has grown one byte too large, not after it was inflated; only the inflated
part is held. The caller chooses how much one step may do, since a step holds up the thread.
"""

from typing import Final

from sluice.core.streams import MAX_ZSTD_FRAMES, STREAM_ERRORS, Encoding, Stream, open_stream

__all__ = ["MAX_ZSTD_FRAMES", "Encoding", "InflatedTooLargeError", "Inflater", "UndecodableError"]

_STEP_BYTES: Final = 65_536


class UndecodableError(ValueError):
    """The bytes are not one whole stream in the encoding that was announced."""


class InflatedTooLargeError(ValueError):
    """The body is larger than its bound once inflated."""


class Inflater:
    """One body: ``feed`` it, ``step`` until there is nothing left to do, ``finish`` at the end."""

    def __init__(self, encoding: Encoding, *, max_bytes: int) -> None:
        self._encoding = encoding
        self._max_bytes = max_bytes
        self._stream: Stream | None = None
        self._frames = 0
        self._waiting = b""
        self._body: bytes | bytearray = b""
        """One piece as it came, which a small body is, or several behind each other."""

    @property
    def held_bytes(self) -> int:
        """How much is held, compressed and inflated."""
        return len(self._waiting) + len(self._body)

    def feed(self, data: bytes) -> None:
        """Take more compressed bytes; they wait for ``step``."""
        self._waiting = self._waiting + data if self._waiting else data

    def step(self, limit: int = _STEP_BYTES) -> bool:
        """Inflate at most ``limit`` bytes of what waits; return whether there may be more to do.

        Raises:
            UndecodableError: It is not what was announced, or something stands behind the end.
            InflatedTooLargeError: The body is over its bound.
        """
        stream = self._open_stream()
        if stream is None:
            return False
        limit = min(limit, self._max_bytes + 1 - len(self._body))
        try:
            piece, self._waiting = stream.inflate(self._waiting, limit)
        except STREAM_ERRORS as error:
            raise UndecodableError(self._encoding) from error
        if not self._body:
            self._body = piece
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += piece
        if len(self._body) > self._max_bytes:
            raise InflatedTooLargeError(self._encoding)
        if stream.is_done:
            self._waiting = stream.rest
            return bool(self._waiting)
        # A full piece may have cut off something that the stream still holds.
        return len(piece) == limit

    def run(self) -> None:
        """Inflate all that waits; raises what ``step`` raises."""
        while self.step():
            pass

    def finish(self) -> bytes:
        """Return the body after the last byte was fed.

        Raises:
            UndecodableError: The stream has not reached its end.
            InflatedTooLargeError: The body is over its bound.
        """
        self.run()
        if self._waiting or (self._stream is not None and not self._stream.is_done):
            raise UndecodableError(self._encoding)
        return bytes(self._body)

    def _open_stream(self) -> Stream | None:
        """Return the stream that takes what waits; None if that cannot be told yet."""
        if self._stream is None:
            if len(self._waiting) < 2:  # deflate shows by its second byte which of the two it is
                return None
            self._stream = self._new_stream()
        elif self._stream.is_done:
            if not self._waiting:
                return None
            self._stream = self._new_stream()
        return self._stream

    def _new_stream(self) -> Stream:
        self._frames += 1
        if self._frames > (MAX_ZSTD_FRAMES if self._encoding == "zstd" else 1):
            raise UndecodableError(self._encoding)
        return open_stream(self._encoding, self._waiting)
