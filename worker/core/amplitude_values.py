"""The fields of an Amplitude event that come out of a payload or a time of Sluice.

The rules are Amplitude's reference, "Our mapping".
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final

import msgspec

from worker.core.amplitude_limits import MAX_LEVELS, MEMBERS, cut
from worker.core.rows import SECOND_CHARS

NO_SESSION: Final = -1
Revenue = tuple[msgspec.Raw, str | msgspec.UnsetType, str]
"""``revenue``, ``currency`` and ``revenueType``."""

_MAX_AMOUNT_CHARS: Final = 40
_AMOUNT: Final = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII).fullmatch
_MAGNITUDES: Final = range(-20, 20)
"""Powers of ten that an amount of money may lie in."""
_CURRENCY: Final = re.compile(rb'"[A-Za-z]{3}"').fullmatch
_SESSION: Final = re.compile(rb"[1-9]\d{0,17}").fullmatch
"""A whole number above 0 that fits 64 bits."""
_TEXT: Final = msgspec.json.Decoder(str)
_encode: Final = msgspec.json.Encoder().encode


class _Session(msgspec.Struct, gc=False):
    session_id: msgspec.Raw = msgspec.Raw(b"")


_SESSION_OF: Final = msgspec.json.Decoder(_Session)


def milliseconds(text: str) -> int:
    """Return the Unix milliseconds of ``YYYY-MM-DDTHH:MM:SS[.f]`` in UTC, rounded down.

    Raises:
        ValueError: The text is not such a time.
    """
    return _second(text[:SECOND_CHARS]) + int(text[20:23].ljust(3, "0"))


@lru_cache(maxsize=16_384)
def _second(text: str) -> int:
    if len(text) != SECOND_CHARS:
        message = "not a time to the second"
        raise ValueError(message)
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def as_object(payload: bytes) -> bytes:
    """Return a payload as the text of an object.

    A payload with a line feed in it travels as a JSON string, which holds the object
    (``sluice.core.event``). Any other value becomes the member ``value``.
    """
    if payload.startswith(b"{"):
        return payload
    if payload.startswith(b'"'):
        inner = _TEXT.decode(payload).encode().strip()
        if inner.startswith(b"{"):
            MEMBERS.decode(inner)
            return inner
    return b'{"value":' + payload + b"}"


def session_of(payload: bytes) -> int:
    """Return the ``session_id`` of an object if it is a whole number above 0, else -1."""
    text = bytes(_SESSION_OF.decode(payload).session_id)
    return int(text) if _SESSION(text) else NO_SESSION


def revenue_of(payload: bytes, member: str, *, is_refund: bool) -> Revenue | tuple[()]:
    """Return the revenue of an event; nothing where the member is missing or no amount.

    Never ``price`` and ``quantity``, which would win over ``revenue``. A negative amount is a
    refund whatever the event is.
    """
    members = MEMBERS.decode(payload)
    amount = _amount(bytes(members.get(member, b"")))
    if amount is None:
        return ()
    is_refund = is_refund or amount < 0
    size = amount.copy_abs()  # exact, where arithmetic would round
    currency = bytes(members.get("currency", b""))
    return (
        msgspec.Raw(f"{size.copy_negate() if is_refund and size else size:f}".encode()),
        currency[1:-1].decode().upper() if _CURRENCY(currency) else msgspec.UNSET,
        "refund" if is_refund else "purchase",
    )


def _amount(value: bytes) -> Decimal | None:
    # Shops write amounts as numbers or as strings. As Decimal no digit of them changes.
    if len(value) > _MAX_AMOUNT_CHARS:
        return None
    text = _TEXT.decode(value).strip() if value.startswith(b'"') else value.decode()
    if not _AMOUNT(text):
        return None
    amount = Decimal(text)
    return amount if amount.adjusted() in _MAGNITUDES else None


def operations_of(payload: bytes) -> tuple[bytes, int]:
    """Return the ``user_properties`` of ``$identify``, and how many values were cut.

    Null is the removal of a property. Nothing comes of an object without members.
    """
    # The payload stands one level deep in it.
    payload, cuts = cut(payload, MAX_LEVELS - 1)
    if b":" not in payload:
        return b"", 0
    if b"null" not in payload:
        return b'{"$set":' + payload + b"}", cuts
    members = MEMBERS.decode(payload)
    removed = [name for name, value in members.items() if bytes(value) == b"null"]
    if not removed:
        return b'{"$set":' + payload + b"}", cuts
    kept = {name: value for name, value in members.items() if name not in set(removed)}
    unset = dict.fromkeys(removed, "-")
    operations = {"$set": kept, "$unset": unset} if kept else {"$unset": unset}
    return _encode(operations), cuts
