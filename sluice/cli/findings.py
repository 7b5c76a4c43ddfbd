"""How one thing is: what every check of ``sluice doctor`` returns."""

from dataclasses import dataclass
from typing import Final, Literal

State = Literal["ok", "warn", "fail"]

TIMEOUT_S: Final = 5.0
RUN: Final = "start it: `sluice run`"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing is, in words, and what to do where it is not well."""

    name: str
    state: State
    detail: str
    remedy: str = ""
    since: str | None = None
    """Since when it is so, in UTC as ISO 8601; None where nobody noted it."""
