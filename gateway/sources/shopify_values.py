"""Values of a Shopify body: amounts taken over digit by digit, so that nothing becomes a float.

Texts and ids come as such; of every other kind a function takes the JSON text and returns the JSON
text for the payload. None, where the value does not fit, leaves the key out.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Context, Decimal
from typing import Annotated, Final, TypeVar

import msgspec

from gateway.sources.shopify_topics import Kind

MAX_ITEMS: Final = 100
MAX_TEXT_BYTES: Final = 8_192
"""A longer text is left out; Shopify's own bounds lie far below."""
MAX_TEXT_CHARS: Final = MAX_TEXT_BYTES // 4
"""The same for what is read as text, so that it holds whatever its characters are."""
MAX_LINE_CHARS: Final = 1_000
MAX_ID_CHARS: Final = 255
MAX_MONEY_CHARS: Final = 40

_MONEY: Final = re.compile(rb'"?(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)"?').fullmatch
_PADDED: Final = re.compile(rb'"(-?)0*([0-9]+(?:\.[0-9]+)?)"').fullmatch
"""Digits before which JSON allows no zeros."""
_AMOUNT: Final = rb'"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,15})?"'
_ALL_MONEY: Final = re.compile(rb"%b(?: %b)*" % (_AMOUNT, _AMOUNT)).fullmatch
"""Amounts as Shopify writes nearly all of them, with a space between them."""
_END_OF_IDS: Final = 10**20
_GID: Final = re.compile(r"(?:^|/)(0|[1-9][0-9]{0,19})(?:\?.*)?$")
# Of shops and goods: whose they are and how to reach them is not needed, and keys are nobody's.
_PERSONAL: Final = re.compile(
    r"phone|address|email|owner|first_name|last_name|latitude|longitude|zip|city|province|note"
    r"|token|secret|password|url|customer|(?:^|_)ip(?:$|_)"
)
_EXACT: Final = Context(prec=4 * MAX_MONEY_CHARS)

Body = Mapping[str, msgspec.Raw]
T = TypeVar("T")


_Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Short = Annotated[str, msgspec.Meta(max_length=MAX_LINE_CHARS)]


