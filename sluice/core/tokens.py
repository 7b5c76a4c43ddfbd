"""Tokens of the API: what ``sluice token`` prints and the gateway verifies."""

import re
from datetime import datetime, timedelta
from typing import Final

from sluice.core.errors import ConfigError

ALGORITHM: Final = "HS256"
READ_SCOPE: Final = "read"
RUNS_SCOPE: Final = "runs"
"""Starts and stops workflow runs."""
SCOPES: Final = (READ_SCOPE, RUNS_SCOPE)
MAX_TTL_S: Final = 366 * 86_400

_TTL: Final = re.compile(r"([1-9][0-9]{0,8})([smhd]?)")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def mint_read_token(
    tenant: str,
    *,
    secret: str,
    now: datetime,
    ttl_s: int,
    scope: str = READ_SCOPE,
    name: str = "",
) -> str:
    """Return a JWT for one tenant's data until ``now`` + ``ttl_s``.

    Args:
        tenant: Its slug.
        secret: What is signed with.
        now: The present time, aware.
        ttl_s: How long it is good.
        scope: Of ``SCOPES``, with blanks between.
        name: Of the person it is for; runs that are started with it say so.
    """
    claims = {
        "tenant": tenant,
        "scope": scope,
        "iat": now,
        "exp": now + timedelta(seconds=ttl_s),
        **({"name": name} if name else {}),
    }
    import jwt  # as gateway.core.auth does it

    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def parse_ttl(text: str, *, name: str = "--ttl") -> int:
    """Return seconds from ``90``, ``90s``, ``15m``, ``1h`` or ``7d``; ``name`` is the option's.

    Raises:
        ConfigError: Another form, or longer than 366 days.
    """
    match = _TTL.fullmatch(text.strip())
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= MAX_TTL_S:
        message = f"{name} is {text!r}: use seconds or 15m, 1h, 7d, up to 366d"
        raise ConfigError(message)
    return seconds
