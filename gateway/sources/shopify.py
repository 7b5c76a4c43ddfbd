"""A Shopify delivery whose signature was verified -> an event, a run, or why it is not kept.

Pure, from headers and body, so that deliveries that come by another road need only a reader of
their own (reference/shopify.md, 6). Only the body is signed: nothing here trusts a header with more
than the choice of the mapping.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec

from gateway.core.event_rules import read_id
from gateway.core.json_repair import LONE_SURROGATE
from gateway.sources.shopify_body import NOT_JSON, Fields, Opened, is_always_text, open_delivery
from gateway.sources.shopify_privacy import PRIVACY_TOPICS, PrivacyRequest, read_privacy
from gateway.sources.shopify_topics import TOPICS, TRIGGERED, Topic
from gateway.sources.shopify_values import (
    LINE_READERS,
    READERS,
    SPREADERS,
    TYPED_READERS,
    Body,
    Line,
    all_money,
    gid,
    id_text,
)
from sluice.core.depth import depth_of, may_be_deeper
from sluice.core.errors import ErrorType, Rejected
from sluice.core.event import (
    MAX_EVENT_BYTES,
    MAX_PAYLOAD_DEPTH,
    MAX_USER_ID_CHARS,
    Candidate,
)
from sluice.core.tenant import Tenant
from sluice.core.times import parse_occurred_at

SOURCE: Final = "shopify"
SIGNATURE: Final = "X-Shopify-Hmac-SHA256"
SHOP_DOMAIN: Final = "X-Shopify-Shop-Domain"
TOPIC: Final = "X-Shopify-Topic"
WEBHOOK_ID: Final = "X-Shopify-Webhook-Id"
TRIGGERED_AT: Final = "X-Shopify-Triggered-At"
MAX_BODY_BYTES: Final = 5_242_880
"""What is kept; a larger body is only hashed."""
MAX_HASHED_BYTES: Final = 20_971_520
MAX_HEADER_CHARS: Final = 255
MAX_PAYLOAD_BYTES: Final = MAX_EVENT_BYTES - 8_192
"""Leaves room for the event's other fields."""

_KEPT_HEADERS: Final = (
    ("topic", TOPIC),
    ("shop_domain", SHOP_DOMAIN),
    ("webhook_id", WEBHOOK_ID),
    ("event_id", "X-Shopify-Event-Id"),
    ("api_version", "X-Shopify-API-Version"),
    ("triggered_at", TRIGGERED_AT),
    ("name", "X-Shopify-Name"),
    ("sub_topic", "X-Shopify-Sub-Topic"),
)
_TEST: Final = "X-Shopify-Test"
_EMAILS: Final = ("customer.email", "email", "contact_email", "email_address")
_CUSTOMER_IDS: Final = ("customer.id", "customer_id")
_CUSTOMER_GIDS: Final = (
    "admin_graphql_api_customer_id",
    "customerId",
    "admin_graphql_api_customer_kept_id",
)
_DOMAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_TOPIC: Final = re.compile(r"[a-z0-9_.-]+(?:/[a-z0-9_.-]+)?", re.ASCII)
_NUMBER: Final = re.compile(rb"0|[1-9][0-9]{0,19}")

_ENCODER: Final = msgspec.json.Encoder()

UNMAPPED: Final = ": it is not in the mapping."
SWITCHED_OFF: Final = ": it is off for this tenant."
Read = Candidate | PrivacyRequest | Rejected
Said = dict[str, object]
"""What the headers of a delivery say, by the names that the payload has for it."""


def read(headers: Mapping[str, str], body: bytes, tenant: Tenant) -> Read:
    """Return what a delivery becomes.

    Args:
        headers: By names in which case does not matter.
        body: As it was signed.
        tenant: Whose it is; says which topics are kept.
    """
    said = shopify_part(headers)
    topic = str(said.get("topic", "")).lower()
    if not topic:
        return Rejected(ErrorType.SHOPIFY_TOPIC_MISSING, "The delivery names no topic.")
    row = TOPICS.get(topic)
    if topic not in PRIVACY_TOPICS and (row is None or not _is_kept(row, tenant.shopify_topics)):
        # A name that Shopify cannot have sent is not repeated.
        name = topic if _TOPIC.fullmatch(topic) else "of another form"
        why = UNMAPPED if row is None else SWITCHED_OFF
        return Rejected(ErrorType.SHOPIFY_TOPIC_NOT_KEPT, f"Topic {name} is not kept{why}")
    opened = open_delivery(body)
    if isinstance(opened, Rejected):
        return opened
    request_id = _request_id(said, topic, body)
    try:
        if row is None:
            return read_privacy(
                topic,
                opened.text,
                shop_domain=str(said.get("shop_domain", "")),
                request_id=request_id,
                triggered_at=str(said.get("triggered_at", "")),
            )
        return _candidate(row, opened, said, request_id, tenant)
    except RecursionError:
        # The parser counts the calls around it too: a body that it just could open as a whole may
        # be too deep for it when a part is read from further down.
        return NOT_JSON


