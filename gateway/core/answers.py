"""From a result to an answer: status, headers, body. Error bodies are in the style of DRF.

``{"detail": "…"}`` speaks of the request as a whole, ``{"field": ["…"]}`` of named fields. No
answer holds an offending value.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from sluice.core.errors import ERRORS, ErrorType, Rejected

JSON: Final = "application/json"
MAX_LISTED_ERRORS: Final = 100
MIN_RETRY_AFTER_S: Final = 1
MAX_RETRY_AFTER_S: Final = 30
"""Of a 503: our own trouble is often over sooner than it looks."""
MAX_LIMITED_FOR_S: Final = 3_600
"""Of a 429: a client over its own limit is told when it may send again. The largest request at the
lowest limit is paid off sooner."""

_ENCODER: Final = msgspec.json.Encoder()

CLOSING: Final = frozenset(
    {
        ErrorType.BODY_TOO_LARGE,
        ErrorType.BODY_TIMEOUT,
        ErrorType.BODY_INCOMPLETE,
        ErrorType.REQUEST_INVALID,
        ErrorType.SHUTTING_DOWN,
    }
)
"""After these the connection cannot or should not go on."""


class Stream(msgspec.Struct, frozen=True):
    """A body that is too large to be held."""

    size: int | None
    """None where only its end tells; then its connection ends with it."""
    pieces: Callable[[], AsyncGenerator[bytes, None]]
    """Opens it; gives exactly ``size`` bytes, or raises ``OSError`` where it cannot. An empty piece
    sends nothing, but ends it where the client has hung up."""


class Answer(msgspec.Struct, frozen=True):
    """What goes back to the client, before the headers that every answer carries."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    error_type: ErrorType | None = None
    closes: bool = False
    stream: Stream | None = None
    """Stands for ``body``."""


class SkippedEvent(msgspec.Struct, frozen=True):
    """Why one event of a batch was not queued."""

    index: int
    error_type: str
    detail: str


class BatchResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a batch; ``errors`` only where something was skipped."""

    queued: int
    skipped: int
    errors: tuple[SkippedEvent, ...] = ()


def queued_one(event_id: str) -> Answer:
    """Return the answer to one queued event."""
    return Answer(202, b'{"queued":true}', JSON, (("X-Event-Id", event_id),))


def queued_batch(queued: int, rejected: Sequence[Rejected]) -> Answer:
    """Return the answer to a batch; the first 100 refusals are listed, ascending by index."""
    if not rejected:
        return Answer(202, b'{"queued":%d,"skipped":0}' % queued)
    listed = sorted(rejected, key=lambda one: one.index or 0)[:MAX_LISTED_ERRORS]
    errors = tuple(SkippedEvent(one.index or 0, one.error_type, one.detail) for one in listed)
    return Answer(202, _ENCODER.encode(BatchResult(queued, len(rejected), errors)))


def ok(value: object, *, status: int = 200) -> Answer:
    """Return a JSON answer."""
    return Answer(status, _ENCODER.encode(value))


def refused(rejected: Sequence[Rejected], *, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Return the answer to a request that was refused; the first refusal gives the status."""
    first = rejected[0]
    if first.error_type is ErrorType.CONTENT_ENCODING_UNSUPPORTED:
        headers = (*headers, ("Accept-Encoding", "gzip, deflate, zstd"))
    return Answer(
        ERRORS[first.error_type].status,
        _ENCODER.encode(_error_body(rejected)),
        JSON,
        headers,
        first.error_type,
        first.error_type in CLOSING,
    )


def deny(rejected: Rejected, *, challenge: str) -> Answer:
    """Return the answer to a credential that does not do; 401 names the schemes to use."""
    is_unknown = ERRORS[rejected.error_type].status == HTTPStatus.UNAUTHORIZED
    return refused((rejected,), headers=(("WWW-Authenticate", challenge),) if is_unknown else ())


def refused_one(error_type: ErrorType, detail: str, **headers: str) -> Answer:
    """Return the answer to a refusal of the whole request; ``headers`` in snake case."""
    named = tuple((name.replace("_", "-").title(), value) for name, value in headers.items())
    return refused((Rejected(error_type, detail),), headers=named)


def unavailable(error_type: ErrorType, detail: str, *, retry_after_s: float) -> Answer:
    """Return a 503 that says when to come back: whole seconds, 1 to 30."""
    return refused_one(error_type, detail, retry_after=str(clamp_retry_after(retry_after_s)))


def slow_down(rejected: Rejected, *, retry_after_s: float) -> Answer:
    """Return the 429 of a client over its own limit: whole seconds until it may send."""
    wait_s = clamp_retry_after(retry_after_s, most=MAX_LIMITED_FOR_S)
    return refused((rejected,), headers=(("Retry-After", str(wait_s)),))


def clamp_retry_after(seconds: float, *, most: int = MAX_RETRY_AFTER_S) -> int:
    """Return whole seconds within what clients may be asked to wait."""
    if seconds >= most:
        return most
    return max(MIN_RETRY_AFTER_S, -int(-seconds // 1))


def _error_body(rejected: Sequence[Rejected]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for one in rejected:
        if one.field is None:
            return {"detail": one.detail}
        body.setdefault(one.field, []).append(one.detail)
    return body
