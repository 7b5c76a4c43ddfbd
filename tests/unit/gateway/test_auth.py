"""Who is let in by which Authorization header."""

from collections.abc import Mapping
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.core.auth import (
    Denied,
    Principal,
    TokenKeys,
    authenticate_client,
    authenticate_ingest,
    authenticate_read,
    bearer_in_query,
)
from gateway.core.session import Session, mint
from sluice.core.errors import ErrorType
from sluice.core.tenant import ApiKey, Directory, Tenant, digest_of

NOW: Final = 1_800_000_000.0
SECRET: Final = "s" * 32
KEYS: Final = TokenKeys(("HS256",), secret=SECRET)
SECRET_KEY: Final = "sk_live_one"
ROTATED_KEY: Final = "sk_live_two"
PUBLIC_KEY: Final = "pk_live_one"
DISABLED_KEY: Final = "sk_live_off"

ACME: Final = Tenant(
    slug="acme",
    api_keys=(
        ApiKey(digest_of(SECRET_KEY), "secret"),
        ApiKey(digest_of(ROTATED_KEY), "secret"),
        ApiKey(digest_of(PUBLIC_KEY), "public"),
    ),
)
OFF: Final = Tenant(
    slug="off", enabled=False, api_keys=(ApiKey(digest_of(DISABLED_KEY), "secret"),)
)
DIRECTORY: Final = Directory({"acme": ACME, "off": OFF})


def token(
    *,
    secret: Any = SECRET,
    algorithm: str = "HS256",
    headers: dict[str, Any] | None = None,
    **claims: object,
) -> str:
    given = {"tenant": "acme", "scope": "read", "exp": NOW + 60} | claims
    body = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(body, secret, algorithm=algorithm, headers=headers)


def ingest(*headers: str, keys: TokenKeys = KEYS) -> Principal | Denied:
    return authenticate_ingest(headers, DIRECTORY, keys, SECRET, now=NOW)


def read(*headers: str, keys: TokenKeys = KEYS) -> Principal | Denied:
    return authenticate_read(headers, DIRECTORY, keys, now=NOW)


def refusal(result: Principal | Denied) -> ErrorType:
    assert isinstance(result, Denied), result
    return result.rejected.error_type


@pytest.mark.parametrize(
    "header",
    [
        f"ApiKey {SECRET_KEY}",
        f"ApiKey {ROTATED_KEY}",
        f"apikey {SECRET_KEY}",
        f"APIKEY   {SECRET_KEY} ",
    ],
)
def test_ingest_lets_tenant_in_when_its_secret_key_is_live(header: str) -> None:
    result = ingest(header)
    assert isinstance(result, Principal)
    assert (result.tenant, result.uid) == (ACME, None)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), ErrorType.AUTH_MISSING),
        (("ApiKey",), ErrorType.AUTH_MALFORMED),
        (("",), ErrorType.AUTH_MALFORMED),
        (("Basic abc",), ErrorType.AUTH_MALFORMED),
        (("ApiKey sk_\udcff",), ErrorType.AUTH_MALFORMED),
        (("ApiKey " + "x" * 9_000,), ErrorType.AUTH_MALFORMED),
        ((f"ApiKey {SECRET_KEY}", f"ApiKey {SECRET_KEY}"), ErrorType.AUTH_MALFORMED),
        (("ApiKey sk_live_wrong",), ErrorType.API_KEY_UNKNOWN),
        (("ApiKey mk_live_one",), ErrorType.API_KEY_UNKNOWN),
        ((f"ApiKey {PUBLIC_KEY}",), ErrorType.KEY_TYPE_NOT_ALLOWED),
        ((f"ApiKey {DISABLED_KEY}",), ErrorType.TENANT_DISABLED),
        (("Bearer nonsense",), ErrorType.TOKEN_INVALID),
        ((f"Bearer {token()}",), ErrorType.SCOPE_DENIED),
        ((f"Bearer {token(exp=NOW - 31)}",), ErrorType.TOKEN_EXPIRED),
    ],
)
def test_ingest_refuses_header_with_its_own_error_type(
    headers: tuple[str, ...], expected: ErrorType
) -> None:
    assert refusal(ingest(*headers)) is expected


def words(result: object) -> str:
    assert isinstance(result, Denied), result
    return result.rejected.detail


def test_refusal_asks_for_the_credential_that_the_endpoint_takes() -> None:
    for headers in ((), ("ApiKey",), ("Basic abc",)):
        assert "`ApiKey sk_…` or `Bearer <token>`" in words(ingest(*headers))
        opening = words(authenticate_client(headers, DIRECTORY))
        assert "`ApiKey pk_…`" in opening
        assert "sk_" not in opening, "a page must never be told to send a secret key"
        reading = words(read(*headers))
        assert "sluice token" in reading
        assert "ApiKey" not in reading


def test_key_that_is_sent_as_a_token_is_called_a_key() -> None:
    denied = ingest(f"Bearer {SECRET_KEY}")
    assert "send `ApiKey …`" in words(denied)
    assert isinstance(denied, Denied)
    assert denied.is_secret, "no page may read why"
    assert "does not read" in words(read(f"Bearer {SECRET_KEY}"))


def test_address_must_bring_one_session_token() -> None:
    for values in ([""], ["one", "two"]):
        assert "session_token" in words(bearer_in_query(values))
    assert bearer_in_query(["one"]) == ["Bearer one"]
    assert bearer_in_query([]) == []


def test_refusal_names_the_tenant_when_the_credential_proved_one() -> None:
    denied = ingest(f"ApiKey {PUBLIC_KEY}")
    assert isinstance(denied, Denied)
    assert denied.tenant == "acme"
    unknown = ingest("ApiKey sk_live_wrong")
    assert isinstance(unknown, Denied)
    assert unknown.tenant is None


