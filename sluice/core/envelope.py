"""Rows to envelopes and back. This module alone knows the wire format (design, decision 4).

An envelope is what one queue message carries: rows of one kind, each a JSON object on a line of its
own ended by a line feed, in exactly the shape that ClickHouse ingests as JSONEachRow, as one zstd
frame. Frames put behind each other are a valid zstd stream, so the warehouse consumer can pass
bodies on without decoding them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal, get_args

import msgspec
import zstandard

from sluice.core.trace_context import pack_contexts

MAX_BODY_BYTES: Final = 1_000_000
"""Bound on the rows of one envelope before compression (Pub/Sub itself takes 10 MB)."""
MAX_RAW_BYTES: Final = 2 * MAX_BODY_BYTES
"""Nothing that is received may announce more: it bounds what is allocated for one message."""
ZSTD_LEVEL: Final = 1

Kind = Literal["events", "errors", "commands"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
OldKind = Literal["runs"]
"""Privacy requests as they were published before there were commands; still read."""
READABLE_KINDS: Final[tuple[Kind | OldKind, ...]] = (*KINDS, *get_args(OldKind))

_ENCODER: Final = msgspec.json.Encoder()
_IDLE: Final[list[zstandard.ZstdCompressor]] = []
"""Compressors that nobody uses now, at most as many as threads that ever compressed at once. To
make one costs as much as to compress 15 KB, and one may be used by one thread at a time."""


class Rows(msgspec.Struct, frozen=True):
    """Encoded rows of one kind, not yet compressed: what waits for the next group commit."""

    kind: Kind
    count: int
    data: bytes
    """NDJSON; every row, also the last, ends with a line feed."""
    traces: tuple[str, ...] = ()
    """Contexts of the sampled requests that they came with (``trace_context.carried_text``)."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Many rows in one queue message."""

    envelope_id: str
    """UUID text; the same after a redelivery and after a publish whose answer was lost."""
    kind: Kind | OldKind
    count: int
    raw_bytes: int
    """Size of the rows before compression."""
    body: bytes
    """One or more zstd frames."""
    traces: str = ""
    """Contexts of sampled requests that rows came with (``trace_context.pack_contexts``)."""


class EnvelopeError(ValueError):
    """A body that is not what the wire format says; the text says what is wrong."""


def encode(kind: Kind, structs: Sequence[Any], *, max_bytes: int = MAX_BODY_BYTES) -> list[Rows]:
    """Return rows in order, split so that none is over ``max_bytes`` unless one row alone is.

    The edge bounds a single event far below ``max_bytes``, so the exception does not arise there.
    """
    data = _ENCODER.encode_lines(structs)
    if len(data) <= max_bytes:
        return [Rows(kind, len(structs), data)] if data else []
    return [
        Rows(kind, piece.count(b"\n"), piece) for piece in _cut_at_rows(data, max_bytes=max_bytes)
    ]


def _cut_at_rows(data: bytes, *, max_bytes: int) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + max_bytes) + 1
        if end == 0:  # not even one row fits: it goes alone
            end = data.index(b"\n", start) + 1
        yield data[start:end]
        start = end


def gather(waiting: Iterable[Rows], *, max_bytes: int = MAX_BODY_BYTES) -> list[Rows]:
    """Join rows of the same kind, in order, into as few bodies of at most ``max_bytes`` as fit."""
    joined: list[Rows] = []
    open_parts: dict[Kind, list[Rows]] = {}
    sizes: dict[Kind, int] = {}
    for rows in waiting:
        parts = open_parts.setdefault(rows.kind, [])
        size = sizes.get(rows.kind, 0)
        if parts and size + len(rows.data) > max_bytes:
            joined.append(_join(parts))
            parts.clear()
            size = 0
        parts.append(rows)
        sizes[rows.kind] = size + len(rows.data)
    joined.extend(_join(parts) for parts in open_parts.values() if parts)
    return joined


def _join(parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    return Rows(
        parts[0].kind,
        sum(part.count for part in parts),
        b"".join(part.data for part in parts),
        tuple(trace for part in parts if part.traces for trace in part.traces),
    )


def seal(rows: Rows, *, envelope_id: str) -> Envelope:
    """Compress rows into an envelope. Costs about 1 ms a megabyte: call it off the event loop."""
    return Envelope(
        envelope_id=envelope_id,
        kind=rows.kind,
        count=rows.count,
        raw_bytes=len(rows.data),
        body=_compress(rows.data),
        traces=pack_contexts(rows.traces) if rows.traces else "",
    )


def _compress(data: bytes) -> bytes:
    try:
        compressor = _IDLE.pop()
    except IndexError:
        compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    body = compressor.compress(data)
    _IDLE.append(compressor)
    return body


def unseal(envelope: Envelope) -> bytes:
    """Return the rows of an envelope as NDJSON.

    Raises:
        EnvelopeError: The body is not whole zstd frames, or not ``raw_bytes`` long.
    """
    # The frames of one envelope say their sizes; the announced total bounds what is allocated.
    try:
        with zstandard.ZstdDecompressor().stream_reader(
            envelope.body, read_across_frames=True
        ) as reader:
            data = reader.read(envelope.raw_bytes + 1)
    except zstandard.ZstdError as error:
        message = f"envelope {envelope.envelope_id}: the body is not zstd"
        raise EnvelopeError(message) from error
    if len(data) != envelope.raw_bytes:
        message = (
            f"envelope {envelope.envelope_id}: {envelope.raw_bytes} bytes were announced, "
            f"the body does not hold exactly these"
        )
        raise EnvelopeError(message)
    return data


def split(data: bytes) -> list[bytes]:
    """Return the rows of a body, each without its line feed."""
    return data.removesuffix(b"\n").split(b"\n") if data else []
