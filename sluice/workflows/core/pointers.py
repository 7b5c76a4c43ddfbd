"""JSON Pointer (RFC 6901) into JSON values."""

from typing import Final


class Absent:
    """The type of ``ABSENT``."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()
"""What an expression gives when there is nothing: not the same as null."""


def parts_of(pointer: str) -> list[str]:
    """Return the unescaped steps of a pointer; "" has none."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def step_into(value: object, part: str) -> object:
    """Return a member or an element of a value, or ``ABSENT``."""
    if isinstance(value, dict):
        return value.get(part, ABSENT)
    if isinstance(value, list) and part.isdecimal() and (part == "0" or part[0] != "0"):
        at = int(part) if len(part) < 10 else len(value)
        return value[at] if at < len(value) else ABSENT
    return ABSENT


def follow(value: object, pointer: str) -> object:
    """Return what a pointer leads to, or ``ABSENT``."""
    for part in parts_of(pointer):
        value = step_into(value, part)
    return value


def replaced(value: object, pointer: str, new: object) -> object:
    """Return a copy of a value in which a pointer leads to ``new``.

    Objects and arrays on the way are copied, a missing member is made, ``-`` appends; ``ABSENT``
    where the way does not exist.
    """
    return _replaced(value, parts_of(pointer), new)


def _replaced(value: object, parts: list[str], new: object) -> object:
    if not parts:
        return new
    head, rest = parts[0], parts[1:]
    if isinstance(value, list) and head == "-" and not rest:
        return [*value, new]
    inner = step_into(value, head)
    if inner is ABSENT and (rest or not isinstance(value, dict)):
        return ABSENT
    changed = _replaced(inner, rest, new)
    if changed is ABSENT:
        return ABSENT
    if isinstance(value, list):
        return [*value[: int(head)], changed, *value[int(head) + 1 :]]
    return {**value, head: changed} if isinstance(value, dict) else ABSENT