class Item(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is kept of a line."""

    product_id: _Id | None = None
    variant_id: _Id | None = None
    sku: str | None = None
    title: str | None = None
    quantity: _Id | None = None
    price: msgspec.Raw | None = None


class Line(msgspec.Struct, frozen=True, gc=False):
    """What is read of a line of an order, cart, fulfilment or refund."""

    product_id: _Id | None = None
    variant_id: _Id | None = None
    sku: _Short | None = None
    title: _Short | None = None
    quantity: _Id | None = None
    price: msgspec.Raw = msgspec.Raw(b"")
    line_price: msgspec.Raw = msgspec.Raw(b"")
    price_set: msgspec.Raw = msgspec.Raw(b"")


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """What is read of a transaction of a refund."""

    kind: msgspec.Raw = msgspec.Raw(b"")
    status: msgspec.Raw = msgspec.Raw(b"")
    amount: msgspec.Raw = msgspec.Raw(b"")
    currency: msgspec.Raw = msgspec.Raw(b"")


class Code(msgspec.Struct, frozen=True, gc=False):
    """What is read of a discount code."""

    code: msgspec.Raw = msgspec.Raw(b"")


_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_ID: Final[msgspec.json.Decoder[int | str]] = msgspec.json.Decoder(int | str)
_LINES: Final = msgspec.json.Decoder(list[Line])
_LINE: Final = msgspec.json.Decoder(Line)
_TRANSACTION: Final = msgspec.json.Decoder(Transaction)
_CODE: Final = msgspec.json.Decoder(Code)
_ENCODER: Final = msgspec.json.Encoder()


def opened(text: bytes) -> dict[str, msgspec.Raw]:
    """Return the members of an object; none where it is not one."""
    return _OBJECT.decode(text) if text.startswith(b"{") else {}


def lines_of(value: bytes) -> list[Line] | None:
    """Return the objects of a list; None where it is no list."""
    if not value.startswith(b"["):
        return None
    try:
        return _LINES.decode(value)
    except msgspec.ValidationError:  # something in it is not as Shopify sends it
        return [_line_of(opened(bytes(one))) for one in _listed(value)]


def _line_of(members: Mapping[str, msgspec.Raw]) -> Line:
    """Return a line with those of its members that are of their type."""
    fits = {}
    for name, value in members.items():
        try:
            _LINE.decode(b'{"%b":%b}' % (name.encode(), bytes(value)))
        except (msgspec.ValidationError, msgspec.DecodeError):
            continue
        fits[name] = value
    return _LINE.decode(_ENCODER.encode(fits))


def scalar(value: bytes) -> bytes | None:
    """Return a string, number or truth as it was sent."""
    if value[:1] in (b"{", b"[", b"n", b"") or len(value) > MAX_TEXT_BYTES:
        return None
    return value


def text(value: bytes, limit: int = MAX_TEXT_BYTES) -> bytes | None:
    """Return a string as it was sent."""
    return value if value.startswith(b'"') and len(value) <= limit else None


def only_text(value: object) -> str | None:
    """Return a text; nothing where the field is a number, which it may be as an id."""
    return value if isinstance(value, str) else None


def ident(value: object) -> int | str | None:
    """Return an id, whole or as text, as it was sent."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < _END_OF_IDS else None
    return value if isinstance(value, str) and len(value) <= MAX_ID_CHARS else None


def id_text(value: object) -> str:
    """Return an id as text; empty where it is none."""
    found = ident(value)
    return "" if found is None else str(found).strip()


def gid(value: object) -> int | None:
    """Return the number at the end of a global id, ``gid://shopify/Customer/7001``."""
    found = _GID.search(value) if isinstance(value, str) else None
    return int(found[1]) if found else None


def money(value: bytes) -> bytes | None:
    """Return a decimal with the digits as sent, as a JSON number."""
    if len(value) > MAX_MONEY_CHARS:
        return None
    if found := _MONEY(value):
        return found[1]
    found = _PADDED(value)
    return found[1] + found[2] if found else None


def all_money(values: Sequence[msgspec.Raw]) -> Sequence[bytes | None]:
    """Return what ``money`` returns for each value.

    Where all are written as nearly all are, the work is done on the whole at once.
    """
    together = b" ".join(values)
    if _ALL_MONEY(together):
        return together.replace(b'"', b"").split(b" ")
    return [money(bytes(value)) for value in values]


def tags(value: bytes) -> bytes | None:
    """Return tags, which are one text or a list of texts."""
    if value.startswith(b"[") and len(value) <= MAX_TEXT_BYTES:
        return value if all(one.startswith(b'"') for one in map(bytes, _listed(value))) else None
    return text(value)


def _listed(value: bytes) -> list[msgspec.Raw]:
    return _LIST.decode(value) if value.startswith(b"[") else []


def _objects(value: bytes, decoder: msgspec.json.Decoder[T]) -> Iterator[T]:
    for one in _listed(value):
        if bytes(one).startswith(b"{"):
            yield decoder.decode(one)


def id_texts(value: bytes) -> list[str]:
    """Return the ids of a list as texts, without what in it is none."""
    found = []
    for one in _listed(value):
        try:
            found.append(id_text(_ID.decode(one)))
        except msgspec.ValidationError:  # another type, or a number that no integer holds
            continue
    return [one for one in found if one]


def codes(value: bytes) -> bytes | None:
    """Return the codes of discounts; of one that is only an amount nothing."""
    found = [text(bytes(one.code)) for one in _objects(value, _CODE)]
    kept = [one for one in found if one is not None][:MAX_ITEMS]
    return b"[%b]" % b",".join(kept) if kept else None


def count(lines: list[Line]) -> bytes:
    """Return how many there are."""
    return b"%d" % len(lines)


def quantity(lines: list[Line]) -> bytes:
    """Return the sum of the lines' quantities."""
    return b"%d" % sum([line.quantity or 0 for line in lines])


def items(lines: list[Line]) -> bytes:
    """Return the first lines, with what segmentation needs of each."""
    kept = lines[:MAX_ITEMS]
    return _ENCODER.encode(
        [
            Item(
                line.product_id,
                line.variant_id,
                line.sku,
                line.title,
                line.quantity,
                None if price is None else msgspec.Raw(price),
            )
            for line, price in zip(kept, all_money([line.price for line in kept]), strict=True)
        ]
    )


def line_total(lines: list[Line]) -> bytes | None:
    """Return the sum of a cart's lines."""
    return _sum([line.line_price for line in lines])


def line_currency(lines: list[Line]) -> bytes | None:
    """Return the currency of a cart's first line; carts have none of their own."""
    if not lines:
        return None
    money_of_shop = opened(bytes(lines[0].price_set)).get("shop_money", b"")
    return text(bytes(opened(bytes(money_of_shop)).get("currency_code", b"")))


def _refunded(value: bytes) -> list[Transaction]:
    return [
        one
        for one in _objects(value, _TRANSACTION)
        if (bytes(one.kind), bytes(one.status)) == (b'"refund"', b'"success"')
    ]


def refund_total(value: bytes) -> bytes | None:
    """Return the sum of the refunds that went through."""
    return _sum([one.amount for one in _refunded(value)])


def refund_currency(value: bytes) -> bytes | None:
    """Return the currency of the first refund that went through."""
    refunded = _refunded(value)
    return text(bytes(refunded[0].currency)) if refunded else None


def _sum(values: Sequence[msgspec.Raw]) -> bytes | None:
    amounts = [Decimal(one.decode()) for one in all_money(values) if one is not None]
    if not amounts:
        return None
    total = Decimal(0)
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return format(total, "f").encode()


def _prices(lines: list[Line]) -> list[bytes]:
    return [one for one in all_money([line.price for line in lines]) if one is not None]


def lowest_price(lines: list[Line]) -> bytes | None:
    """Return the lowest price of a product's variants."""
    return min(_prices(lines), key=lambda one: Decimal(one.decode()), default=None)


def highest_price(lines: list[Line]) -> bytes | None:
    """Return the highest price of a product's variants."""
    return max(_prices(lines), key=lambda one: Decimal(one.decode()), default=None)


def variants(body: Body) -> Iterator[tuple[str, bytes]]:
    """Yield how many variants a product has; beyond 100 only their ids are sent."""
    lists = [_listed(bytes(body.get(name, b""))) for name in ("variants", "variant_gids")]
    if any(lists):
        yield "variant_count", b"%d" % max(map(len, lists))


def scalars(body: Body) -> Iterator[tuple[str, bytes]]:
    """Yield what is not nested, without what tells of a person or opens something."""
    for name, value in body.items():
        kept = scalar(bytes(value))
        if kept is not None and not _PERSONAL.search(name):
            yield name, kept


def numbers(body: Body) -> Iterator[tuple[str, bytes]]:
    """Yield the amounts and counts that are not nested, as numbers."""
    for name, value in body.items():
        kept = money(bytes(value))
        if kept is not None and name != "id" and not name.endswith("_id"):
            yield name, kept


TYPED_READERS: Final[dict[Kind, Callable[[object], int | str | None]]] = {
    "text": only_text,
    "id": ident,
    "gid": gid,
}
"""Of one value of its own type."""

READERS: Final[dict[Kind, Callable[[bytes], bytes | None]]] = {
    "scalar": scalar,
    "money": money,
    "tags": tags,
    "codes": codes,
    "refund_total": refund_total,
    "refund_currency": refund_currency,
}
"""Of the JSON text of one value."""

LINE_READERS: Final[dict[Kind, Callable[[list[Line]], bytes | None]]] = {
    "count": count,
    "quantity": quantity,
    "items": items,
    "line_total": line_total,
    "line_currency": line_currency,
    "lowest_price": lowest_price,
    "highest_price": highest_price,
}
"""Of the lines of an order, cart, fulfilment or refund, and of a product's variants."""

SPREADERS: Final[dict[Kind, Callable[[Body], Iterator[tuple[str, bytes]]]]] = {
    "variants": variants,
    "scalars": scalars,
    "numbers": numbers,
}
"""Of a whole body."""
