"""Who is this? The Authorization header and what is known -> a principal, or why not.

Rules: reference "Credentials". An API key is looked up by its digest; a token is verified by PyJWT
with the algorithms of the configured family only, and its times are judged here, against ``now``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.core.session import AUDIENCE, read_token
from sluice.core.errors import ErrorType, Rejected
from sluice.core.tenant import ApiKey, Directory, Tenant, find_public_key
from sluice.core.tokens import READ_SCOPE

if TYPE_CHECKING:
    from jwt import PyJWK

MAX_TIME_S: Final = 1e11
"""Unix seconds beyond this are no time; not-a-number fails the comparison too."""
LEEWAY_S: Final = 30
MAX_HEADER_CHARS: Final = 8_000
MAX_PERSON_CHARS: Final = 200
SESSION_PARAMETER: Final = "session_token"
"""In the query of a request that can set no header, as ``navigator.sendBeacon`` makes it."""
_KEY_PREFIXES: Final = ("sk_", "pk_", "mk_")
_READING: Final = "`Bearer <token>`, which `sluice token SLUG` prints"

_OPTIONS: Final[Any] = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}

# A header or claim can be any JSON, and PyJWT lets some surprises through as builtin errors.
_TOKEN_ERRORS: Final = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose request it is, proven."""

    tenant: Tenant
    key: ApiKey | None = None
    """The key that was sent, or that a session was made with; None of a read token."""
    uid: str | None = None
    """The user of a session; None of a key or read token."""
    expires_at: float | None = None
    """Of a read token, in unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Who asks for runs, and whose runs: as the claims of the token name the person."""

    tenant: Tenant
    id: str
    """``sub``; empty where the token has none, as the next two."""
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a request may not go on; ``tenant`` is the slug where the credential named one."""

    rejected: Rejected
    tenant: str | None = None
    key: ApiKey | None = None
    """The public key, where the credential proved one: its pages may read why."""
    is_secret: bool = False
    """Whether a secret key was sent, or what could be one: then no page may read why."""


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """What tokens are verified with: one secret, or public keys by their id."""

    algorithms: tuple[str, ...]
    secret: str = field(default="", repr=False)
    by_id: "Mapping[str, PyJWK]" = field(default_factory=dict)

    def find(self, algorithm: str, key_id: str | None) -> "str | PyJWK | None":
        """Return the key for a token's header; None where there is no such key."""
        if algorithm not in self.algorithms:
            return None
        if self.secret:
            return self.secret
        if key_id is None and len(self.by_id) == 1:
            key: PyJWK | None = next(iter(self.by_id.values()))
        else:
            key = self.by_id.get(key_id or "")
        return key if key is not None and key.algorithm_name == algorithm else None


def _denied(error_type: ErrorType, detail: str, tenant: str | None = None) -> Denied:
    return Denied(Rejected(error_type, detail), tenant)


def authenticate_ingest(
    headers: Sequence[str],
    directory: Directory,
    keys: TokenKeys,
    session_secret: str,
    *,
    now: float,
) -> Principal | Denied:
    """Return who may write events: a secret key's tenant, or the user of a session.

    Args:
        headers: Every Authorization header of the request.
        directory: The tenants.
        keys: Read tokens are told from nonsense with them, so that each gets its own answer.
        session_secret: What session tokens are signed with.
        now: Unix seconds.
    """
    parsed = _parse(headers, "`ApiKey sk_…` or `Bearer <token>`")
    if isinstance(parsed, Denied):
        return parsed
    scheme, credential = parsed
    if scheme == "bearer":
        if credential.startswith(_KEY_PREFIXES):
            detail = "This is a key, not a token: send `ApiKey …`."
            is_secret = not credential.startswith("pk_")
            return Denied(Rejected(ErrorType.TOKEN_INVALID, detail), is_secret=is_secret)
        return _session(credential, directory, keys, session_secret, now=now)
    found = directory.find_key(credential)
    if found is None:
        return _unknown_key(credential)
    tenant, key = found
    if key.kind != "secret":
        detail = "A public key cannot write events; exchange it at /api/auth/session/ first."
        return Denied(Rejected(ErrorType.KEY_TYPE_NOT_ALLOWED, detail), tenant.slug, key)
    return _enabled(tenant, key)


