"""Tenants and their API keys, as values; ``tenant_file`` reads them.

Keys are known only by the SHA-256 digest of their whole text (design, decision 10). The text of a
key is random and long, so a plain digest cannot be searched back.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Final, Literal, get_args

from sluice.core.amplitude import AmplitudeConfig
from sluice.core.errors import ConfigError
from sluice.core.workflows import DEFAULTS, WorkflowConfig

KeyKind = Literal["secret", "public"]
KEY_KINDS: Final[tuple[KeyKind, ...]] = get_args(KeyKind)
KEY_PREFIXES: Final[dict[KeyKind, str]] = {"secret": "sk_live_", "public": "pk_live_"}

KEY_ID_DIGITS: Final = 16
"""Digits of a digest that name a public key in the tokens made from it."""

SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
SLUG_RULE: Final = "1 to 63 of a-z, 0-9 and -, not starting with -"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One live key of a tenant."""

    digest: str
    """SHA-256 of the whole key text, in lower-case hex."""
    kind: KeyKind
    label: str = ""
    created_at: str = ""
    identity_secrets: tuple[str, ...] = field(default=(), repr=False)
    """Of a public key: what a server signs user ids with, in hex; any of them may match."""
    requires_signature: bool = False
    """Of a public key: whether a session for a ``user_id`` must be signed."""
    allowed_origins: tuple[str, ...] = ()
    """Of a public key: ``https://shop.example``, ``https://*.shop.example`` or ``*``."""


KEPT_FOR_GOOD: Final = 36_500
"""Days after which nothing is removed: a hundred years are for good."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose data it is."""

    slug: str
    enabled: bool = True
    strict_event_types: bool = False
    api_keys: tuple[ApiKey, ...] = ()
    name: str = ""
    session_ttl_s: int = 900
    """How long a session token of a public key lives."""
    key_events_per_s: int = 0
    """Events a second that one key may send; 0: no limit."""
    session_events_per_s: int = 0
    """Events a second that one session may send; 0: no limit."""
    retention_days: int = KEPT_FOR_GOOD
    """After how many whole days (UTC) since they were received events are removed."""
    shopify_secrets: tuple[str, ...] = field(default=(), repr=False)
    """What Shopify signs deliveries with; any of them may match."""
    shopify_shop_domains: tuple[str, ...] = ()
    """Shops whose deliveries are taken; empty: all that are signed."""
    shopify_topics: tuple[str, ...] = ()
    """Patterns of topics that are kept beside the usual ones, such as ``products/*``."""
    shopify_full_body: bool = False
    """Whether the payload is the whole body instead of the mapped object."""
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    """Of Standard Webhooks, ``whsec_…``; any of them may match."""
    amplitude: AmplitudeConfig | None = None
    """Where events are forwarded to; None: nowhere."""
    workflows: Mapping[str, WorkflowConfig] = field(default_factory=lambda: DEFAULTS)
    """What may be run, by ``config_id``."""
    has_limits: bool = field(init=False, repr=False, compare=False, default=False)
    """Whether any rate is limited; said once, because it is asked of every request."""

    def __post_init__(self) -> None:
        has_limits = bool(self.key_events_per_s or self.session_events_per_s)
        object.__setattr__(self, "has_limits", has_limits)


@dataclass(frozen=True)
class Directory:
    """Every tenant, and look-up of keys; a new one replaces it when the file changes.

    Raises:
        ConfigError: Two tenants, or one tenant twice, have the same key.
    """

    by_slug: Mapping[str, Tenant] = field(default_factory=lambda: MappingProxyType({}))
    origins: frozenset[str] = field(init=False, repr=False, compare=False)
    """The allowed origins of all public keys of live tenants together: a preflight has no key."""
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
        origins = frozenset(
            origin
            for tenant, key in found.values()
            if tenant.enabled and key.kind == "public"
            for origin in key.allowed_origins
        )
        object.__setattr__(self, "origins", origins)

    def find_key(self, credential: str) -> tuple[Tenant, ApiKey] | None:
        """Return whose key this is, or None; takes the same time wherever a digest differs."""
        digest = digest_of(credential)
        found = self._by_digest.get(digest)
        if found is None or not hmac.compare_digest(found[1].digest, digest):
            return None
        return found


def find_public_key(tenant: Tenant, key_id: str) -> ApiKey | None:
    """Return the live public key that a session token names; None once it was revoked."""
    if len(key_id) != KEY_ID_DIGITS:
        return None
    for key in tenant.api_keys:
        if key.kind == "public" and key.digest.startswith(key_id):
            return key
    return None


def digest_of(key: str) -> str:
    """Return the SHA-256 of a key's text in hex; any text has one, also what no header may hold."""
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
