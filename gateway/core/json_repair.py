"""The second look at a body that is not JSON: what the official Python SDK writes beyond the RFC.

``json.dumps`` writes bare ``NaN``, ``Infinity`` and ``-Infinity``, and lone surrogates as escapes.
One of them would cost a client its whole batch, so in payloads they become ``null`` and U+FFFD,
which is as close as JSON comes (reference, 4). Everything else stays byte for byte as it was sent.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

NAN: Final = "nan"
LONE_SURROGATE: Final = "lone_surrogate"
"""The reasons for which a payload is normalised."""

MAX_REPAIRS: Final = 100_000
"""Bound on what one body may make this module do; what lies past it stays, and is not JSON."""

_SUSPECT: Final = re.compile(rb"NaN|Infinity|\\u[dD][89a-fA-F]")
_BARE: Final = re.compile(rb"NaN|-?Infinity")
# A high half without a low one behind it, or a low half without a high one before it.
_LONE: Final = re.compile(
    rb"\\u[dD](?:"
    rb"[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})|"
    rb"(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)

_NULL: Final = b"null"
_NULL_MARK: Final = b"1e99"
_REPLACEMENT: Final = rb"\ufffd"
_REPLACEMENT_MARK: Final = rb"\u0000"


@dataclass(frozen=True, slots=True)
class Repaired:
    """Two texts of one length that differ only where something was replaced."""

    text: bytes
    """What is kept: ``null`` and ``\\ufffd``."""
    marked: bytes
    """The same with a number and ``\\u0000``, which no field but the payload takes: a broken
    ``user_id`` must not pass for a good one."""
    bare: tuple[tuple[int, int], ...]
    """Where the bare words stood in the original; surrogates keep their length and place."""

    def original_offset(self, offset: int) -> int:
        """Return where in the original the byte at ``offset`` of ``text`` came from."""
        grown = 0
        for start, end in self.bare:
            if start + grown >= offset:
                break
            grown += len(_NULL) - (end - start)
        return offset - grown


def repair(text: bytes) -> Repaired | None:
    """Return the text with its tolerated faults replaced; None if it has none of them.

    The result may still not be JSON: only what is named above is replaced, wherever it stands.
    """
    if not _SUSPECT.search(text):
        return None
    # Without these two escapes every quote opens or closes a string, and every \u is an escape.
    # Lengths stay, so places found here are places in the text.
    plain = text.replace(b"\\\\", b"..").replace(b'\\"', b"..")
    bare = tuple(_bare_words(plain))
    lone = [match.span() for match in islice(_LONE.finditer(plain), MAX_REPAIRS)]
    if not (bare or lone):
        return None
    return Repaired(
        _replaced(text, bare, _NULL, lone, _REPLACEMENT),
        _replaced(text, bare, _NULL_MARK, lone, _REPLACEMENT_MARK),
        bare,
    )


def reasons(kept: bytes, marked: bytes) -> tuple[str, ...]:
    """Return why a payload was normalised, from the same stretch of both repaired texts."""
    if kept == marked:
        return ()
    # A mark differs from what is kept, so each replacement changes the count by one.
    found = {
        NAN: kept.count(_NULL) != marked.count(_NULL),
        LONE_SURROGATE: kept.count(_REPLACEMENT) != marked.count(_REPLACEMENT),
    }
    return tuple(reason for reason, is_found in found.items() if is_found)


def _bare_words(plain: bytes) -> Iterator[tuple[int, int]]:
    seen, quotes = 0, 0
    for match in islice(_BARE.finditer(plain), MAX_REPAIRS):
        quotes += plain.count(b'"', seen, match.start())
        seen = match.start()
        if quotes % 2 == 0:
            yield match.span()


def _replaced(
    text: bytes,
    bare: tuple[tuple[int, int], ...],
    word: bytes,
    lone: list[tuple[int, int]],
    escape: bytes,
) -> bytes:
    mended = bytearray(text)
    for start, end in lone:
        mended[start:end] = escape
    pieces = []
    seen = 0
    for start, end in bare:
        pieces.append(mended[seen:start])
        seen = end
    pieces.append(mended[seen:])
    return word.join(pieces)
