"""The tenants file as text -> tenants, or one clear error; and the properties that it may set."""

import re
import tomllib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from sluice.core.amplitude import AmplitudeConfig, split_pair
from sluice.core.amplitude_properties import AMPLITUDE
from sluice.core.errors import ConfigError
from sluice.core.property import Property
from sluice.core.property_values import check, check_names, table_of
from sluice.core.tenant import (
    KEPT_FOR_GOOD,
    KEY_KINDS,
    SLUG,
    SLUG_RULE,
    ApiKey,
    Directory,
    Tenant,
)
from sluice.core.workflow_settings import parse_workflows

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})+")
_TOPIC: Final = re.compile(r"[a-z0-9_.*-]+(/[a-z0-9_.*-]+)?")
_HEX_SECRET: Final = re.compile(r"([0-9a-fA-F]{2}){16,128}")
_WHSEC: Final = re.compile(r"(whsec_)?[A-Za-z0-9+/]{22,}={0,2}")


def _is_origin(text: str) -> bool:
    if text == "*":
        return True
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    # A browser names neither, so such an origin would match no page.
    if "@" in text or (parts.scheme, port) in {("http", 80), ("https", 443)}:
        return False
    host = (parts.hostname or "").removeprefix("*.")
    if parts.netloc.startswith("*.") and "." not in host:
        return False  # https://*.com would be half of the web
    is_bare = f"{parts.scheme}://{parts.netloc}" == text and "*" not in host
    return is_bare and parts.scheme in {"http", "https"} and bool(host) and text == text.lower()


_OWN: Final = {
    one.name: one
    for one in (
        Property("name", "text", "A name for people.", default=""),
        Property("enabled", "truth", "Whether anything is taken or answered.", default=True),
        Property(
            "strict_event_types",
            "truth",
            "Whether event types must be snake_case.",
            default=False,
        ),
        Property(
            "session_ttl_s",
            "number",
            "Seconds that a session token lives.",
            low=120,
            high=86_400,
            default=900,
        ),
        Property(
            "key_events_per_s",
            "number",
            "Events a second that one key may send; past it 429. 0: no limit.",
            high=10_000_000,
            default=0,
        ),
        Property(
            "session_events_per_s",
            "number",
            "Events a second that one session may send; past it 429. 0: no limit.",
            high=1_000_000,
            default=0,
        ),
        Property(
            "retention_days",
            "number",
            "Days after which events are removed from ClickHouse; 36500: never.",
            low=9,  # stats look back for 7 days, and for so long a copy is known again
            high=KEPT_FOR_GOOD,
            default=KEPT_FOR_GOOD,
        ),
        Property(
            "shopify_secrets",
            "secrets",
            "What Shopify signs deliveries with: an app's client secret, or the store's signing"
            " secret. Several may be live.",
            "8 to 200 visible characters",
            lambda text: 8 <= len(text) <= 200 and text.isascii() and text.isprintable(),
            default=(),
        ),
        Property(
            "shopify_shop_domains",
            "texts",
            "Shops whose deliveries are taken; empty: all that are signed.",
            "a domain such as acme.myshopify.com, in lower case",
            lambda text: _DOMAIN.fullmatch(text) is not None,
            default=(),
        ),
        Property(
            "shopify_topics",
            "texts",
            "Patterns of topics that are kept beside the usual ones.",
            "a topic with or without *, such as products/*",
            lambda text: _TOPIC.fullmatch(text) is not None,
            default=(),
        ),
        Property(
            "shopify_full_body",
            "truth",
            "Whether the payload is Shopify's whole body instead of the mapped object.",
            default=False,
        ),
        Property(
            "webhook_secrets",
            "secrets",
            "What senders of Standard Webhooks sign with. Several may be live.",
            "whsec_ and base64 of 16 bytes or more",
            lambda text: _WHSEC.fullmatch(text) is not None,
            default=(),
        ),
    )
}

PROPERTIES: Final = _OWN | {one.name: one for one in AMPLITUDE.values()}
"""Of a tenant; its ``slug`` and ``api_keys`` stand beside them."""