def authenticate_client(
    headers: Sequence[str], directory: Directory
) -> tuple[Tenant, ApiKey] | Denied:
    """Return whose public key asks for a session, and the key."""
    parsed = _parse(headers, "`ApiKey pk_…`")
    if isinstance(parsed, Denied):
        return parsed
    scheme, credential = parsed
    if scheme == "bearer":
        return _denied(ErrorType.AUTH_MALFORMED, "Send `ApiKey pk_…` here; a token opens nothing.")
    found = directory.find_key(credential)
    if found is None:
        return _unknown_key(credential)
    tenant, key = found
    if key.kind != "public":
        rejected = Rejected(
            ErrorType.KEY_TYPE_NOT_ALLOWED,
            "A secret key opens no session; it may write events itself.",
        )
        return Denied(rejected, tenant.slug, is_secret=True)
    enabled = _enabled(tenant, key)
    return enabled if isinstance(enabled, Denied) else found


def bearer_in_query(values: Sequence[str]) -> Sequence[str] | Denied:
    """Return what an Authorization header would say, from the values of ``session_token``.

    Only a session belongs there: an address ends in logs, where a key would live on.
    """
    for value in values:
        if value.startswith(_KEY_PREFIXES):
            return _denied(
                ErrorType.AUTH_MALFORMED,
                "A key must never stand in an address, which proxies log: revoke it, and send a"
                " session token.",
            )
    if len(values) > 1 or values == [""]:
        return _denied(ErrorType.AUTH_MALFORMED, "Send one session token as session_token.")
    return [f"Bearer {value}" for value in values]


def _unknown_key(credential: str) -> Denied:
    rejected = Rejected(ErrorType.API_KEY_UNKNOWN, "This API key is not valid.")
    return Denied(rejected, is_secret=not credential.startswith("pk_"))


def _session(
    token: str, directory: Directory, keys: TokenKeys, secret: str, *, now: float
) -> Principal | Denied:
    claims = read_token(token, secret)
    if claims is None:
        return _no_session(token, directory, keys, now=now)
    tenant = directory.by_slug.get(claims.tenant)
    key = None if tenant is None else find_public_key(tenant, claims.kid)
    if tenant is None or key is None:  # revoked; its sessions end with it
        return _INVALID
    if claims.exp <= now:  # ours, so no leeway for another's clock
        return Denied(_EXPIRED.rejected, tenant.slug, key)
    return _enabled(tenant, key, claims.uid)


def _no_session(
    token: str, directory: Directory, keys: TokenKeys, *, now: float
) -> Principal | Denied:
    claims = _verify(token, keys, now=now)
    if isinstance(claims, Denied):
        return claims
    if _is_for_sessions(claims):  # read_token would have read it, were it as we made it
        return _INVALID
    slug = _slug(claims, directory)
    return _denied(ErrorType.SCOPE_DENIED, "This token does not allow writing events.", slug)


def authenticate_read(
    headers: Sequence[str], directory: Directory, keys: TokenKeys, *, now: float
) -> Principal | Denied:
    """Return who may read: the tenant of a token with the scope ``read``."""
    claims = _read_claims(headers, keys, now=now)
    if isinstance(claims, Denied):
        return claims
    if not _allows(claims, READ_SCOPE):
        return _denied(
            ErrorType.SCOPE_DENIED,
            "This token does not allow reading.",
            _slug(claims, directory),
        )
    return _tenant_of(claims, directory)


def authenticate_run(
    headers: Sequence[str], directory: Directory, keys: TokenKeys, *, now: float, scope: str
) -> Runner | Denied:
    """Return who asks for runs.

    Reading them needs the scope ``read``; starting and stopping needs ``runs``, so that a token for
    a dashboard erases nobody. A token without any scope, as identity providers give, may both.
    """
    claims = _read_claims(headers, keys, now=now)
    if isinstance(claims, Denied):
        return claims
    if not _allows(claims, scope):
        return _denied(
            ErrorType.SCOPE_DENIED,
            f"This token does not have the scope `{scope}`, which this needs;"
            f" `sluice token SLUG --scope {scope}` prints one that has.",
            _slug(claims, directory),
        )
    who = _tenant_of(claims, directory)
    if isinstance(who, Denied):
        return who
    return Runner(
        tenant=who.tenant,
        id=_words(claims.get("sub")),
        name=_words(claims.get("name")),
        email=_words(claims.get("email")),
    )


