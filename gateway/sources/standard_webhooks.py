"""Standard Webhooks (standardwebhooks.com), which Svix and many services sign their deliveries by.

The signature is over the body as it arrived, so it is judged before anything in the body is looked
at. Senders try again for days after any answer but a 2xx, and in the end switch the endpoint off;
so a signed delivery that can never become an event is answered 200 with the reason, and leaves an
error record.
"""

import binascii
import hmac
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from gateway.core.answers import Answer
from gateway.core.auth import Denied
from gateway.core.event_rules import Fields, Terms, Unfit, read_value
from gateway.core.json_text import open_json, too_deep, without_bom
from gateway.core.mapped import NULL, Draft, judge_elements, members
from gateway.core.source import (
    Arrival,
    Caller,
    Parsed,
    Refused,
    Source,
    SourceRoute,
    Taken,
    refusal,
)
from sluice.core.errors import ERRORS, ErrorType, Rejected
from sluice.core.tenant import Directory, Tenant

TOLERANCE_S: Final = 300
MAX_SIGNATURES: Final = 16
"""A sender signs with each of its live secrets; one that sends more means harm."""
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what every secret starts with
USER_FIELDS: Final = ("user_id", "userId", "email")
"""Members of ``data`` that name the user; the first that holds text or an integer does."""
NOBODY: Final = "webhook"
"""The user of a delivery that names none."""
NAMES: Final = {"event_type": "type", "occurred_at": "timestamp", "payload": "data"}

