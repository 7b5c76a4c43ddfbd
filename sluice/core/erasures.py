"""Who was erased: digests in place of names, and which of them an event may have.

An erasure is a digest of tenant, kind and value with a moment: what was received before it and has
that digest is not stored, sent or kept any more. Digests are made here and, for what is stored, by
the statements of ``sluice.warehouse.erasures``; a test compares the two.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Final, Literal

import msgspec

What = Literal["user", "email", "customer", "order", "shop"]
"""``user``: a user_id, whatever it came from. The others are said by Shopify's payloads only."""

SHOPIFY: Final = "shopify"
ORDER_EVENTS: Final = (
    "order_placed",
    "order_paid",
    "order_cancelled",
    "order_updated",
    "order_fulfilled",
    "order_partially_fulfilled",
    "order_deleted",
)
"""Whose full body is the order itself, so that its ``id`` is the order's."""
ORDER_USER: Final = "order:"
"""What stands before an order's id where an event of Shopify is filed under it."""
CUSTOMER_EVENTS: Final = (
    "customer_created",
    "customer_updated",
    "customer_deleted",
    "customer_enabled",
    "customer_disabled",
    "customer_merged",
    "customer_purchasing_summary_updated",
    "sms_consent_updated",
)
"""Whose full body is the customer."""


def digest_of(tenant: str, what: What, value: str) -> str:
    """Return the digest under which a value is noted as erased."""
    return sha256(f"{tenant}\0{what}\0{value}".encode()).hexdigest()


def fingerprint(user_id: str) -> str:
    """Return what certificates show in place of a user id: the SHA-256 of its text in UTF-8."""
    return sha256(user_id.encode()).hexdigest()


class _Shop(msgspec.Struct, frozen=True, gc=False):
    shop_domain: str = ""


class _Customer(msgspec.Struct, frozen=True, gc=False):
    id: int | str | None = None
    email: str | None = None


class _OrderEdit(msgspec.Struct, frozen=True, gc=False):
    order_id: int | str | None = None


class _Payload(msgspec.Struct, frozen=True, gc=False):
    """What mapped payloads and full bodies of Shopify say of whom they are about."""

    shopify: _Shop = _Shop()
    customer_id: int | str | None = None
    customer: _Customer | None = None
    email: str | None = None
    contact_email: str | None = None
    email_address: str | None = None
    order_id: int | str | None = None
    order_edit: _OrderEdit | None = None
    id: int | str | None = None


_PAYLOAD: Final = msgspec.json.Decoder(_Payload)
_TEXT: Final = msgspec.json.Decoder(str)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
NOTHING: Final = _Payload()


def said_by_shopify(
    event_type: str, payload: bytes, user_id: str = ""
) -> Iterator[tuple[What, str]]:
    """Yield what an event of Shopify says of whom it is about, and of which shop.

    Its user_id may be a customer's id or have an order's: some full bodies have these as GIDs only.
    """
    yield from _said_by_user(user_id)
    try:
        if payload.startswith(b'"'):  # one with a line feed in it travels as a text
            payload = _TEXT.decode(payload).encode()
        said = _PAYLOAD.decode(payload)
    except _UNREADABLE:
        said = NOTHING
    customer = said.customer or _Customer()
    own = said.id
    for email in (said.email, customer.email, said.contact_email, said.email_address):
        if email and (email := email.strip()):
            yield "email", email
    for number in (said.customer_id, customer.id, own if event_type in CUSTOMER_EVENTS else None):
        if number is not None:
            yield "customer", str(number)
    edited = said.order_edit.order_id if said.order_edit else None
    for number in (said.order_id, edited, own if event_type in ORDER_EVENTS else None):
        if number is not None:
            yield "order", str(number)
    yield "shop", said.shopify.shop_domain.lower()


def _said_by_user(user_id: str) -> Iterator[tuple[What, str]]:
    if user_id:
        yield "customer", user_id
    if user_id.startswith(ORDER_USER):
        yield "order", user_id.removeprefix(ORDER_USER)