def test_refusal_never_shows_the_credential() -> None:
    for header in ("ApiKey sk_live_wrong", "Bearer hush.hush.hush", "Basic hush"):
        denied = ingest(header)
        assert isinstance(denied, Denied)
        assert "hush" not in denied.rejected.detail
        assert "wrong" not in denied.rejected.detail


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"scope": None},
        {"scope": "openid read"},
        {"exp": NOW - 29},
        {"nbf": NOW + 29},
    ],
)
def test_read_lets_tenant_in_when_token_is_good(claims: Mapping[str, Any]) -> None:
    who = read(f"Bearer {token(**claims)}")
    assert isinstance(who, Principal)
    assert (who.tenant, who.key, who.uid) == (ACME, None, None)
    assert who.expires_at == claims.get("exp", NOW + 60)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": None}, ErrorType.TOKEN_INVALID),
        ({"exp": "soon"}, ErrorType.TOKEN_INVALID),
        ({"exp": True}, ErrorType.TOKEN_INVALID),
        ({"exp": float("nan")}, ErrorType.TOKEN_INVALID),
        ({"exp": float("inf")}, ErrorType.TOKEN_INVALID),
        ({"exp": 10**400}, ErrorType.TOKEN_INVALID),
        ({"exp": NOW + 60, "nbf": float("nan")}, ErrorType.TOKEN_INVALID),
        ({"exp": NOW - 30}, ErrorType.TOKEN_EXPIRED),
        ({"nbf": NOW + 31}, ErrorType.TOKEN_INVALID),
        ({"tenant": None}, ErrorType.TENANT_UNKNOWN),
        ({"tenant": "nobody"}, ErrorType.TENANT_UNKNOWN),
        ({"tenant": ["acme"]}, ErrorType.TENANT_UNKNOWN),
        ({"tenant": "off"}, ErrorType.TENANT_DISABLED),
        ({"scope": "ingest"}, ErrorType.SCOPE_DENIED),
        ({"scope": ["read"]}, ErrorType.SCOPE_DENIED),
        ({"aud": "sluice-ingest"}, ErrorType.SCOPE_DENIED),
        ({"aud": ["sluice-ingest"]}, ErrorType.SCOPE_DENIED),
    ],
    ids=repr,
)
def test_read_refuses_token_when_its_claims_do_not_do(
    claims: dict[str, Any], expected: ErrorType
) -> None:
    assert refusal(read(f"Bearer {token(**claims)}")) is expected


def test_read_refuses_api_keys_as_no_credential_at_all() -> None:
    assert refusal(read(f"ApiKey {SECRET_KEY}")) is ErrorType.TOKEN_INVALID
    assert refusal(read()) is ErrorType.AUTH_MISSING


def test_read_refuses_token_when_another_secret_signed_it() -> None:
    assert refusal(read(f"Bearer {token(secret='x' * 32)}")) is ErrorType.TOKEN_INVALID


def test_read_refuses_token_when_nobody_signed_it() -> None:
    unsigned = token(secret="", algorithm="none")
    assert refusal(read(f"Bearer {unsigned}")) is ErrorType.TOKEN_INVALID


def test_read_refuses_other_algorithms_of_the_same_secret() -> None:
    longer = TokenKeys(("HS256",), secret="s" * 64)
    other = token(secret="s" * 64, algorithm="HS512")
    assert refusal(read(f"Bearer {other}", keys=longer)) is ErrorType.TOKEN_INVALID


def public_keys() -> tuple[TokenKeys, rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey]:
    rsa_key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    by_id = {
        "r": jwt.PyJWK(
            jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True)
            | {"kid": "r", "alg": "RS256"}
        ),
        "e": jwt.PyJWK(
            jwt.algorithms.ECAlgorithm.to_jwk(ec_key.public_key(), as_dict=True)
            | {"kid": "e", "alg": "ES256"}
        ),
    }
    return TokenKeys(("RS256", "ES256"), by_id=by_id), rsa_key, ec_key


def test_read_takes_public_key_families_and_refuses_to_mix_them() -> None:
    keys, rsa_key, ec_key = public_keys()
    good = token(secret=rsa_key, algorithm="RS256", headers={"kid": "r"})
    assert read(f"Bearer {good}", keys=keys) == Principal(ACME, expires_at=NOW + 60)
    curve = token(secret=ec_key, algorithm="ES256", headers={"kid": "e"})
    assert read(f"Bearer {curve}", keys=keys) == Principal(ACME, expires_at=NOW + 60)
    for wrong in (
        token(secret=rsa_key, algorithm="RS256", headers={"kid": "e"}),
        token(secret=rsa_key, algorithm="RS256", headers={"kid": "gone"}),
        token(secret=rsa_key, algorithm="RS256"),
        token(headers={"kid": "r"}),
    ):
        assert refusal(read(f"Bearer {wrong}", keys=keys)) is ErrorType.TOKEN_INVALID


@pytest.mark.parametrize("garbage", ["!", "=", "!!!!", "=="])
def test_session_token_with_garbage_behind_it_is_invalid(garbage: str) -> None:
    key = ACME.api_keys[2]
    session = Session("user-1", is_verified=False)
    made = mint(session, ACME, key, secret=SECRET, now=NOW, new_id="t-1").token
    assert isinstance(ingest(f"Bearer {made}"), Principal)
    assert refusal(ingest(f"Bearer {made}{garbage}")) is ErrorType.TOKEN_INVALID
    assert refusal(ingest(f"Bearer {token()}")) is ErrorType.SCOPE_DENIED


def test_secret_is_not_shown_when_keys_are_printed() -> None:
    assert SECRET not in repr(KEYS)
