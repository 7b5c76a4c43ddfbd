"""Requests that say the same as one before, but for their body.

A client that keeps its connection open sends the same head again and again; only the length of the
body differs. Such a head means what it meant when the parser read it, byte for byte, so it need not
be read again: its *shape* is all of it but the digits of its Content-Length.
"""

from typing import Final

from multidict import CIMultiDictProxy

MAX_LENGTH_DIGITS: Final = 7
END_OF_HEAD: Final = b"\r\n\r\n"
_NAMES: Final = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
"""The two ways in which nearly all clients write it."""

OTHERWISE: Final = frozenset(
    {
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "idempotency-key",
        "origin",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    }
)
"""Headers that decide what becomes of an event; what is not among them is not looked at."""


def split_request(data: bytes) -> tuple[bytes, int, int] | None:
    """Return the shape of the head that data begins with, where its body begins, and its length.

    None where there is no whole head, or where its length is not written as nearly everybody does.
    """
    end = data.find(END_OF_HEAD)
    if end < 0:
        return None
    for name in _NAMES:
        at = data.find(name, 0, end)
        if at >= 0:
            at += len(name)
            stop = data.find(b"\r", at, end + 1)
            digits = data[at:stop]
            if not digits.isdigit() or len(digits) > MAX_LENGTH_DIGITS or digits[0] == ord("0"):
                return None
            return data[:at] + data[stop:end], end + len(END_OF_HEAD), int(digits)
    return None


def is_plain(headers: "CIMultiDictProxy[str]", *, may_be_gzip: bool = False) -> bool:
    """Whether of the headers that decide something only the three are there that every event has.

    The type must be there as it should be, or not at all; the key is looked at apart. With
    ``may_be_gzip`` the header that says so may be there, too.
    """
    told = [name.lower() for name, _ in headers.items() if name.lower() in OTHERWISE]
    allowed = {"authorization", "content-length", "content-type"}
    if may_be_gzip and headers.get("Content-Encoding") == "gzip":
        allowed.add("content-encoding")
    return (
        len(told) == len(set(told))
        and {"authorization", "content-length"} <= set(told)
        and set(told) <= allowed
        and headers.get("Content-Type", "") in {"", "application/json"}
    )
