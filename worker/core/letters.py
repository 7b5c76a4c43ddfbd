"""Dead letters: rows that a destination cannot take, kept with the reason.

Everything that identifies a letter is a function of the row, so that judging it again after a
crash writes the same letter and the same error record.
"""

import base64
from datetime import datetime
from typing import Final
from uuid import NAMESPACE_OID, uuid5

import msgspec

from sluice.core.errors import ErrorRecord, ErrorType

MAX_BODY_BYTES: Final = 65_536
"""How much of an envelope that cannot be read is kept."""
MAX_REASON_CHARS: Final = 1_000
WAREHOUSE: Final = "warehouse"
_DETAIL: Final = "The warehouse could not take the event; it is kept with the reason."


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``dead_letters``."""

    tenant: str
    destination: str
    letter_id: str
    reason: str
    error_type: str
    row: str
    envelope_id: str
    attempt: int


class EventFields(msgspec.Struct, frozen=True, kw_only=True):
    """What an error record says of an event, as far as the row can be read."""

    tenant: str = ""
    event_id: str | None = None
    event_type: str | None = None
    user_id: str | None = None
    received_at: str = ""


_FIELDS: Final = msgspec.json.Decoder(EventFields)


def fields_of(row: bytes) -> EventFields:
    """Return what can be read of a row; nothing of one that is not JSON."""
    try:
        return _FIELDS.decode(row)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return EventFields()


def letter_of_row(
    row: bytes, *, reason: str, envelope_id: str, attempt: int, destination: str = WAREHOUSE
) -> Letter:
    """Return the letter of one row that a destination cannot take."""
    return _letter(
        row.decode(errors="backslashreplace"),
        tenant=fields_of(row).tenant,
        destination=destination,
        reason=reason,
        envelope_id=envelope_id,
        attempt=attempt,
    )


def letter_of_body(body: bytes, *, reason: str, envelope_id: str, attempt: int) -> Letter:
    """Return the letter of an envelope that cannot be read: its beginning, in base64."""
    return _letter(
        base64.b64encode(body[:MAX_BODY_BYTES]).decode(),
        tenant="",
        destination=WAREHOUSE,
        reason=reason,
        envelope_id=envelope_id,
        attempt=attempt,
    )


def _letter(
    row: str, *, tenant: str, destination: str, reason: str, envelope_id: str, attempt: int
) -> Letter:
    return Letter(
        tenant=tenant,
        destination=destination,
        letter_id=str(uuid5(NAMESPACE_OID, f"{destination}\x00{row}")),
        reason=reason[:MAX_REASON_CHARS],
        error_type=(
            ErrorType.DEAD_LETTER if destination == WAREHOUSE else ErrorType.DESTINATION_REJECTED
        ),
        row=row,
        envelope_id=envelope_id,
        attempt=attempt,
    )


def record_of(letter: Letter, row: bytes, *, seen_at: str) -> ErrorRecord | None:
    """Return the error record that tells the tenant; None where the tenant is not known.

    Args:
        letter: The letter of the row.
        row: The row.
        seen_at: The record's time where the row has none that can be read.
    """
    fields = fields_of(row)
    if not fields.tenant:
        return None
    return ErrorRecord(
        tenant=fields.tenant,
        error_id=letter.letter_id,
        ts=fields.received_at if _is_time(fields.received_at) else seen_at,
        source=letter.destination,
        error_type=letter.error_type,
        detail=_DETAIL if letter.destination == WAREHOUSE else letter.reason,
        event_id=fields.event_id,
        event_type=fields.event_type,
        user_id=fields.user_id,
    )


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
