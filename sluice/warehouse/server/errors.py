"""ClickHouse's errors as this server answers them: a number, a name, a sentence, an HTTP status."""

import re
from typing import Final

_CODE: Final = re.compile(r"Code: (\d+)\. DB::Exception: ")
_TAIL: Final = re.compile(r"(?:\.? ?\((?P<name>[A-Z][A-Z0-9_]+)\)| ?\(version [^()]*\))\s*$")

_BAD_REQUEST: Final = (
    "6 25 26 27 38 41 72 675 676 677 376 427 36 15 44 16 8 162 221 224 347 62 117 53 321"
)
_NOT_FOUND: Final = "60 46 47 50 56 81 115 63 73 83 84 511"
_UNAVAILABLE: Final = "209 76 439 202"

STATUSES: Final[dict[int, int]] = {
    194: 401,
    **dict.fromkeys((192, 193, 516, 512, 497), 403),
    **dict.fromkeys(map(int, _BAD_REQUEST.split()), 400),
    **dict.fromkeys(map(int, _NOT_FOUND.split()), 404),
    66: 413,
    48: 501,
    **dict.fromkeys(map(int, _UNAVAILABLE.split()), 503),
    381: 411,
    159: 408,
}
"""Statuses that are not 500 (ClickHouse, ``exceptionCodeToHTTPStatus.cpp``).

One differs on purpose: 202, too many statements at once, is 503 here so that clients try again.
"""


class StatementError(Exception):
    """A refused or failed statement.

    Args:
        code: ClickHouse's own error number.
        name: Its name in capitals, empty where the engine gave none.
        message: What is wrong, without code, name and version around it.
    """

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(code, name, message)
        self.code = code
        self.name = name
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status that a ClickHouse server answers with."""
        return STATUSES.get(self.code, 500)

    def text(self, version: str) -> str:
        """Return the body of the answer, as a ClickHouse server words it."""
        name = f" ({self.name})" if self.name else ""
        return f"Code: {self.code}. DB::Exception: {self.message}.{name} (version {version})\n"


def parse_engine_error(text: str) -> StatementError:
    """Return what the engine says; it wraps errors, several times, and adds versions to them."""
    head = _CODE.search(text)
    if head is None:
        return StatementError(1000, "", text.strip() or "The engine gave no reason")
    rest = text[head.end() :]
    while again := _CODE.match(rest):
        head, rest = again, rest[again.end() :]
    name = ""
    while tail := _TAIL.search(rest):
        name, rest = tail["name"] or name, rest[: tail.start()]
    return StatementError(int(head[1]), name, rest.strip().rstrip("."))


def not_supported(what: str) -> StatementError:
    """Return ClickHouse's NOT_IMPLEMENTED for something that this server leaves out."""
    return StatementError(48, "NOT_IMPLEMENTED", what)


def bad_argument(what: str) -> StatementError:
    """Return ClickHouse's BAD_ARGUMENTS."""
    return StatementError(36, "BAD_ARGUMENTS", what)


def too_busy(lane: str, waiting: int) -> StatementError:
    """Return ClickHouse's TOO_MANY_SIMULTANEOUS_QUERIES for a lane whose queue is full."""
    what = f"Too many simultaneous queries for {lane}: {waiting} are waiting already"
    return StatementError(202, "TOO_MANY_SIMULTANEOUS_QUERIES", what)
