"""The event: stamped once at the edge, never recomputed downstream (design, decision 1).

A candidate is a parsed and valid event that has no identity yet; ``stamp`` fixes its ids and times
for good. A redelivered event is byte for byte the same, so its keys are a pure function of the
event as first accepted.
"""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid5

import msgspec

MAX_USER_ID_CHARS: Final = 255
MAX_EVENT_TYPE_CHARS: Final = 200
MAX_EVENT_ID_CHARS: Final = 128
MAX_EVENT_BYTES: Final = 262_144
MAX_PAYLOAD_DEPTH: Final = 32
MAX_BATCH_EVENTS: Final = 500

NAMESPACE: Final = UUID("6f6a3f0e-6d0c-5b7e-9c55-0f4a8a1b7d10")
"""Namespace of the version 5 ids. Changing it would make every client retry a new event."""


class Candidate(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A valid event that is not yet stamped."""

    user_id: str
    event_type: str
    occurred_at: str | None
    """UTC, ``YYYY-MM-DDTHH:MM:SS[.f…]`` with up to 9 digits; None means the receive time."""
    payload: bytes
    """The client's own JSON text of the payload object, in UTF-8."""
    client_id: str | None = None
    """The client's event_id, or what the Idempotency-Key makes of it; None if neither was sent."""
    anonymous_id: str = ""


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One stamped fact of one tenant; its fields are the columns of ``events``, in order."""

    tenant: str
    event_id: str
    """A UUID in text form: version 5 where the client named the event, else version 7."""
    user_id: str
    anonymous_id: str
    event_type: str
    occurred_at: str
    received_at: str
    """UTC, ``YYYY-MM-DDTHH:MM:SS.ffffff``."""
    source: str
    payload: msgspec.Raw


def derive_event_id(tenant: str, client_id: str) -> str:
    """Return one id per tenant and client id, the same on every machine (design, decision 1)."""
    return str(uuid5(NAMESPACE, f"{tenant}\x00{client_id}"))


def is_derived(event_id: str) -> bool:
    """Whether the client named the event, so that a retry of it may come later."""
    return event_id[14] == "5"


def format_ts(moment: datetime) -> str:
    """Return an aware time as ``YYYY-MM-DDTHH:MM:SS.ffffff`` in UTC, always with six digits."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def stamp(
    candidate: Candidate, *, tenant: str, source: str, received_at: str, new_id: str
) -> Event:
    """Return the event that a candidate becomes.

    Args:
        candidate: What the source parsed.
        tenant: Slug of the tenant that the credential belongs to.
        source: ``track``, ``batch`` or ``shopify``.
        received_at: As ``format_ts`` writes it.
        new_id: A version 7 UUID in text form, used where the client named no id.
    """
    client_id = candidate.client_id
    return Event(
        tenant=tenant,
        event_id=new_id if client_id is None else derive_event_id(tenant, client_id),
        user_id=candidate.user_id,
        anonymous_id=candidate.anonymous_id,
        event_type=candidate.event_type,
        occurred_at=candidate.occurred_at or received_at,
        received_at=received_at,
        source=source,
        payload=_payload_on_one_line(candidate.payload),
    )


def _payload_on_one_line(text: bytes) -> msgspec.Raw:
    # ClickHouse keeps the text of a JSON object as it stands
    # (input_format_json_read_objects_as_strings), so the payload travels unescaped. Rows are
    # separated by line feeds, so the rare payload that holds one travels as a JSON string
    # instead; ClickHouse stores the same text.
    if b"\n" in text or b"\r" in text:
        return msgspec.Raw(msgspec.json.encode(text.decode()))
    return msgspec.Raw(text)
