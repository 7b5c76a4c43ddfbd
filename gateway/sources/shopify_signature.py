"""Shopify's signature: base64 of HMAC-SHA256 over the bytes of the body (reference, 1.2)."""

import hmac
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256


def sign(body: bytes, secret: str) -> bytes:
    """Return the value of X-Shopify-Hmac-SHA256 for a body."""
    return b64encode(hmac.digest(secret.encode(), body, "sha256"))


def is_signed(header: str, body: bytes, secrets: Sequence[str]) -> bool:
    """Whether any of the secrets made the signature; all are tried, whichever matches."""
    return _is_any(header, [sign(body, secret) for secret in secrets])


class Hashers:
    """The same for a body that is not kept: fed piece by piece."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._hashers = [hmac.new(secret.encode(), digestmod=sha256) for secret in secrets]

    def update(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        for hasher in self._hashers:
            hasher.update(piece)

    def is_signed(self, header: str) -> bool:
        """Whether any of the secrets made the signature of what was fed."""
        return _is_any(header, [b64encode(hasher.digest()) for hasher in self._hashers])


def _is_any(header: str, expected: Sequence[bytes]) -> bool:
    # As bytes: compare_digest raises on text that is not ASCII.
    given = header.strip().encode("utf-8", "surrogatepass")
    matches = [hmac.compare_digest(given, one) for one in expected]
    return any(matches)
