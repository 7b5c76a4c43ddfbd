"""Read tokens and how long they live."""

from datetime import UTC, datetime

import jwt
import pytest

from sluice.core.errors import ConfigError
from sluice.core.tokens import MAX_TTL_S, mint_read_token, parse_ttl

SECRET = "s" * 32
NOW = datetime(2026, 4, 25, 14, 47, tzinfo=UTC)


def test_token_names_its_tenant_scope_and_times() -> None:
    token = mint_read_token("shop", secret=SECRET, now=NOW, ttl_s=60)
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_exp": False})
    issued = int(NOW.timestamp())
    assert claims == {"tenant": "shop", "scope": "read", "iat": issued, "exp": issued + 60}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), (" 7d ", 604_800), ("366d", MAX_TTL_S)],
)
def test_ttl_is_read_with_its_unit(text: str, seconds: int) -> None:
    assert parse_ttl(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5h", "1w", "h", "367d", "9" * 11, "\u0661h"])
def test_ttl_is_refused_when_it_is_no_time_or_too_long(text: str) -> None:
    with pytest.raises(ConfigError, match="--ttl is"):
        parse_ttl(text)
