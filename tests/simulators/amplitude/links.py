"""Signed links to files on a storage service of its own port, good for one minute."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from tests.simulators.amplitude.answers import Answer

GOOD_FOR_S: Final = 60
XML: Final = "application/xml"


def sign(secret: bytes, request_id: str, now: float) -> str:
    """Return path and query of a link to an export."""
    expires = str(int(now) + GOOD_FOR_S)
    query = {"Expires": expires, "Signature": _signature(secret, request_id, expires)}
    return f"/exports/{request_id}.csv?{urlencode(query)}"


def refusal(
    secret: bytes, request_id: str, query: Mapping[str, str], *, has_credentials: bool, now: float
) -> Answer | None:
    """Return what the storage service says against a link; None when it serves the file."""
    if has_credentials:
        return _error(400, "InvalidArgument", "Only one auth mechanism allowed")
    expires = query.get("Expires", "")
    expected = _signature(secret, request_id, expires)
    if not hmac.compare_digest(expected.encode(), query.get("Signature", "").encode()):
        return _error(403, "SignatureDoesNotMatch", "The signature does not match")
    if now > int(expires):
        return _error(403, "AccessDenied", "Request has expired")
    return None


def _signature(secret: bytes, request_id: str, expires: str) -> str:
    return hmac.new(secret, f"{request_id}:{expires}".encode(), hashlib.sha256).hexdigest()


def _error(status: int, code: str, message: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(status, body.encode(), XML)