def _words(claim: object) -> str:
    """Return a claim as a short printable text; empty for what is none."""
    text = claim[:MAX_PERSON_CHARS] if isinstance(claim, str) else ""
    return "".join(char for char in text if char.isprintable())


def _read_claims(headers: Sequence[str], keys: TokenKeys, *, now: float) -> dict[str, Any] | Denied:
    parsed = _parse(headers, _READING)
    if isinstance(parsed, Denied):
        return parsed
    scheme, credential = parsed
    if scheme == "apikey" or credential.startswith(_KEY_PREFIXES):
        # A leaked ingest key must not read, so it is no credential here at all.
        return _denied(ErrorType.TOKEN_INVALID, f"An API key does not read here; send {_READING}.")
    return _verify(credential, keys, now=now)


def _tenant_of(claims: Mapping[str, Any], directory: Directory) -> Principal | Denied:
    slug = _slug(claims, directory)
    if slug is None:
        return _denied(ErrorType.TENANT_UNKNOWN, "This token does not name a known tenant.")
    who = _enabled(directory.by_slug[slug])
    if isinstance(who, Denied):
        return who
    return replace(who, expires_at=_time(claims.get("exp")))


def _parse(headers: Sequence[str], wanted: str) -> tuple[str, str] | Denied:
    if not headers:
        return _denied(ErrorType.AUTH_MISSING, f"Send an Authorization header: {wanted}.")
    if len(headers) > 1:
        return _denied(ErrorType.AUTH_MALFORMED, "Send the Authorization header once.")
    scheme, _, credential = headers[0].strip(" \t").partition(" ")
    scheme = scheme.lower()
    credential = credential.lstrip(" ")
    if not credential or not credential.isascii() or len(credential) > MAX_HEADER_CHARS:
        return _denied(
            ErrorType.AUTH_MALFORMED,
            f"The Authorization header must be a scheme, a space and a credential: {wanted}.",
        )
    if scheme not in {"apikey", "bearer"}:
        return _denied(ErrorType.AUTH_MALFORMED, f"Send {wanted}.")
    return scheme, credential


def _enabled(
    tenant: Tenant, key: ApiKey | None = None, uid: str | None = None
) -> Principal | Denied:
    if tenant.enabled:
        return Principal(tenant, key, uid)
    rejected = Rejected(ErrorType.TENANT_DISABLED, "This tenant is switched off.")
    is_secret = key is not None and key.kind == "secret"
    return Denied(rejected, tenant.slug, None if is_secret else key, is_secret)


def _slug(claims: Mapping[str, Any], directory: Directory) -> str | None:
    slug = claims.get("tenant")
    return slug if isinstance(slug, str) and slug in directory.by_slug else None


def _is_for_sessions(claims: Mapping[str, Any]) -> bool:
    audience = claims.get("aud")
    return audience == AUDIENCE or (isinstance(audience, list) and AUDIENCE in audience)


def _allows(claims: Mapping[str, Any], scope: str) -> bool:
    # A token without a scope allows all: identity providers give tokens that have only our tenant
    # claim. What a session token may do is said by its audience, whatever its scope.
    if _is_for_sessions(claims):
        return False
    given = claims.get("scope", scope)
    return isinstance(given, str) and scope in given.split()


def _verify(token: str, keys: TokenKeys, *, now: float) -> dict[str, Any] | Denied:
    import jwt  # the most expensive import of all, and most gateways see no token for a while

    try:
        header = jwt.get_unverified_header(token)
        algorithm, key_id = header["alg"], header.get("kid")
        key = keys.find(algorithm, key_id)
        if key is None:
            return _INVALID
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=[algorithm], options=_OPTIONS)
    except (jwt.PyJWTError, *_TOKEN_ERRORS):
        return _INVALID
    expires, not_before = _time(claims.get("exp")), _time(claims.get("nbf", 0))
    if expires is None or not_before is None or not_before > now + LEEWAY_S:
        return _INVALID
    if expires <= now - LEEWAY_S:
        return _EXPIRED
    return claims


_INVALID: Final = _denied(ErrorType.TOKEN_INVALID, "The token could not be verified.")
_EXPIRED: Final = _denied(ErrorType.TOKEN_EXPIRED, "The token expired; get a new one.")


def _time(value: object) -> float | None:
    """Return unix seconds; None for what is no time, such as a number that never comes."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_TIME_S:
        return value
    return None