_TIMESTAMP: Final = re.compile(r"\d{1,12}", re.ASCII)
_ENCODER: Final = msgspec.json.Encoder()


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a delivery whose signature is good."""

    queued: bool
    reason: str = ""
    detail: str = ""


class _Failure(msgspec.Struct, frozen=True):
    """The answer to a delivery that may be tried again."""

    code: str
    message: str
    detail: str


class Signed(msgspec.Struct, frozen=True):
    """What the headers of a delivery say."""

    message_id: str
    timestamp: str
    """Unix seconds."""
    signatures: tuple[bytes, ...]


def read_headers(headers: Mapping[str, str]) -> Signed | Rejected:
    """Return what is signed and how; the names of Svix mean the same."""
    found = [
        headers.get(f"webhook-{name}") or headers.get(f"svix-{name}")
        for name in ("id", "timestamp", "signature")
    ]
    message_id, timestamp, signature = found
    if not (message_id and timestamp and signature):
        return Rejected(
            ErrorType.WEBHOOK_SIGNATURE_MISSING,
            "Send the headers webhook-id, webhook-timestamp and webhook-signature.",
        )
    if not (message_id.isascii() and message_id.isprintable()):
        return Rejected(
            ErrorType.WEBHOOK_SIGNATURE_INVALID, "webhook-id must be visible ASCII characters."
        )
    if not _TIMESTAMP.fullmatch(timestamp):
        return Rejected(
            ErrorType.WEBHOOK_SIGNATURE_INVALID, "webhook-timestamp must be unix seconds."
        )
    given = signature.split(" ")[:MAX_SIGNATURES]
    return Signed(message_id, timestamp, tuple(_signatures(given)))


def _signatures(given: Sequence[str]) -> list[bytes]:
    found = []
    for one in given:
        version, _, text = one.partition(",")
        if version == "v1":
            try:
                found.append(b64decode(text, validate=True))
            except (binascii.Error, ValueError):
                continue
    return found


def key_of(secret: str) -> bytes:
    """Return the key that a secret's text stands for."""
    return b64decode(secret.removeprefix(SECRET_PREFIX) + "==")


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> bytes:
    """Return the signature, before it is written as base64."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return hmac.digest(key_of(secret), signed, sha256)


def verify(signed: Signed, body: bytes, secrets: Sequence[str], *, now: float) -> Rejected | None:
    """Return why a delivery is not taken; every secret and signature is tried, whatever matches."""
    # Once for each secret, however many signatures a stranger sends with a large body.
    good = [sign(secret, signed.message_id, signed.timestamp, body) for secret in secrets]
    matches = [hmac.compare_digest(one, given) for one in good for given in signed.signatures]
    if not any(matches):
        number = "1 secret" if len(secrets) == 1 else f"{len(secrets)} secrets"
        return Rejected(
            ErrorType.WEBHOOK_SIGNATURE_INVALID,
            f"The signature matches none of this tenant's {number}.",
        )
    if abs(now - int(signed.timestamp)) > TOLERANCE_S:
        return Rejected(
            ErrorType.WEBHOOK_SIGNATURE_EXPIRED,
            f"webhook-timestamp is more than {TOLERANCE_S} seconds from the server's time.",
        )
    return None


def authenticate(arrival: Arrival, directory: Directory) -> Caller | Denied | None:
    """Return the tenant that the path names, if the delivery is signed for it."""
    tenant = directory.by_slug.get(arrival.tail)
    if tenant is None:
        return Denied(Rejected(ErrorType.WEBHOOK_NOT_CONFIGURED, _NOT_CONFIGURED))
    if not tenant.webhook_secrets:
        rejected = Rejected(ErrorType.WEBHOOK_NOT_CONFIGURED, _NOT_CONFIGURED)
        return Denied(rejected, tenant.slug)
    signed = read_headers(arrival.headers)
    if isinstance(signed, Rejected):
        return Denied(signed, tenant.slug)
    if arrival.body is None:
        return None
    wrong = verify(signed, arrival.body, tenant.webhook_secrets, now=arrival.now)
    if wrong is None and not tenant.enabled:
        wrong = Rejected(ErrorType.TENANT_DISABLED, "This tenant is switched off.")
    return Caller(tenant) if wrong is None else Denied(wrong, tenant.slug)


_NOT_CONFIGURED: Final = "No tenant takes webhooks at this path."
"""One sentence for both, so that nobody learns here which tenants there are."""


def parse(arrival: Arrival, tenant: Tenant) -> Parsed | Rejected:
    """Return the event of a delivery; why it is none is a refusal of its one element."""
    text = without_bom(arrival.body or b"")
    if isinstance(text, Rejected):
        return Parsed(rejected=(text,), total=1)
    signed = read_headers(arrival.headers)
    if isinstance(signed, Rejected):
        return signed
    terms = Terms(strict=tenant.strict_event_types)
    try:
        opened = open_json(text)
        if isinstance(opened, Rejected):
            return Parsed(rejected=(opened,), total=1)
        return judge_elements(
            [(opened.text.strip(), opened.marked.strip())],
            lambda one: [_draft(one, signed)],
            terms,
            names=NAMES,
            scope=lambda _: (SOURCE.name,),
        )
    except RecursionError:
        return Parsed(rejected=(too_deep(),), total=1)


def _draft(text: bytes, signed: Signed) -> Draft:
    own = members(text)
    data = own.get("data", NULL)
    occurred_at = read_value(own.get("timestamp", NULL))
    fields = Fields(
        _user(data),
        read_value(own.get("type", NULL)),
        f"{int(signed.timestamp):010}" if occurred_at is None else occurred_at,
        data,
        signed.message_id,
        None,
    )
    return Draft(fields)


def _user(data: bytes) -> str | int:
    own = members(data)
    for name in USER_FIELDS:
        value = read_value(own.get(name, NULL))
        if value is not None and value != "" and not isinstance(value, Unfit):
            return value
    return NOBODY


def taken(_arrival: Arrival, done: Taken) -> Answer:
    """Answer 200 to whatever was signed."""
    if not done.rejected:
        return Answer(200, _ENCODER.encode(_Kept(queued=True)))
    first = done.rejected[0]
    kept = _Kept(queued=False, reason=first.error_type, detail=first.detail)
    return Answer(200, _ENCODER.encode(kept), error_type=first.error_type)


def refused(why: Refused) -> Answer:
    """Answer with the status of the refusal; a sender tries again."""
    rejected = why.rejected
    body = _Failure(code=rejected.error_type, message=rejected.detail, detail=rejected.detail)
    status = ERRORS[rejected.error_type].status
    return refusal(why, _ENCODER.encode(body), status=status)


_BODY_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "timestamp": {"type": ["string", "null"]},
        "data": {"type": ["object", "null"]},
    },
    "required": ["type"],
}
_ANSWER_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "queued": {"type": "boolean"},
        "reason": {"type": "string"},
        "detail": {"type": "string"},
    },
    "required": ["queued"],
}

SOURCE: Final = Source(
    name="webhook",
    summary="Standard Webhooks",
    credential="The delivery is signed with one of the tenant's webhook_secrets.",
    routes=(
        SourceRoute(
            path="/api/ingestion/webhook/{tenant}",
            name="webhook",
            summary="Queue one signed delivery",
            body=_BODY_SCHEMA,
            answer=_ANSWER_SCHEMA,
        ),
    ),
    authenticate=authenticate,
    parse=parse,
    taken=taken,
    refused=refused,
    errors=(
        ErrorType.WEBHOOK_NOT_CONFIGURED,
        ErrorType.WEBHOOK_SIGNATURE_MISSING,
        ErrorType.WEBHOOK_SIGNATURE_INVALID,
        ErrorType.WEBHOOK_SIGNATURE_EXPIRED,
        ErrorType.TENANT_DISABLED,
    ),
)