def _candidate(
    row: Topic, opened: Opened, said: Said, request_id: str, tenant: Tenant
) -> Candidate | Rejected:
    full_body = opened.text if tenant.shopify_full_body else None
    if opened.marked is None:
        return _Mapping(row, opened.kept, said).candidate(request_id, full_body=full_body)
    # Whose it is and when is read where a broken text passes for no good one.
    candidate = _Mapping(row, opened.marked, said).candidate(request_id, full_body=full_body)
    again = _Mapping(row, opened.kept, said).candidate(request_id, full_body=full_body)
    if isinstance(candidate, Rejected) or isinstance(again, Rejected):
        return candidate
    return msgspec.structs.replace(candidate, payload=again.payload, normalised=(LONE_SURROGATE,))


def _is_kept(row: Topic, patterns: tuple[str, ...]) -> bool:
    return row.is_kept or any(fnmatchcase(row.name, pattern) for pattern in patterns)


def is_domain(text: str) -> bool:
    """Whether a text may be repeated as a shop's domain."""
    return _DOMAIN.fullmatch(text) is not None


def header(headers: Mapping[str, str], name: str) -> str:
    """Return a header's value; empty where it is missing or not plain text of a sane length."""
    value = headers.get(name)
    if value is None:
        return ""
    value = value.strip()
    is_plain = value.isascii() and value.isprintable() and len(value) <= MAX_HEADER_CHARS
    return value if is_plain else ""


def name_of_delivery(webhook_id: str) -> str:
    """Return what names the event of a delivery, by its X-Shopify-Webhook-Id."""
    return f"{SOURCE}:{webhook_id}"


def _request_id(said: Said, topic: str, body: bytes) -> str:
    webhook_id = said.get("webhook_id")
    if webhook_id is not None:
        return name_of_delivery(str(webhook_id))
    digest = sha256(topic.encode() + b"\n" + body).hexdigest()
    return f"shopify-body:{digest}"


class _Mapping:
    """One delivery on its way through a row of the table."""

    def __init__(self, row: Topic, fields: Fields, said: Said) -> None:
        self._row = row
        self._fields = fields
        self._said = said
        self._email = self._find_email() if "1" in row.users else ""
        self._customer = self._find_customer() if "2" in row.users else ""
        self._cart = self._checkout = ""
        if "3" in row.users:
            # Behind the token of a newer cart stands a key that opens it.
            self._cart = _usable(id_text(self._fields.find(row.cart)).partition("?")[0])
            self._checkout = _usable(id_text(self._fields.find(row.checkout)))

    def candidate(self, client_id: str, *, full_body: bytes | None) -> Candidate | Rejected:
        """Return the event, with the mapped payload unless the full body is asked for and fits."""
        for source, user_id in self._users():  # noqa: B007 - the first that there is
            if user_id:
                break
        else:
            return Rejected(
                ErrorType.SHOPIFY_NO_USER,
                f"{self._row.name} carries no e-mail and no id to file it under.",
                event_type=self._row.event_type,
            )
        payload = full_body if full_body is not None and _fits(full_body) else self._payload(source)
        return Candidate(
            user_id,
            self._row.event_type,
            self._occurred_at(),
            payload,
            client_id,
            self._cart or self._checkout,
        )

    def _users(self) -> Iterator[tuple[str, str]]:
        """Yield the users that the event may be filed under, by the row's rules in order."""
        yield "email", self._email
        yield "customer_id", self._customer
        yield "cart_token", _usable(f"anon_{self._cart}" if self._cart else "")
        yield "checkout_token", _usable(f"anon_{self._checkout}" if self._checkout else "")
        if "4" in self._row.users:
            order = id_text(self._fields.find(self._row.order))
            yield "order_id", _usable(f"order:{order}" if order else "")
        if "5" in self._row.users:
            shop = str(self._said.get("shop_domain", ""))
            shop = shop or self._fields.text("myshopify_domain|shop_domain")
            yield "shop", _usable(f"shop:{shop}" if _DOMAIN.fullmatch(shop) else "")

    def _find_email(self) -> str:
        for path in _EMAILS:
            email = self._fields.text(path)
            if email and (usable := _usable(email)):
                return usable
        return ""

    def _find_customer(self) -> str:
        for path in (*_CUSTOMER_IDS, self._row.customer):
            customer = id_text(self._fields.find(path)) if path else ""
            if customer and (usable := _usable(customer)):
                return usable
        for path in _CUSTOMER_GIDS:
            number = gid(self._fields.find(path))
            if number is not None:
                return str(number)
        return ""

    def _occurred_at(self) -> str | None:
        for path in (*self._row.at.split("|"), TRIGGERED):
            if path == TRIGGERED:
                sent = str(self._said.get("triggered_at", ""))
            else:
                sent = self._fields.text(path)
            at = parse_occurred_at(sent)
            if at is not None and not isinstance(at, ErrorType):
                return at
        return None

    def _payload(self, user_id_source: str) -> bytes:
        payload: dict[str, object] = {
            "user_id_source": user_id_source,
            "shopify": self._said,
        }
        self._put_fields(payload, _plan_of(self._row.name))
        if self._customer:
            number = _NUMBER.fullmatch(self._customer.encode())
            payload["customer_id"] = msgspec.Raw(number[0]) if number else self._customer
        if self._email:
            payload["email"] = self._email
        if self._cart:
            payload["cart_token"] = self._cart
        if self._checkout:
            payload["checkout_token"] = self._checkout
        encoded = _ENCODER.encode(payload)
        if len(encoded) > MAX_PAYLOAD_BYTES and payload.pop("items", None) is not None:
            encoded = _ENCODER.encode(payload)
        return encoded

    def _put_fields(self, payload: dict[str, object], plan: "_Plan") -> None:
        fields = self._fields
        texts = zip(plan.texts, fields.pick(plan.text_keys), strict=False)
        payload |= {name: sent for name, sent in texts if sent is not None}
        sums = zip(plan.sums, fields.pick(plan.sum_keys), strict=False)
        said = {name: sent for name, sent in sums if sent is not None}
        for name, amount in zip(said, all_money([*said.values()]), strict=True):
            if amount is not None:
                payload[name] = msgspec.Raw(amount)
        for (name, read_value), sent in zip(plan.plain, fields.pick(plan.keys), strict=False):
            if sent is not None and (value := read_value(sent)) is not None:
                payload[name] = value
        for name, path, read_value in plan.nested:
            if (value := read_value(fields.find(path))) is not None:
                payload[name] = value
        for name, path, read_lines in plan.lines:
            lines = fields.lines(path)
            if lines is not None and (text := read_lines(lines)) is not None:
                payload[name] = msgspec.Raw(text)
        for spread in plan.spread:
            said_too = {key: msgspec.Raw(value) for key, value in spread(fields.all())}
            payload |= said_too | payload  # what is there already stays


