"""Tenants and their API keys, as values; the tenants file is read into them and nothing else.

Keys are known only by the SHA-256 digest of their whole text (design, decision 10). The text of a
key is random and long, so a plain digest cannot be searched back.
"""

import hmac
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Final, Literal, get_args

from sluice.core.errors import ConfigError

KeyKind = Literal["secret", "public"]
KEY_KINDS: Final[tuple[KeyKind, ...]] = get_args(KeyKind)
KEY_PREFIXES: Final[dict[KeyKind, str]] = {"secret": "sk_live_", "public": "pk_live_"}

SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
SLUG_RULE: Final = "1 to 63 of a-z, 0-9 and -, not starting with -"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One live key of a tenant."""

    digest: str
    """SHA-256 of the whole key text, in lower-case hex."""
    kind: KeyKind
    label: str = ""
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose data it is."""

    slug: str
    enabled: bool = True
    strict_event_types: bool = False
    api_keys: tuple[ApiKey, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Directory:
    """Every tenant, and look-up of keys; a new one replaces it when the file changes.

    Raises:
        ConfigError: Two tenants, or one tenant twice, have the same key.
    """

    by_slug: Mapping[str, Tenant] = field(default_factory=lambda: MappingProxyType({}))
    _by_digest: Mapping[str, tuple[Tenant, ApiKey]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, tuple[Tenant, ApiKey]] = {}
        for tenant in self.by_slug.values():
            for key in tenant.api_keys:
                if key.digest in found:
                    message = (
                        f"the key with digest {key.digest[:12]}… stands at tenant "
                        f"{found[key.digest][0].slug!r} and at {tenant.slug!r}: keep one"
                    )
                    raise ConfigError(message)
                found[key.digest] = (tenant, key)
        object.__setattr__(self, "_by_digest", found)

    def find_key(self, credential: str) -> tuple[Tenant, ApiKey] | None:
        """Return whose key this is, or None; takes the same time wherever a digest differs."""
        digest = digest_of(credential)
        found = self._by_digest.get(digest)
        if found is None or not hmac.compare_digest(found[1].digest, digest):
            return None
        return found


def digest_of(key: str) -> str:
    """Return the SHA-256 of a key's text in hex; any text has one, also what no header may hold."""
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def parse_directory(text: str) -> Directory:
    """Return the tenants that a tenants file describes.

    Raises:
        ConfigError: The text is not such a file; says where (line or path of the value) and why.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"not TOML: {error}"
        raise ConfigError(message) from None
    _check_names(document, ("tenants",), "the file")
    tables = _table(document.get("tenants", {}), "tenants")
    return Directory(
        MappingProxyType({slug: _tenant(slug, value) for slug, value in tables.items()})
    )


def _tenant(slug: str, value: object) -> Tenant:
    where = f"tenants.{slug}"
    if not SLUG.fullmatch(slug):
        message = f"{where}: a slug is {SLUG_RULE}"
        raise ConfigError(message)
    table = _table(value, where)
    _check_names(table, ("name", "enabled", "strict_event_types", "api_keys"), where)
    keys = table.get("api_keys", [])
    if not isinstance(keys, list):
        message = f"{where}.api_keys is not a list of tables"
        raise ConfigError(message)
    return Tenant(
        slug=slug,
        enabled=_truth(table, "enabled", where, default=True),
        strict_event_types=_truth(table, "strict_event_types", where, default=False),
        api_keys=tuple(_key(key, f"{where}.api_keys[{i}]") for i, key in enumerate(keys)),
        name=_text(table, "name", where),
    )


def _key(value: object, where: str) -> ApiKey:
    table = _table(value, where)
    _check_names(table, ("digest", "kind", "label", "created_at"), where)
    digest = _text(table, "digest", where)
    if not _DIGEST.fullmatch(digest):
        message = f"{where}.digest is not a SHA-256 in 64 lower-case hex digits"
        raise ConfigError(message)
    kind = _text(table, "kind", where) or "secret"
    for known in KEY_KINDS:
        if kind == known:
            label = _text(table, "label", where)
            return ApiKey(digest, known, label, _text(table, "created_at", where))
    message = f"{where}.kind is {kind!r}: use {' or '.join(KEY_KINDS)}"
    raise ConfigError(message)


def _table(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        message = f"{where} is not a table"
        raise ConfigError(message)
    return value


def _check_names(table: Mapping[str, object], known: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in known:
            message = f"{where} has an unknown {name!r}: known are {', '.join(known)}"
            raise ConfigError(message)


def _truth(table: Mapping[str, object], name: str, where: str, *, default: bool) -> bool:
    value = table.get(name, default)
    if not isinstance(value, bool):
        message = f"{where}.{name} is not true or false"
        raise ConfigError(message)
    return value


def _text(table: Mapping[str, object], name: str, where: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str):
        message = f"{where}.{name} is not a string"
        raise ConfigError(message)
    return value
