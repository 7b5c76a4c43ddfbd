"""Quick looks at a whole column of a batch, at a fraction of what its values cost one by one.

Each is stricter than the rules (``event_rules``): what passes is good as it stands; what does not
may still be good, and the rules decide.
"""

from collections.abc import Sequence
from typing import Final, TypeGuard

import msgspec

from gateway.core.event_rules import is_event_type
from sluice.core.errors import ErrorType
from sluice.core.event import MAX_PAYLOAD_DEPTH

_SEPARATOR: Final = "|"
_NOT_TEXT: Final = b"\xff"
"""Separates texts whose every character may be anything: it is no part of UTF-8."""
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"{[" + _NOT_TEXT))
_TOO_MANY: Final = b"{" * (MAX_PAYLOAD_DEPTH + 1)
_GREATEST: Final = bytearray(b"{")
"""No JSON text is as great as one that begins so, but objects. A ``bytearray``, because only that
compares itself with a ``Raw`` as it stands."""


def are_plain_ids(values: Sequence[object], *, limit: int) -> TypeGuard[Sequence[str]]:
    """Whether every value is a text of 1 to ``limit`` printable characters, the first no space."""
    try:
        together = _SEPARATOR.join(values)  # type: ignore[arg-type]  # what is no text raises
    except TypeError:
        return False
    return (
        all(values)
        and together.isprintable()
        and together[0] != " "
        and _SEPARATOR + " " not in together
        and max(map(len, values)) <= limit  # type: ignore[arg-type]  # they are texts by now
    )


def are_plain_or_missing(
    values: Sequence[object], *, limit: int
) -> TypeGuard[Sequence[str | None]]:
    """As ``are_plain_ids``, of the values that are not None."""
    if values.count(None) == len(values):
        return True
    return are_plain_ids([value for value in values if value is not None], limit=limit)


def are_event_types(values: Sequence[str | None], *, strict: bool) -> TypeGuard[Sequence[str]]:
    """Whether every value may be an event type; a batch has only a few different ones."""
    return all(value and is_event_type(value, strict=strict) for value in set(values))


def are_times(values: Sequence[str | ErrorType | None]) -> TypeGuard[Sequence[str | None]]:
    """Whether none of the times that were parsed is wrong."""
    return ErrorType not in map(type, values)


def joined(payloads: Sequence[bytes | msgspec.Raw]) -> bytes:
    """Return JSON texts in one piece, for looks at all of them at once."""
    return _NOT_TEXT.join(payloads)


def are_shallow_objects(payloads: Sequence[bytes | msgspec.Raw], together: bytes) -> bool:
    """Whether every JSON text is an object that cannot be nested too deep.

    Args:
        payloads: The texts.
        together: What ``joined`` makes of them.
    """
    if not all(map(_GREATEST.__le__, payloads)):
        return False
    # What opens nothing is dropped from all at once; what is left is short.
    opened = together.translate(None, _NO_BRACKET).replace(b"[", b"{")
    return _TOO_MANY not in opened


def is_on_one_line(text: bytes) -> bool:
    """Whether nothing in a text ends a line."""
    return b"\n" not in text and b"\r" not in text