_ReadValue = Callable[[Any], object]
_ReadLines = Callable[[list[Line]], bytes | None]
_Spread = Callable[[Body], Iterator[tuple[str, bytes]]]


class _Plan(NamedTuple):
    """The fields of a row by how they are read."""

    texts: Sequence[str]
    text_keys: tuple[str, ...]
    """Of the body, for each of ``texts``; so with the others."""
    sums: Sequence[str]
    sum_keys: tuple[str, ...]
    plain: Sequence[tuple[str, _ReadValue]]
    keys: tuple[str, ...]
    nested: list[tuple[str, str, _ReadValue]]
    lines: list[tuple[str, str, _ReadLines]]
    spread: list[_Spread]


@lru_cache(maxsize=256)  # the rows of the table
def _plan_of(topic: str) -> _Plan:
    texts: dict[str, str] = {}
    sums: dict[str, str] = {}
    plain: dict[tuple[str, _ReadValue], str] = {}
    nested: list[tuple[str, str, _ReadValue]] = []
    lines: list[tuple[str, str, _ReadLines]] = []
    spread: list[_Spread] = []
    for name, path, kind in TOPICS[topic].fields:
        if kind in SPREADERS:
            spread.append(SPREADERS[kind])
        elif kind in LINE_READERS:
            lines.append((name, path, LINE_READERS[kind]))
        elif kind == "text" and is_always_text(path):
            texts[name] = path
        elif kind == "money" and path.isidentifier():
            sums[name] = path
        else:
            read_value = TYPED_READERS.get(kind) or partial(_read_raw, READERS[kind])
            if path.isidentifier():
                plain[name, read_value] = path
            else:
                nested.append((name, path, read_value))
    return _Plan(
        texts=tuple(texts),
        text_keys=tuple(texts.values()),
        sums=tuple(sums),
        sum_keys=tuple(sums.values()),
        plain=tuple(plain),
        keys=tuple(plain.values()),
        nested=nested,
        lines=lines,
        spread=spread,
    )


def _read_raw(
    reader: Callable[[bytes], bytes | None], sent: msgspec.Raw | None
) -> msgspec.Raw | None:
    value = None if sent is None else reader(bytes(sent))
    return None if value is None else msgspec.Raw(value)


def shopify_part(headers: Mapping[str, str]) -> Said:
    """Return what the headers say of a delivery; none of it is signed."""
    part: Said = {
        name: value for name, spelled in _KEPT_HEADERS if (value := header(headers, spelled))
    }
    if header(headers, _TEST).lower() == "true":
        part["test"] = True
    return part


def _usable(text: str) -> str:
    """Return a text that may be a user_id; empty where it may not."""
    if text.isprintable() and len(text) <= MAX_USER_ID_CHARS and text[:1] != " ":
        return text
    found = read_id(text, name="user_id", limit=MAX_USER_ID_CHARS)
    return found if isinstance(found, str) else ""


def _fits(body: bytes) -> bool:
    is_flat = not may_be_deeper(body, MAX_PAYLOAD_DEPTH) or depth_of(body) <= MAX_PAYLOAD_DEPTH
    return len(body) <= MAX_PAYLOAD_BYTES and is_flat and body.startswith(b"{")
