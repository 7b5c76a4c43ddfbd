"""Which runs a list has, as the warehouse and the API both understand it."""

from typing import Final

import msgspec

FOREVER_MS: Final = 9_214_646_400_000
"""2262: after every time that a column can hold."""


class RunFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds in milliseconds since 1970, from inclusive, to exclusive."""

    created_from: int = 0
    created_to: int = FOREVER_MS
    ended_from: int = 0
    ended_to: int = FOREVER_MS
    is_ended: bool = False
    """Whether only runs that ended are asked for."""
    states: tuple[str, ...] | None = None
    """States, and ``retrying`` for runs in progress with a step up for retry; None: all."""
    type: str | None = None
    """In lower case; None: all."""


class Position(msgspec.Struct, frozen=True):
    """The last run of a page; the next page begins behind it."""

    created_ms: int
    run_id: str
