"""A Shopify body, opened once: the fields that the table of topics names, and lines as they are.

Nearly every body is read in one go into a struct of the fields that any row names; what no row
names is passed over. A body in which something is not as Shopify sends it, or a row that takes
whatever there is, is read the slower way, member by member.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
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
    *("customer.email", "customer.id"),
    *("email", "contact_email", "email_address", "customer_id", "customerId"),
    *("admin_graphql_api_customer_id", "admin_graphql_api_customer_kept_id"),
    *("cart_token", "checkout_token", "token", "id", "order_id", "order_edit.order_id"),
    *("myshopify_domain", "shop_domain"),
)
"""Fields that say whose an event is."""

_ANY: Final = msgspec.json.Decoder(msgspec.Raw)
_BODY: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


@lru_cache(maxsize=1_024)  # the paths of the table
def steps_of(path: str) -> tuple[tuple[str, ...], ...]:
    """Return the steps of each of the paths that ``|`` parts."""
    return tuple(tuple(one.split(".")) for one in path.split("|"))


def _all_steps() -> set[tuple[str, ...]]:
    paths = [field.path for row in TOPICS.values() for field in row.fields if field.path]
    paths += [row.at for row in TOPICS.values()]
    return {steps for path in (*paths, *IDENTITY) for steps in steps_of(path)} - {(LINES,)}


def _struct_of(name: str, all_steps: Iterable[tuple[str, ...]]) -> type[msgspec.Struct]:
    """Return a struct of the fields that steps lead to; what is missing or null is None."""
    inside: dict[str, list[tuple[str, ...]]] = {}
    for first, *others in sorted(all_steps):
        inside.setdefault(first, []).extend([tuple(others)] if others else [])
    fields: list[tuple[str, Any, None]] = [
        (first, _struct_of(first, below) | None if below else msgspec.Raw, None)
        for first, below in inside.items()
    ]
    if name == _BODY_NAME:
        fields.append((LINES, list[Line] | None, None))
    return msgspec.defstruct(name, fields, frozen=True, gc=False)


_BODY_NAME: Final = "Body"
_STEPS: Final = frozenset(_all_steps())
_KNOWN: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(_struct_of(_BODY_NAME, _STEPS))


class Fields:
    """The fields of a body by their paths."""

    def __init__(self, known: Any, body: Body) -> None:
        self._known = known
        """The struct of what the table names, or None."""
        self.body = body
        """All fields, where there is no such struct; else empty."""
        self._lines: dict[str, list[Line]] = {}
        if known is not None and known.line_items is not None:
            self._lines[LINES] = known.line_items

    def pick(self, names: tuple[str, ...]) -> Sequence[msgspec.Raw | None]:
        """Return fields that are not nested; None for those that are missing."""
        if self._known is None:
            return [self.body.get(name) for name in names]
        return _picker(names)(self._known)

    def find(self, path: str) -> bytes:
        """Return the first value that is there and not null; empty where there is none."""
        for steps in steps_of(path):
            found = self._at(steps)
            if found is not None and (text := bytes(found)) != b"null":
                return text
        return b""

    def _at(self, steps: tuple[str, ...]) -> msgspec.Raw | None:
        if self._known is not None:
            found = self._known
            for step in steps:
                found = getattr(found, step, None)
            return found
        inside = self.body
        for step in steps[:-1]:
            inside = opened(bytes(inside.get(step, b"")))
        return inside.get(steps[-1])

    def lines(self, path: str) -> list[Line] | None:
        """Return the objects of a list; None where it is no list."""
        if path in self._lines:
            return self._lines[path]
        lines = lines_of(self.find(path))
        if lines is not None:
            self._lines[path] = lines
        return lines


@lru_cache(maxsize=256)  # the rows of the table
def _picker(names: tuple[str, ...]) -> Callable[[object], tuple[Any, ...]]:
    return attrgetter(*names, LINES, LINES)  # of fewer than two names it returns no tuple


def open_body(text: bytes, *, is_known: bool) -> Fields:
    """Return the fields of a JSON object.

    Args:
        text: In UTF-8; begins with a brace.
        is_known: Whether no more will be asked for than is read in one go.

    Raises:
        msgspec.DecodeError, RecursionError: It is not JSON, or nested deeper than the parser goes.
    """
    if is_known:
        try:
            known = _KNOWN.decode(text)
        except msgspec.ValidationError:  # of what is nested; member by member it may still be read
            pass
        else:
            return Fields(known, {})
    return Fields(None, _BODY.decode(text))


def is_known(fields: Iterable[Field]) -> bool:
    """Whether all that a row asks for is among what is read in one go."""
    steps = {steps for field in fields if field.path for steps in steps_of(field.path)}
    takes_all = any(field.kind in SPREADERS for field in fields)
    return not takes_all and steps <= {*_STEPS, (LINES,)}


class Opened(NamedTuple):
    """A body whose fields can be read."""

    kept: Fields
    marked: Fields | None
    """None where nothing was repaired; else what to read whose it is from (``Repaired.marked``)."""
    text: bytes


def open_delivery(body: bytes, *, is_known: bool) -> Opened | Rejected:
    """Return a signed body opened, or why it cannot be.

    Args:
        body: As it was signed.
        is_known: Whether no more will be asked for than is read in one go.
    """
    text = without_bom(body)
    if not isinstance(text, Rejected):
        is_object = text.startswith(b"{") or text.lstrip().startswith(b"{")
        try:
            if is_object:
                return Opened(open_body(text, is_known=is_known), None, body)
            kind = kind_of(bytes(_ANY.decode(text)).lstrip())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if is_object and (mended := _open_repaired(text, is_known=is_known)) is not None:
                return mended
        else:
            detail = f"The signed body is {kind}, not an object."
            return Rejected(ErrorType.SHOPIFY_BODY_NOT_OBJECT, detail)
    return Rejected(
        ErrorType.SHOPIFY_BODY_NOT_JSON,
        "The signed body is not JSON; set the subscription's format to JSON.",
    )


def _open_repaired(text: bytes, *, is_known: bool) -> Opened | None:
    """Open a body with half a surrogate pair in a text, which a buyer can type, and no other fault.

    A bare ``NaN`` is none of Shopify's (reference, 5).
    """
    repaired = repair(text)
    if repaired is None or repaired.bare:
        return None
    try:
        kept = open_body(repaired.text, is_known=is_known)
        marked = open_body(repaired.marked, is_known=is_known)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Opened(kept, marked, repaired.text)
