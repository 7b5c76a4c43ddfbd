"""Which events are left out because their person was erased.

Cheap where nothing is to be done: of an envelope only tenants and hours are looked at, and only
those of a tenant with an erasure that is not older than its events are read event by event.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from sluice.core.envelope import split
from sluice.core.erasures import SHOPIFY, digest_of, said_by_shopify
from worker.core.rows import HOUR_CHARS, TIME_CHARS, Key, is_well_formed

NOTHING: Final = msgspec.Raw(b"{}")


class EventOf(msgspec.Struct, frozen=True, gc=False):
    """The fields of a row that say whose it is and when it was received."""

    tenant: str = ""
    user_id: str | None = None
    event_type: str | None = None
    received_at: str = ""
    source: str = ""
    payload: msgspec.Raw = NOTHING
    ts: str = ""
    """Of an error record, which has no ``received_at``."""
    event_id: str | None = None

    @property
    def is_event(self) -> bool:
        """Whether it is an event whose id and time can be read."""
        key = Key(self.tenant, self.event_id or "", "", self.received_at)
        return not self.ts and len(self.received_at) == TIME_CHARS and is_well_formed(key)

    @property
    def accepted(self) -> dict[str, str]:
        """The row of ``accepted_erased``."""
        event_id = self.event_id or ""
        return {"tenant": self.tenant, "event_id": event_id, "received_at": self.received_at}


_EVENT: Final = msgspec.json.Decoder(EventOf)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError)


@dataclass(slots=True)
class TenantErasures:
    """One tenant's erasures."""

    cut_off: str = ""
    """The latest, ``YYYY-MM-DDTHH:MM:SS.ffffff``."""
    digests: dict[str, str] = field(default_factory=dict)
    """Each with its cut-off."""
    has_shopify: bool = False
    """Whether payloads of Shopify have to be read."""

    def covers(self, event: EventOf) -> bool:
        """Whether an event is one of those that are erased."""
        at = event.received_at or event.ts
        if len(at) != TIME_CHARS:
            at = ""  # no time that can be read: it came some time before
        if at >= self.cut_off:
            return False
        return self._has_user(event.tenant, event.user_id or "", at) or (
            self.has_shopify
            and event.source == SHOPIFY
            and any(
                self.digests.get(digest_of(event.tenant, what, value), "") > at
                for what, value in said_by_shopify(
                    event.event_type or "", bytes(event.payload), event.user_id or ""
                )
            )
        )

    def covers_user(self, tenant: str, user_id: str, received_at: str) -> bool:
        """Whether an event of a user is, as far as the user_id says."""
        return received_at < self.cut_off and self._has_user(tenant, user_id, received_at)

    def _has_user(self, tenant: str, user_id: str, at: str) -> bool:
        return bool(user_id) and self.digests.get(digest_of(tenant, "user", user_id), "") > at


class Erased:
    """All erasures that are known, by tenant."""

    def __init__(self) -> None:
        self.tenants: dict[str, TenantErasures] = {}
        """Of those that have any: whoever is not in it costs one look-up."""

    def add(self, tenant: str, what: str, digest: str, cut_off: str) -> bool:
        """Note an erasure; return whether it says something new."""
        found = self.tenants.setdefault(tenant, TenantErasures())
        if found.digests.get(digest, "") >= cut_off:
            return False
        found.digests[digest] = cut_off
        found.cut_off = max(found.cut_off, cut_off)
        found.has_shopify |= what != "user"
        return True

    def concerns(self, hours: Iterable[tuple[str, str]]) -> bool:
        """Whether rows of these tenants and hours (``YYYY-MM-DDTHH``) have to be looked at."""
        tenants = self.tenants
        return any(
            tenant in tenants and hour <= tenants[tenant].cut_off[:HOUR_CHARS]
            for tenant, hour in hours
        )

    def among(self, data: bytes) -> dict[int, EventOf]:
        """Return which rows of an envelope are left out, by position; 1 µs a row and more."""
        found = ((place, self._read(row)) for place, row in enumerate(split(data)))
        return {place: event for place, event in found if event is not None}

    def covers_row(self, tenant: str, received_at: str, row: bytes) -> bool:
        """The same as ``covers``, and cheap for what came after the tenant's last erasure."""
        found = self.tenants.get(tenant)
        return found is not None and received_at < found.cut_off and self.covers(row)

    def covers_user(self, tenant: str, user_id: str, received_at: str) -> bool:
        """Whether an event of a user is left out, as far as the user_id says."""
        found = self.tenants.get(tenant)
        return found is not None and found.covers_user(tenant, user_id, received_at)

    def covers(self, row: bytes) -> bool:
        """Whether a row is left out; one that cannot be read is not."""
        return self._read(row) is not None

    def _read(self, row: bytes) -> EventOf | None:
        """Return what is known of a row that is left out; None of any other."""
        try:
            event = _EVENT.decode(row)
        except _UNREADABLE:
            return None
        found = self.tenants.get(event.tenant)
        return event if found is not None and found.covers(event) else None