KEY_PROPERTIES: Final = {
    one.name: one
    for one in (
        Property(
            "identity_secrets",
            "secrets",
            "What a server signs user ids with (`user_id_sig`). Several may be live.",
            "16 bytes or more in hex",
            lambda text: _HEX_SECRET.fullmatch(text) is not None,
            default=(),
        ),
        Property(
            "requires_signature",
            "truth",
            "Whether a session for a user_id must be signed.",
            default=False,
        ),
        Property(
            "allowed_origins",
            "texts",
            "Web pages that may use the key; empty: none.",
            "an origin such as https://shop.example, https://*.shop.example, or *",
            _is_origin,
            default=(),
        ),
    )
}
"""Of a public key."""

_KEY_NAMES: Final = ("digest", "kind", "label", "created_at")


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
    except RecursionError:
        message = "not TOML: it is nested too deep"
        raise ConfigError(message) from None
    check_names(document, ("tenants",), "the file")
    tables = table_of(document.get("tenants", {}), "tenants")
    return Directory(
        MappingProxyType({slug: _tenant(slug, value) for slug, value in tables.items()})
    )


def _tenant(slug: str, value: object) -> Tenant:
    where = f"tenants.{slug}"
    if not SLUG.fullmatch(slug):
        message = f"{where}: a slug is {SLUG_RULE}"
        raise ConfigError(message)
    table = table_of(value, where)
    check_names(table, (*_OWN, "amplitude", "api_keys", "workflows"), where)
    keys = table.get("api_keys", [])
    if not isinstance(keys, list):
        message = f"{where}.api_keys is not a list of tables"
        raise ConfigError(message)
    values: dict[str, Any] = _values(table, _OWN, where)
    return Tenant(
        slug=slug,
        api_keys=tuple(_key(key, f"{where}.api_keys[{i}]") for i, key in enumerate(keys)),
        amplitude=_amplitude(table.get("amplitude", {}), f"{where}.amplitude"),
        workflows=parse_workflows(table.get("workflows", {}), f"{where}.workflows"),
        **values,
    )


def _amplitude(value: object, where: str) -> AmplitudeConfig | None:
    table = table_of(value, where)
    check_names(table, tuple(AMPLITUDE), where)
    values: dict[str, Any] = _values(table, AMPLITUDE, where)
    for name in ("rename", "revenue", "properties"):
        lefts = [split_pair(text)[0] for text in values[name]]
        if len(set(lefts)) < len(lefts):
            message = f"{where}.{name} has two values for one name: keep one"
            raise ConfigError(message)
    # Without a key the others may stay, so that forwarding is switched off and on by the key alone.
    return AmplitudeConfig(**values) if values["api_key"] else None


def _key(value: object, where: str) -> ApiKey:
    table = table_of(value, where)
    check_names(table, (*_KEY_NAMES, *KEY_PROPERTIES), where)
    digest = _text(table, "digest", where)
    if not _DIGEST.fullmatch(digest):
        message = f"{where}.digest is not a SHA-256 in 64 lower-case hex digits"
        raise ConfigError(message)
    kind = _text(table, "kind", where) or "secret"
    for known in KEY_KINDS:
        if kind == known:
            label, created_at = _text(table, "label", where), _text(table, "created_at", where)
            values: dict[str, Any] = _values(table, KEY_PROPERTIES, where)
            return ApiKey(digest, known, label, created_at, **values)
    message = f"{where}.kind is {kind!r}: use {' or '.join(KEY_KINDS)}"
    raise ConfigError(message)


def _values(
    table: Mapping[str, object], known: Mapping[str, Property], where: str
) -> dict[str, object]:
    return {
        name: check(one, table[name], f"{where}.{name}") if name in table else one.default
        for name, one in known.items()
    }


def _text(table: Mapping[str, object], name: str, where: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str):
        message = f"{where}.{name} is not a string"
        raise ConfigError(message)
    return value
