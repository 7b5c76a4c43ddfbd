"""Lines of an NDJSON file -> batches for ``track/batch``, each event with an id of its own.

The id of a line is ``<hash>:<n>``: the first 32 hex digits of the line's SHA-256, and which
occurrence of this very line it is in the file, from 1. So sending a file again changes nothing, and
neither does sending it after it grew, was sorted or had a broken line mended; two identical lines
of one file are two events. Identical lines are told apart as long as fewer than ``REMEMBERED``
different lines lie between them (that bounds the memory), and not across files: who needs more
gives each event an ``event_id``, which is kept.

A line's text goes out as it came: the id is put in before the closing brace, nothing is encoded
anew, so that no number changes its digits.
"""

import re
from binascii import hexlify
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import msgspec

from sluice.core.errors import ErrorType
from sluice.core.event import MAX_EVENT_BYTES

REMEMBERED: Final = 2_000_000
MAX_LINE_BYTES: Final = 2 * MAX_EVENT_BYTES
"""A longer line is dropped while it is read: it is over the bound of an event whatever is in it."""

_BOM: Final = b"\xef\xbb\xbf"
_TOLERATED: Final = re.compile(rb"NaN|Infinity|\\u[dD]")
"""What the edge repairs and strict parsers refuse; only the edge can judge such a line."""
_NAMED: Final = re.compile(rb'"event_id"\s*:')
_NO_NAME: Final = (msgspec.Raw(b""), msgspec.Raw(b"null"), msgspec.Raw(b'""'))


class _Line(msgspec.Struct, gc=False):
    event_id: msgspec.Raw = msgspec.Raw(b"")


_DECODER: Final = msgspec.json.Decoder(_Line)


@dataclass(frozen=True, slots=True)
class Skip:
    """A line that is not queued, and why."""

    line: int
    """Counted from 1; 0 where it is not known which."""
    error_type: str
    detail: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one request, with the number of the line that each came from."""

    events: list[bytes]
    lines: list[int]
    is_single: bool = False
    """Goes to ``track`` alone, because the edge must judge its text."""

    def body(self) -> bytes:
        """Return the request's body."""
        if self.is_single:
            return self.events[0]
        return b'{"events":[' + b",".join(self.events) + b"]}"

    def halves(self) -> tuple["Batch", "Batch"]:
        """Return the batch in two parts; it has at least two events."""
        middle = len(self.events) // 2
        return (
            Batch(self.events[:middle], self.lines[:middle]),
            Batch(self.events[middle:], self.lines[middle:]),
        )


class LineNames:
    """Gives each line its id; remembers which lines it saw, in bounded memory."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}

    def name(self, line: bytes) -> bytes:
        """Return the id of this occurrence of the line."""
        digest = sha256(line).digest()[:16]
        count = (self._young.get(digest) or self._old.get(digest, 0)) + 1
        self._young[digest] = count
        if len(self._young) >= self._remembered:
            self._old, self._young = self._young, {}
        return b"%s:%d" % (hexlify(digest), count)


@dataclass(slots=True)
class Batcher:
    """Takes a file in blocks and yields batches; what cannot be sent is in ``skips``."""

    max_events: int
    max_bytes: int
    skips: list[Skip] = field(default_factory=list)
    """Lines that are not JSON objects; the caller takes them out."""
    line: int = field(default=0, init=False)
    """Number of the last line that was seen."""
    _names: LineNames = field(default_factory=LineNames, init=False)
    _tail: bytes = field(default=b"", init=False)
    _is_dropping: bool = field(default=False, init=False)
    _events: list[bytes] = field(default_factory=list, init=False)
    _lines: list[int] = field(default_factory=list, init=False)
    _bytes: int = field(default=0, init=False)

    def feed(self, block: bytes) -> Iterator[Batch]:
        """Yield the batches that are full now."""
        *whole, self._tail = (self._tail + block).split(b"\n")
        if whole and self._is_dropping:
            self._is_dropping = False
            whole[0] = b""  # the end of a line that was too long; it was counted when it began
            self.line -= 1
        yield from self._take_all(whole)
        if len(self._tail) > MAX_LINE_BYTES:
            if not self._is_dropping:
                self.line += 1
                self._skip(self.line, ErrorType.EVENT_TOO_LARGE, _TOO_LONG)
            self._is_dropping = True
            self._tail = b""

    def finish(self) -> Iterator[Batch]:
        """Yield what is left at the end of the file."""
        if self._tail and not self._is_dropping:
            yield from self._take_all([self._tail])
        self._tail = b""
        if self._events:
            yield self._flush()

    def _take_all(self, lines: list[bytes]) -> Iterator[Batch]:
        is_text = _is_utf8(b"\n".join(lines))
        names, max_bytes = self._names, self.max_bytes
        for raw in lines:
            self.line += 1
            line = raw.strip()
            if self.line == 1 and line.startswith(_BOM):
                line = line[len(_BOM) :]
            if not line:
                continue
            if len(line) > MAX_EVENT_BYTES:
                self._skip(self.line, ErrorType.EVENT_TOO_LARGE, _TOO_LONG)
                continue
            if not (is_text or _is_utf8(line)):
                self._skip(self.line, ErrorType.JSON_INVALID, "The line is not UTF-8.")
                continue
            try:
                own = _DECODER.decode(line).event_id
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                yield from self._doubt(line, error)
                continue
            event = _named(line, names) if own in _NO_NAME else line
            if self._events and self._bytes + len(event) > max_bytes:
                yield self._flush()
            self._events.append(event)
            self._lines.append(self.line)
            self._bytes += len(event) + 1
            if len(self._events) >= self.max_events:
                yield self._flush()

    def _doubt(self, line: bytes, error: Exception) -> Iterator[Batch]:
        is_object = line.startswith(b"{") and line.endswith(b"}")
        if is_object and _TOLERATED.search(line):
            event = line if _NAMED.search(line) else _named(line, self._names)
            yield Batch([event], [self.line], is_single=True)
        elif isinstance(error, msgspec.ValidationError):
            self._skip(self.line, ErrorType.EVENT_NOT_OBJECT, "The line is not a JSON object.")
        else:
            self._skip(self.line, ErrorType.JSON_INVALID, "The line is not JSON.")

    def _skip(self, line: int, error_type: ErrorType, detail: str) -> None:
        self.skips.append(Skip(line, error_type.value, detail))

    def _flush(self) -> Batch:
        batch = Batch(self._events, self._lines)
        self._events, self._lines, self._bytes = [], [], 0
        return batch


_TOO_LONG: Final = f"The line has more than {MAX_EVENT_BYTES} bytes."


def _named(line: bytes, names: LineNames) -> bytes:
    # Last, because the last of several keys counts: an `event_id` of null does not undo it.
    comma = b"," if line[1:-1].strip() else b""
    return b'%s%s"event_id":"%s"}' % (line[:-1], comma, names.name(line))


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
