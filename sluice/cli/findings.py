"""How one thing is: what every check of ``sluice doctor`` returns."""

from dataclasses import dataclass
from typing import Final, Literal

from sluice.core.errors import WarehouseError
from sluice.no_answer import TIMED_OUT, network_reason

State = Literal["ok", "warn", "fail"]

TIMEOUT_S: Final = 5.0
RUN: Final = "start it: `sluice run`"
SEE_LOG: Final = "see its log"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing is, in words, and what to do where it is not well."""

    name: str
    state: State
    detail: str
    remedy: str = ""
    since: str | None = None
    """Since when it is so, in UTC as ISO 8601; None where nobody noted it."""


def warehouse_remedy(error: WarehouseError, *, is_remote: bool) -> str:
    """Return what to do about a warehouse that does not answer.

    Args:
        error: Why it does not.
        is_remote: Whether it is a ClickHouse server, and not our own process.
    """
    if is_remote:
        return "check SLUICE_WAREHOUSE_URL"
    return SEE_LOG if network_reason(error) == TIMED_OUT else RUN
