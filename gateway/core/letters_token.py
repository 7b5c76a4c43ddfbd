"""Where the next page of dead letters starts, as clients send it back.

It is not signed: whatever it says, the query is bound to the tenant of the token.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final
from uuid import UUID

from sluice.core.errors import ErrorType, Rejected

MAX_TOKEN_CHARS: Final = 200
_DESTINATION: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_TOKEN: Final = re.compile(r"([0-9]{1,18}) ([0-9a-f-]{36}) ([a-z0-9_-]{0,64})", re.ASCII)


def parse_destination(text: str | None) -> str | Rejected:
    """Return whose letters are wanted; empty, as when missing, means all."""
    if not text or _DESTINATION.fullmatch(text):
        return text or ""
    detail = "Use the name of a destination, such as amplitude."
    return Rejected(ErrorType.PARAMETER_INVALID, detail, field="destination")


def write_token(dead_at_us: int, letter_id: str, destination: str) -> str:
    """Return the token of a page that starts behind a letter."""
    return urlsafe_b64encode(f"{dead_at_us} {letter_id} {destination}".encode()).decode()


def read_token(text: str | None, destination: str) -> tuple[int, str] | Rejected | None:
    """Return time (unix microseconds) and id of the letter before the page; None of the first.

    Args:
        text: What was sent, if anything.
        destination: Whose letters are asked for now: those of another list start elsewhere.
    """
    if not text:
        return None
    match = _TOKEN.fullmatch(_decoded(text))
    if match is not None and match[3] == destination and _is_uuid(match[2]):
        return int(match[1]), match[2]
    detail = "Send the next_token of the page before, with the same destination."
    return Rejected(ErrorType.PARAMETER_INVALID, detail, field="next_token")


def _decoded(text: str) -> str:
    if len(text) > MAX_TOKEN_CHARS or not text.isascii():
        return ""
    try:
        return urlsafe_b64decode(text).decode("ascii")
    except ValueError:
        return ""


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
