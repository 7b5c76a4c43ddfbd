"""Bytes that claim to be JSON: opened whole, or refused with the place where they are not."""

import re
from codecs import utf_8_decode
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.core.json_repair import Repaired, repair
from sluice.core.errors import ErrorType, Rejected

MAX_DEPTH: Final = 1000

_PIECE_BYTES: Final = 16_384
_BOM: Final = b"\xef\xbb\xbf"
_GRAMMAR: Final = msgspec.json.Decoder(msgspec.Raw)
_PLACE: Final = re.compile(r"\(byte (\d+)\)")


@dataclass(frozen=True, slots=True)
class Opened:
    """Valid JSON in two texts of one length, which differ only if something was repaired."""

    text: bytes
    marked: bytes
    """What to read every field but the payload from (see ``Repaired.marked``)."""

    @property
    def is_repaired(self) -> bool:
        """Whether the text is not what the client sent."""
        return self.text is not self.marked


def without_bom(body: bytes) -> bytes | Rejected:
    """Return a body as UTF-8 text without its byte order mark; refuse an empty one."""
    text = body.removeprefix(_BOM)
    if not text or text.isspace():
        return Rejected(ErrorType.BODY_EMPTY, "The body is empty; send a JSON object.")
    if not text.isascii():
        # msgspec does not look at the bytes inside of strings that it leaves as they are.
        fault = _first_fault_of_utf8(text)
        if fault is not None:
            return not_json(text, fault)
    return text


def _first_fault_of_utf8(text: bytes) -> int | None:
    # Piece by piece, because a large text that is thrown away at once costs several times as much
    # in fresh memory as in decoding.
    view = memoryview(text)
    at = 0
    while at < len(view):
        piece = view[at : at + _PIECE_BYTES]
        try:
            _, length = utf_8_decode(piece, "strict", at + len(piece) == len(view))
        except UnicodeDecodeError as error:
            return at + error.start
        at += length
    return None


def open_json(text: bytes) -> Opened | Rejected:
    """Check the grammar of UTF-8 text; repair what is tolerated (reference, 4).

    Raises:
        RecursionError: It is nested deeper than the parser goes; see ``too_deep``.
    """
    wrong_at = first_fault(text)
    if wrong_at is None:
        return Opened(text, text)
    repaired = repair(text)
    if repaired is None:
        return not_json(text, wrong_at)
    return _open_repaired(text, repaired)


def _open_repaired(text: bytes, repaired: Repaired) -> Opened | Rejected:
    wrong_at = first_fault(repaired.text)
    if wrong_at is None:
        return Opened(repaired.text, repaired.marked)
    return not_json(text, repaired.original_offset(wrong_at))


def first_fault(text: bytes) -> int | None:
    """Return the offset at which a text stops being JSON; None where it is JSON."""
    try:
        _GRAMMAR.decode(text)
    except msgspec.DecodeError as error:
        message = str(error)
        place = _PLACE.search(message)
        if place is None:
            return len(text)  # it ends too early
        # Behind the end of the value, msgspec counts the character that it has just read.
        return int(place[1]) - ("trailing characters" in message)
    return None


def not_json(text: bytes, offset: int) -> Rejected:
    """Return the refusal of a text that stops being JSON at a byte."""
    line_start = text.rfind(b"\n", 0, offset) + 1
    line = text.count(b"\n", 0, offset) + 1
    column = len(text[line_start:offset].decode(errors="replace")) + 1
    return Rejected(ErrorType.JSON_INVALID, f"Not JSON at line {line}, column {column}.")


def too_deep() -> Rejected:
    """Return the refusal of a text that is nested deeper than the parser goes."""
    return Rejected(
        ErrorType.JSON_TOO_DEEP, f"The JSON is nested more than {MAX_DEPTH} levels deep."
    )
