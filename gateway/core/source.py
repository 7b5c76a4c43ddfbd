"""What an inbound source is: one dialect of HTTP in which events arrive, as plain functions.

A source knows its paths, where a request carries its credential, how a body becomes candidates, and
how each outcome is said in that API's own words. It does no I/O: ``gateway.routes.sources`` reads,
publishes and answers for all of them. Adding one is a file in ``gateway/sources`` that holds
``SOURCE`` and a line in that folder's ``__init__``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.core.answers import (
    CLOSING,
    MAX_LIMITED_FOR_S,
    MAX_RETRY_AFTER_S,
    Answer,
    clamp_retry_after,
)
from gateway.core.auth import Denied
from sluice.core.errors import ERRORS, ErrorType, Rejected
from sluice.core.event import Candidates
from sluice.core.tenant import ApiKey, Directory, Tenant

MAX_BODY_BYTES: Final = 5_242_880
"""As sent and once decompressed: more than any client of a compatible API batches to."""
MAX_EVENTS: Final = 2_000
"""Elements of one request, so that no body occupies the gateway for long."""
TOO_MANY_REQUESTS: Final = 429
COME_BACK: Final = frozenset({TOO_MANY_REQUESTS, 503})
"""Statuses that say when."""

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request as a source sees it."""

    path: str
    """The route's own path, without a trailing slash, such as ``/v1/batch``."""
    headers: Mapping[str, str]
    """Names in any case."""
    now: float
    """Unix seconds."""
    authorizations: Sequence[str] = ()
    """Every Authorization header."""
    tail: str = ""
    """What stands in the place of the path's last segment, where that is ``{…}``."""
    body: bytes | None = None
    """Decompressed; None while it is not read yet."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is, proven."""

    tenant: Tenant
    key: ApiKey | None = None
    """None where a signature proved it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a body holds: every element became at least one candidate, or was refused."""

    candidates: Candidates = field(default_factory=Candidates)
    rejected: Sequence[Rejected] = ()
    """One for each refused element, with its index, ascending."""
    total: int = 0
    """Elements in the body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The candidates are durable; what was refused among them stands in ``rejected``."""

    rejected: Sequence[Rejected]
    total: int
    body_bytes: int
    received_ms: int
    """Unix milliseconds."""

    @property
    def kept(self) -> int:
        """How many elements were taken."""
        return self.total - len(self.rejected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing of the request was taken."""

    rejected: Rejected
    retry_after_s: float | None = None
    """When to come back, where coming back may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRoute:
    """One path of a source and how the API description shows it."""

    path: str
    """Without a trailing slash; its last segment may be a name in braces, such as ``{tenant}``."""
    name: str
    """For metrics, and the operation's id."""
    summary: str
    body: Schema
    """Schema of the JSON body."""
    answer: Schema
    """Schema of the answer to what was taken; ``{"type": "string"}`` for plain text."""
    method: str = "POST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One dialect."""

    name: str
    """``source`` of its events, error records and metrics."""
    summary: str
    """What it is compatible with, for the API description."""
    credential: str
    """Where a request carries its credential, in a sentence for the API description."""
    routes: tuple[SourceRoute, ...]
    authenticate: Callable[[Arrival, Directory], Caller | Denied | None]
    """Whose request it is. None asks for the body, and is not an answer once it is there."""
    parse: Callable[[Arrival, Tenant], Parsed | Rejected]
    """The body, which is there, as candidates; Rejected refuses it as a whole."""
    taken: Callable[[Arrival, Taken], Answer]
    """The answer to what is durable: 200, because some clients post again after a 202."""
    refused: Callable[[Refused], Answer]
    """The answer to what is not."""
    errors: tuple[ErrorType, ...]
    """What ``refused`` may be asked to say, beside what any route may."""
    max_body_bytes: int = MAX_BODY_BYTES


def caller_of_key(key: str, directory: Directory) -> Caller | Denied:
    """Return whose secret key this is.

    A public key is refused: without the handshake anybody who reads a page's source could write
    events of any user (reference, "The public-key handshake").
    """
    found = directory.find_key(key)
    if found is None:
        return Denied(Rejected(ErrorType.API_KEY_UNKNOWN, "This API key is not valid."))
    tenant, api_key = found
    if api_key.kind != "secret":
        return Denied(
            Rejected(
                ErrorType.KEY_TYPE_NOT_ALLOWED,
                "A public key (pk_…) cannot write events here: it needs the handshake of"
                " /api/auth/session/. Use a secret key (sk_…).",
            ),
            tenant.slug,
        )
    if not tenant.enabled:
        rejected = Rejected(ErrorType.TENANT_DISABLED, "This tenant is switched off.")
        return Denied(rejected, tenant.slug)
    return Caller(tenant, api_key)


def refusal(refused: Refused, body: bytes, *, status: int | None = None) -> Answer:
    """Return an answer with the status of the error's type, or another, and a dialect's body."""
    error_type = refused.rejected.error_type
    code = ERRORS[error_type].status if status is None else status
    most = MAX_LIMITED_FOR_S if code == TOO_MANY_REQUESTS else MAX_RETRY_AFTER_S
    retry_after = str(clamp_retry_after(refused.retry_after_s or 0, most=most))
    return Answer(
        code,
        body,
        headers=(("Retry-After", retry_after),) if code in COME_BACK else (),
        error_type=error_type,
        closes=error_type in CLOSING,
    )
