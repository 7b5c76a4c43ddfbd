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
from sluice.core.tenant import KEY_KINDS, SLUG, SLUG_RULE, ApiKey, Directory, Tenant

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})+")
_TOPIC: Final = re.compile(r"[a-z0-9_.*-]+(/[a-z0-9_.*-]+)?")
_HEX_SECRET: Final = re.compile(r"([0-9a-fA-F]{2}){16,128}")
_WHSEC: Final = re.compile(r"(whsec_)?[A-Za-z0-9+/]{22,}={0,2}")
_NO_LINE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
MAX_NAME_CHARS: Final = 200


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
    _check_names(table, (*_OWN, "amplitude", "api_keys"), where)
    keys = table.get("api_keys", [])
    if not isinstance(keys, list):
        message = f"{where}.api_keys is not a list of tables"
        raise ConfigError(message)
    values: dict[str, Any] = _values(table, _OWN, where)
    return Tenant(
        slug=slug,
        api_keys=tuple(_key(key, f"{where}.api_keys[{i}]") for i, key in enumerate(keys)),
        amplitude=_amplitude(table.get("amplitude", {}), f"{where}.amplitude"),
        **values,
    )


def _amplitude(value: object, where: str) -> AmplitudeConfig | None:
    table = _table(value, where)
    _check_names(table, tuple(AMPLITUDE), where)
    values: dict[str, Any] = _values(table, AMPLITUDE, where)
    for name in ("rename", "revenue", "properties"):
        lefts = [split_pair(text)[0] for text in values[name]]
        if len(set(lefts)) < len(lefts):
            message = f"{where}.{name} has two values for one name: keep one"
            raise ConfigError(message)
    # Without a key the others may stay, so that forwarding is switched off and on by the key alone.
    return AmplitudeConfig(**values) if values["api_key"] else None


def _key(value: object, where: str) -> ApiKey:
    table = _table(value, where)
    _check_names(table, (*_KEY_NAMES, *KEY_PROPERTIES), where)
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


def _values(
    table: Mapping[str, object], known: Mapping[str, Property], where: str
) -> dict[str, object]:
    return {
        name: check(one, table[name], f"{where}.{name}") if name in table else one.default
        for name, one in known.items()
    }


def check(one: Property, value: object, where: str) -> object:
    """Return a value as the property holds it.

    Raises:
        ConfigError: It does not fit; says where and what is accepted, never the value of a secret.
    """
    match one.kind:
        case "truth":
            is_taken = isinstance(value, bool)
        case "number":
            is_taken = isinstance(value, int) and not isinstance(value, bool) and _fits(one, value)
        case "text":
            is_taken = isinstance(value, str)
        case "choice":
            is_taken = value in one.choices
        case "secret":
            is_taken = isinstance(value, str) and (not value or one.is_good(value))
        case _:
            return _texts(one, value, where)
    if is_taken:
        return value
    message = f"{where} is not {accepted_by(one)}"
    raise ConfigError(message)


def _texts(one: Property, value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        message = f"{where} is not a list of strings"
        raise ConfigError(message)
    if len(value) > one.most:
        message = f"{where} has {len(value)} values: {one.most} are taken"
        raise ConfigError(message)
    for index, text in enumerate(value):
        if not one.is_good(text):
            shown = "" if one.is_hidden else f" is {text!r}"
            message = f"{where}[{index}]{shown}: use {one.accepted}"
            raise ConfigError(message)
    return tuple(value)


def one_line(text: str, what: str) -> str:
    """Return a text for people that may stand in a list on a terminal.

    A file that was written by hand may say more: nothing depends on it.

    Raises:
        ConfigError: It has control characters, half a character, or is very long.
    """
    if len(text) <= MAX_NAME_CHARS and not _NO_LINE.search(text):
        return text
    message = f"{what}: use one line of at most {MAX_NAME_CHARS} characters, none of them control"
    raise ConfigError(f"{message} characters.")


def parse_value(one: Property, text: str) -> object:
    """Return the value of a property from its text, such as ``sluice tenant set`` is given.

    Raises:
        ConfigError: The text does not fit.
    """
    value: object = text
    if one.kind == "text":
        value = one_line(text, one.name)
    elif one.kind == "truth":
        value = {"true": True, "false": False}.get(text, text)
    elif one.kind == "number" and text.isascii() and text.isdigit():
        value = int(text)
    elif one.kind in {"texts", "secrets"}:
        value = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return check(one, value, one.name)
    except ConfigError:
        shown = "(hidden)" if one.is_hidden else repr(text)
        message = f"{one.name} is {shown}: use {accepted_by(one)}."
        raise ConfigError(message) from None


def _fits(one: Property, value: int) -> bool:
    return value == one.default or one.low <= value <= one.high


def accepted_by(one: Property) -> str:
    """Return in words what the property takes."""
    match one.kind:
        case "truth":
            return "true or false"
        case "number":
            return f"a whole number from {one.low} to {one.high}"
        case "text":
            return "a string"
        case "choice":
            return " or ".join(one.choices)
        case "secret":
            return one.accepted
        case "texts" | "secrets":
            return f"{one.accepted}; several with commas"


def _text(table: Mapping[str, object], name: str, where: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str):
        message = f"{where}.{name} is not a string"
        raise ConfigError(message)
    return value
