"""A Shopify body, opened once: the fields that the table of topics names, and lines as they are.

Nearly every body is read in one go into a struct of the fields that any row names; what no row
names is passed over. A body in which something is not as Shopify sends it, or a row that takes
whatever there is, is read the slower way, member by member.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from gateway.core.event_rules import kind_of
from gateway.core.json_repair import repair
from gateway.core.json_text import without_bom
from gateway.sources.shopify_topics import TOPICS, Field
from gateway.sources.shopify_values import SPREADERS, Body, Line, lines_of, opened
from sluice.core.errors import ErrorType, Rejected

LINES: Final = "line_items"
IDENTITY: Final = (
    *("customer", "email", "contact_email", "email_address", "customer_id", "customerId"),
    *("admin_graphql_api_customer_id", "admin_graphql_api_customer_kept_id"),
    *("cart_token", "checkout_token", "token", "id", "order_id", "order_edit"),
    *("myshopify_domain", "shop_domain"),
)
"""Fields that say whose an event is."""
_NOTHING: Final = msgspec.Raw(b"")

_ANY: Final = msgspec.json.Decoder(msgspec.Raw)
_BODY: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


@lru_cache(maxsize=1_024)  # the paths of the table
def steps_of(path: str) -> tuple[tuple[str, ...], ...]:
    """Return the steps of each of the paths that ``|`` parts."""
    return tuple(tuple(one.split(".")) for one in path.split("|"))


def _names() -> list[str]:
    paths = [field.path for row in TOPICS.values() for field in row.fields if field.path]
    paths += [row.at for row in TOPICS.values()]
    first = {steps[0] for path in paths for steps in steps_of(path)}
    return sorted(first.union(IDENTITY) - {LINES})


NAMES: Final = frozenset(_names())
_KNOWN: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(
    msgspec.defstruct(
        "Known",
        [
            *((name, msgspec.Raw, _NOTHING) for name in sorted(NAMES)),
            (LINES, list[Line] | None, None),
        ],
        frozen=True,
        gc=False,
    )
)


class Fields:
    """The fields of a body by their paths; what is nested is opened once."""

    def __init__(
        self, get: Callable[[str], msgspec.Raw | None], body: Body, lines: list[Line] | None
    ) -> None:
        self.get = get
        """Returns a field, None where it is missing."""
        self.body = body
        """All fields, where the row takes whatever there is; else empty."""
        self._lines = {LINES: lines} if lines is not None else {}
        self._opened: dict[str, Body] = {}

    def find(self, path: str) -> bytes:
        """Return the first value that is there and not null; empty where there is none."""
        for steps in steps_of(path):
            found = self.get(steps[0])
            if len(steps) > 1 and found is not None:
                found = self._inside(steps[0], found).get(steps[1])
                for step in steps[2:]:
                    found = opened(bytes(found or b"")).get(step)
            if found is not None and (text := bytes(found)) and text != b"null":
                return text
        return b""

    def _inside(self, name: str, value: msgspec.Raw) -> Body:
        inside = self._opened.get(name)
        if inside is None:
            inside = self._opened[name] = opened(bytes(value))
        return inside

    def lines(self, path: str) -> list[Line] | None:
        """Return the objects of a list; None where it is no list."""
        if path in self._lines:
            return self._lines[path]
        lines = lines_of(self.find(path))
        if lines is not None:
            self._lines[path] = lines
        return lines


def open_body(text: bytes, fields: tuple[Field, ...] | None) -> Fields:
    """Return the fields of a JSON object.

    Args:
        text: In UTF-8; begins with a brace.
        fields: What will be asked for; None for anything.

    Raises:
        msgspec.DecodeError, RecursionError: It is not JSON, or nested deeper than the parser goes.
    """
    if fields is not None and _is_known(fields):
        try:
            known = _KNOWN.decode(text)
        except msgspec.ValidationError:  # of lines; member by member it may still be read
            pass
        else:
            return Fields(lambda name: getattr(known, name, None), {}, known.line_items)
    body = _BODY.decode(text)
    return Fields(body.get, body, None)


@lru_cache(maxsize=256)  # the rows of the table
def _is_known(fields: tuple[Field, ...]) -> bool:
    firsts = {steps[0] for field in fields if field.path for steps in steps_of(field.path)}
    takes_all = any(field.kind in SPREADERS for field in fields)
    return not takes_all and firsts <= {*NAMES, LINES}


class Opened(NamedTuple):
    """A body whose fields can be read."""

    kept: Fields
    marked: Fields | None
    """None where nothing was repaired; else what to read whose it is from (``Repaired.marked``)."""
    text: bytes


def open_delivery(body: bytes, names: tuple[Field, ...] | None) -> Opened | Rejected:
    """Return a signed body opened, or why it cannot be.

    Args:
        body: As it was signed.
        names: What will be asked for; None for anything.
    """
    text = without_bom(body)
    if not isinstance(text, Rejected):
        is_object = text.startswith(b"{") or text.lstrip().startswith(b"{")
        try:
            if is_object:
                return Opened(open_body(text, names), None, body)
            kind = kind_of(bytes(_ANY.decode(text)).lstrip())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if is_object and (mended := _open_repaired(text, names)) is not None:
                return mended
        else:
            detail = f"The signed body is {kind}, not an object."
            return Rejected(ErrorType.SHOPIFY_BODY_NOT_OBJECT, detail)
    return Rejected(
        ErrorType.SHOPIFY_BODY_NOT_JSON,
        "The signed body is not JSON; set the subscription's format to JSON.",
    )


def _open_repaired(text: bytes, names: tuple[Field, ...] | None) -> Opened | None:
    """Open a body with half a surrogate pair in a text, which a buyer can type, and no other fault.

    A bare ``NaN`` is none of Shopify's (reference, 5).
    """
    repaired = repair(text)
    if repaired is None or repaired.bare:
        return None
    try:
        kept, marked = open_body(repaired.text, names), open_body(repaired.marked, names)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Opened(kept, marked, repaired.text)
