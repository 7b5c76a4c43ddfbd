"""The public-key handshake: what a client app asks, what its server signed, the token it gets.

Rules: reference, 2.4. A session token pins one user of one tenant for a quarter of an hour, and
names the public key that it was made with, so that it ends when the key is revoked.

A token is a JWT, but one that only Sluice makes and reads, always with the same head. So it is
signed and verified here in one step: a token with any other head is none, which leaves no choice of
algorithm to whoever sends it, and an event pays a tenth of what a JWT library costs.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from gateway.core.event_rules import (
    MAX_INTEGER,
    MAX_VISITOR_CHARS,
    MIN_INTEGER,
    VISITOR,
    Fault,
    Unfit,
    read_id,
)
from gateway.core.json_text import first_fault, not_json
from sluice.core.errors import ErrorType, Rejected
from sluice.core.event import MAX_USER_ID_CHARS
from sluice.core.tenant import KEY_ID_DIGITS, ApiKey, Tenant

ISSUER: Final = "sluice"
AUDIENCE: Final = "sluice-ingest"
MAX_CLOCK_S: Final = 300
"""How far the time of a signature may be from ours, either way."""

_KINDS: Final = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


class _Body(msgspec.Struct):
    """Any session request; each field may be left out, which is the same as null."""

    user_id: Any = None
    anonymous_id: Any = None
    user_id_sig: Any = None
    user_id_ts: Any = None


_BODY: Final = msgspec.json.Decoder(_Body)
_ANY: Final = msgspec.json.Decoder()
_DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A session request, read."""

    user_id: str = ""
    """Empty: nobody is logged in."""
    anonymous_id: str = ""
    signature: str | None = None
    signed_at: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """Who writes, and whether a server of the tenant vouched for it."""

    uid: str
    is_verified: bool


class SessionAnswer(msgspec.Struct, frozen=True):
    """The answer of the session endpoint."""

    token: str
    expires_at: str
    """UTC with ``Z`` and no fraction: other forms break the SDKs (reference, 2.4)."""
    uid: str


def read_ask(body: bytes) -> Ask | list[Rejected]:
    """Return what a body asks for, or one refusal of the whole or one for each broken field."""
    if not body:
        return [Rejected(ErrorType.BODY_EMPTY, "The body is empty; send a JSON object.")]
    try:
        asked = _BODY.decode(body)
    except _DECODE_ERRORS:
        return [_not_an_object(body)]
    user_id = _read_id(asked.user_id, "user_id")
    anonymous_id = _read_id(asked.anonymous_id, "anonymous_id", limit=MAX_VISITOR_CHARS)
    wrong = _wrong_fields(asked, user_id)
    if wrong:
        return [Rejected(ErrorType.SESSION_INVALID, words, field=name) for name, words in wrong]
    return Ask(
        user_id=user_id if isinstance(user_id, str) else "",
        # As in events, an odd one is never an error.
        anonymous_id=anonymous_id if isinstance(anonymous_id, str) else "",
        signature=asked.user_id_sig,
        signed_at=asked.user_id_ts if asked.user_id_sig is not None else 0,
    )


def _read_id(value: object, name: str, *, limit: int = MAX_USER_ID_CHARS) -> str | Fault | None:
    if isinstance(value, bool | float | list | dict):
        value = Unfit(_KINDS[type(value)])
    return read_id(value, name=name, limit=limit)


def _not_an_object(body: bytes) -> Rejected:
    try:
        _ANY.decode(body)
    except _DECODE_ERRORS:
        return _not_json(body)
    return Rejected(ErrorType.BODY_NOT_OBJECT, "Send one JSON object.")


def _not_json(body: bytes) -> Rejected:
    try:
        wrong_at = first_fault(body)
    except RecursionError:
        wrong_at = None
    if wrong_at is None:
        return Rejected(ErrorType.JSON_INVALID, "The body is not JSON.")
    return not_json(body, wrong_at)


def _wrong_fields(asked: _Body, user_id: str | Fault | None) -> list[tuple[str, str]]:
    wrong: list[tuple[str, str]] = []
    signature, signed_at = asked.user_id_sig, asked.user_id_ts
    if isinstance(user_id, Fault):
        wrong.append(("user_id", user_id.detail))
    elif user_id is None and signature is not None:
        wrong.append(("user_id", "Send the user_id that user_id_sig signs."))
    if signature is None:
        return wrong
    if not isinstance(signature, str):
        kind = _KINDS[type(signature)]
        wrong.append(("user_id_sig", f"Send the signature in hex as a string, not {kind}."))
    is_integer = isinstance(signed_at, int) and not isinstance(signed_at, bool)
    if not (is_integer and MIN_INTEGER <= signed_at <= MAX_INTEGER):
        wrong.append(("user_id_ts", "Send unix seconds as an integer."))
    return wrong


