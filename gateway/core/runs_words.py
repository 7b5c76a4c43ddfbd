"""How values that clients sent are shown to them again, and the states of runs in any spelling."""

import re
from collections.abc import Mapping
from typing import Final

from sluice.workflows.core.runs import RunState

MAX_SHOWN_CHARS: Final = 60
RETRYING: Final = "retrying"
"""Selects runs in progress with a step that is up for retry."""

_STATES: Final[tuple[RunState, ...]] = (
    "scheduled",
    "started",
    "in progress",
    "stopping",
    "canceled",
    "succeeded",
    "failed",
)
SELECTS: Final[Mapping[str, tuple[str, ...]]] = {
    **{state: (state,) for state in _STATES},
    "stopped": ("canceled",),
    "cancelled": ("canceled",),
    "canceling": ("stopping",),
    "cancelling": ("stopping",),
    "running": ("started", "in progress"),
    "running with failures": (RETRYING,),
    "paused": (),
}
"""Which runs a word selects, once it is folded (reference, "States")."""

_BLANKS: Final = re.compile(r"[\s_+-]+")


def shown(value: str) -> str:
    """Return a client's own text as a message shows it: quoted, short, and printable."""
    text = value if len(value) <= MAX_SHOWN_CHARS else f"{value[:MAX_SHOWN_CHARS]}…"
    return f"`{printable(text)}`"


def printable(text: str) -> str:
    """Return a text without what would steer a terminal or is no Unicode."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def select_states(text: str) -> tuple[str, ...] | None:
    """Return the states that one word selects; None for no such word."""
    return SELECTS.get(_BLANKS.sub(" ", text).strip().lower())
