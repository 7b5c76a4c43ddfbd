"""Which web pages may read an answer, and the headers that tell a browser (CORS).

Rules: reference, 2.4 and 2.5. Never ``Access-Control-Allow-Credentials``: a session travels in a
header or in the address, so no cookie is ever needed.
"""

import re
from collections.abc import Collection
from typing import Final

import msgspec

from gateway.core.answers import Answer

ANY: Final = "*"
MAX_AGE_S: Final = 7_200
"""How long a browser may keep the answer to a preflight; Chromium keeps none for longer."""
PREFLIGHT_HEADERS: Final = (
    ("Vary", "Origin"),
    ("Access-Control-Allow-Methods", "POST, OPTIONS"),
    (
        "Access-Control-Allow-Headers",
        "authorization, content-type, content-encoding, idempotency-key",
    ),
    ("Access-Control-Max-Age", str(MAX_AGE_S)),
)
ANSWER_HEADERS: Final = (
    ("Vary", "Origin"),
    ("Access-Control-Expose-Headers", "retry-after, x-request-id, x-error-type"),
)

_ORIGIN: Final = re.compile(r"null|[a-z][a-z0-9+.-]{0,30}://[a-z0-9._\[\]:-]{1,260}", re.ASCII)


def is_allowed(origin: str, allowed: Collection[str]) -> bool:
    """Whether a page of ``origin`` is meant by a list: exactly, by ``https://*.…``, or by ``*``.

    A ``*`` inside a name stands for exactly one label. ``null``, which a browser sends for a page
    that hides where it is from, is meant only by ``*`` alone.
    """
    if _ORIGIN.fullmatch(origin) is None:
        return False
    if origin in allowed or ANY in allowed:
        return True
    scheme, _, host = origin.partition("://")
    label, dot, rest = host.partition(".")
    return bool(label and dot) and f"{scheme}://*.{rest}" in allowed


def preflight(origin: str | None, allowed: Collection[str], *, allow: str) -> Answer:
    """Return the answer to a browser that asks what it may send; ``allow`` lists the methods."""
    headers: tuple[tuple[str, str], ...] = (("Allow", allow),)
    if origin is not None and is_allowed(origin, allowed):
        headers = (*headers, ("Access-Control-Allow-Origin", origin), *PREFLIGHT_HEADERS)
    return Answer(204, headers=headers)


def readable_by(answer: Answer, origin: str, allowed: Collection[str]) -> Answer:
    """Return the answer with what lets a page of ``origin`` read it, if that is allowed."""
    if not is_allowed(origin, allowed):
        return answer
    headers = (*answer.headers, ("Access-Control-Allow-Origin", origin), *ANSWER_HEADERS)
    return msgspec.structs.replace(answer, headers=headers)