def open_session(ask: Ask, key: ApiKey, *, now: float, new_visitor: str) -> Session | Rejected:
    """Return the session that a public key gives.

    Args:
        ask: What the client asked.
        key: The public key.
        now: Unix seconds.
        new_visitor: The id of a visitor who brings none.
    """
    if ask.signature is not None:
        if not _is_signed(ask, key.identity_secrets):
            return Rejected(
                ErrorType.SIGNATURE_INVALID, "user_id_sig does not match user_id and user_id_ts."
            )
        if abs(now - ask.signed_at) > MAX_CLOCK_S:
            return Rejected(
                ErrorType.SIGNATURE_EXPIRED,
                f"user_id_ts is more than {MAX_CLOCK_S} seconds from the server's time, which is"
                f" {int(now)} in unix seconds.",
            )
        return Session(ask.user_id, is_verified=True)
    if not ask.user_id:
        return Session(f"{VISITOR}{ask.anonymous_id or new_visitor}", is_verified=False)
    if key.requires_signature:
        return Rejected(ErrorType.SIGNATURE_REQUIRED, "This key needs a signed user_id.")
    return Session(ask.user_id, is_verified=False)


def _is_signed(ask: Ask, secrets: Sequence[str]) -> bool:
    signed = f"{ask.user_id}|{ask.signed_at}".encode()
    given = (ask.signature or "").lower().encode()
    is_signed = False
    for secret in secrets:  # all of them, so that the time tells nothing
        expected = hmac.digest(bytes.fromhex(secret), signed, hashlib.sha256).hex().encode()
        is_signed |= hmac.compare_digest(expected, given)
    return is_signed


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a session token says."""

    iss: str
    aud: str
    tenant: str
    uid: str
    kid: str
    """The first digits of the public key's digest."""
    verified: bool = False
    iat: int = 0
    exp: int
    jti: str = ""


_CLAIMS: Final = msgspec.json.Decoder(Claims)


def mint(
    session: Session, tenant: Tenant, key: ApiKey, *, secret: str, now: float, new_id: str
) -> SessionAnswer:
    """Return a token for a session, and when it ends.

    Args:
        session: Who writes.
        tenant: Says how long a token lives.
        key: The public key; named in the token by the first digits of its digest.
        secret: What is signed with.
        now: Unix seconds.
        new_id: Names this token.
    """
    issued = int(now)
    expires = issued + tenant.session_ttl_s
    claims = Claims(
        iss=ISSUER,
        aud=AUDIENCE,
        tenant=tenant.slug,
        uid=session.uid,
        kid=key.digest[:KEY_ID_DIGITS],
        verified=session.is_verified,
        iat=issued,
        exp=expires,
        jti=new_id,
    )
    signed = _HEAD + _base64url(msgspec.json.encode(claims))
    return SessionAnswer(
        (signed + b"." + _signature(signed, secret)).decode(),
        datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        session.uid,
    )


def read_token(token: str, secret: str) -> Claims | None:
    """Return what a session token says, if Sluice made it; its times are not judged.

    Args:
        token: Any ASCII text.
        secret: What it was signed with.
    """
    signed, _, signature = token.encode().rpartition(b".")
    if not signed.startswith(_HEAD):
        return None
    if not hmac.compare_digest(_signature(signed, secret), signature):
        return None
    body = signed[len(_HEAD) :]
    try:
        claims = _CLAIMS.decode(urlsafe_b64decode(body + b"=" * (-len(body) % 4)))
    except ValueError:  # signed with our secret, but of another kind, such as a read token
        return None
    is_ours = claims.iss == ISSUER and claims.aud == AUDIENCE and claims.uid
    return claims if is_ours else None


def _signature(signed: bytes, secret: str) -> bytes:
    return _base64url(hmac.digest(secret.encode(), signed, hashlib.sha256))


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


_HEAD: Final = _base64url(b'{"alg":"HS256","typ":"JWT"}') + b"."
