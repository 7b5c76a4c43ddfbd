"""Tokens of list pages: where the next page begins, signed, for one tenant and the same filters.

A token is text that only this API reads: a body and its signature, both in base64url. The signature
is over the text of the body, and compared as text, so that no other spelling of a token is one.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Final

import msgspec

from sluice.core.run_filters import Position

LIFE_S: Final = 86_400
MAX_CHARS: Final = 400
_PURPOSE: Final = b"sluice.workflow-runs.page"


class _Body(msgspec.Struct, array_like=True):
    created_ms: int
    run_id: str
    filters: str
    made_at: int


_DECODER: Final = msgspec.json.Decoder(_Body)


def token_key(secret: str) -> bytes:
    """Return the key of page tokens that follows from the secret of session tokens."""
    return hmac.digest(secret.encode(), _PURPOSE, sha256)


def make_token(position: Position, *, tenant: str, filters: bytes, key: bytes, now: float) -> str:
    """Return the token of the page behind a position.

    Args:
        position: The last run that was shown.
        tenant: Whose list it is.
        filters: Digest of what the list was asked for.
        key: From ``token_key``.
        now: Unix seconds.
    """
    body = _Body(position.created_ms, position.run_id, filters.hex(), int(now))
    text = _base64url(msgspec.json.encode(body))
    return (text + b"." + _signature(text, tenant, key)).decode()


def read_token(
    token: str, *, tenant: str, filters: bytes, key: bytes, now: float
) -> Position | None:
    """Return where the page begins; None for a token that is not good for exactly this list."""
    if len(token) > MAX_CHARS or not token.isascii():
        return None
    text, _, signature = token.encode().rpartition(b".")
    if not hmac.compare_digest(_signature(text, tenant, key), signature):
        return None
    body = _DECODER.decode(urlsafe_b64decode(text + b"=" * (-len(text) % 4)))
    if body.filters != filters.hex() or not body.made_at <= now < body.made_at + LIFE_S:
        return None
    return Position(body.created_ms, body.run_id)


def _signature(text: bytes, tenant: str, key: bytes) -> bytes:
    return _base64url(hmac.digest(key, tenant.encode() + b"\0" + text, sha256))


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
