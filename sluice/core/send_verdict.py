"""What a sender does with an answer of the ingestion API (reference, status codes)."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from sluice.core.errors import ErrorType

MAX_RETRY_AFTER_S: Final = 60.0
"""A server that asks for more is asked again anyway: it may have recovered."""
_TRANSIENT: Final = frozenset({408, 425, 429})
_NOT_OURS: Final = frozenset({501, 505})
"""What a server says that does not know the method or protocol: waiting changes nothing."""


@dataclass(frozen=True, slots=True)
class Done:
    """The server answered for every event."""


@dataclass(frozen=True, slots=True)
class Again:
    """The same once more; ``after_s`` is what the server asked for, None if it did not."""

    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Halve:
    """Something in the batch made it fail as a whole: send its halves."""


@dataclass(frozen=True, slots=True)
class Drop:
    """This one event cannot be taken."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """No request of this sender can succeed; ``remedy`` says what to change."""

    remedy: str


Verdict: TypeAlias = Done | Again | Halve | Drop | Wrong

_KEY: Final = "check --api-key (or SLUICE_API_KEY)"
_URL: Final = "check --url: there is no ingestion API at this address"
_REMEDIES: Final = {
    401: _KEY,
    403: f"{_KEY}: it takes a secret key (sk_…) of a tenant that is switched on",
    404: _URL,
    405: _URL,
} | dict.fromkeys(_NOT_OURS, _URL)


def judge(status: int, retry_after: str | None, *, events: int) -> Verdict:
    """Return what to do after an answer to a request with that many events."""
    if status in {200, 202}:
        return Done()
    if status in _TRANSIENT or (status >= 500 and status not in _NOT_OURS):
        return Again(_seconds(retry_after))
    if status in _REMEDIES:
        return Wrong(_REMEDIES[status])
    if status in {400, 413}:
        return Halve() if events > 1 else Drop()
    return Wrong(f"{_URL} (it answered {status})")


def default_reason(status: int) -> str:
    """Return the error_type of a refusal that does not name one."""
    return (ErrorType.EVENT_TOO_LARGE if status == 413 else ErrorType.REQUEST_INVALID).value


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None or not retry_after.isascii() or not retry_after.isdigit():
        return None
    return min(float(retry_after[:9]), MAX_RETRY_AFTER_S)
