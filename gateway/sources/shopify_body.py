"""A Shopify body, opened once: the fields that the table of topics names, each of its own type.

Nearly every body is read in one go into a struct of the fields that any row names; what no row
names is passed over. A body in which something is not as Shopify sends it is read member by member,
and what does not fit is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from gateway.core.event_rules import kind_of
from gateway.core.json_repair import repair
from gateway.core.json_text import without_bom
from gateway.sources.shopify_topics import TOPICS, TRIGGERED
from gateway.sources.shopify_values import MAX_TEXT_CHARS, Body, Line, lines_of, opened
from sluice.core.errors import ErrorType, Rejected

LINES: Final = "line_items"

_Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)]
_TYPES: Final[dict[str, Any]] = {"text": _Text, "gid": _Text, "id": int | _Text}
"""Of the kinds whose values nobody needs as they were written; the others stay JSON text."""
_IDENTITY: Final = {
    "gid": ("admin_graphql_api_customer_id|customerId|admin_graphql_api_customer_kept_id",),
    "id": (
        "customer.id|customer_id|cart_token|checkout_token|token|id|order_id|order_edit.order_id",
    ),
    "text": ("customer.email|email|contact_email|email_address|myshopify_domain|shop_domain",),
}
"""Fields that say whose an event is, by their kind."""

_ANY: Final = msgspec.json.Decoder(msgspec.Raw)
_BODY: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])

Steps = tuple[str, ...]


def _steps_of(path: str) -> list[Steps]:
    """Return the steps of each of the paths that ``|`` parts."""
    return [tuple(one.split(".")) for one in path.split("|")]


@lru_cache(maxsize=1_024)  # the paths of the table
def _getters(path: str) -> tuple[Callable[[object], Any], ...]:
    return tuple(map(attrgetter, path.split("|")))


def _types_of_table() -> dict[Steps, Any]:
    named = [(path, kind) for kind, paths in _IDENTITY.items() for path in paths]
    for row in TOPICS.values():
        named += [(field.path, field.kind) for field in row.fields if field.path]
        named.append((row.at, "text"))
    types: dict[Steps, Any] = {}
    for path, kind in named:
        for steps in _steps_of(path):
            found = _TYPES.get(kind, msgspec.Raw)
            # What one row takes for a text and another for an id may be either.
            types[steps] = found if types.get(steps, found) == found else _TYPES["id"]
    types.pop((TRIGGERED,))  # names a header
    return types | {(LINES,): list[Line]}


def _struct_of(name: str, types: Mapping[Steps, Any]) -> type[msgspec.Struct]:
    """Return a struct of the fields that steps lead to; what is missing or null is None."""
    fields: dict[str, Any] = {steps[0]: type_ for steps, type_ in types.items() if not steps[1:]}
    for first in {steps[0] for steps in types if steps[1:]}:
        below = {steps[1:]: type_ for steps, type_ in types.items() if steps[0] == first}
        _INSIDE[name, first] = fields[first] = _struct_of(first, below)
    optional = [
        (first, type_ if type_ is msgspec.Raw else type_ | None, None)
        for first, type_ in sorted(fields.items())
    ]
    return msgspec.defstruct(name, optional, frozen=True, gc=False)


_INSIDE: Final[dict[tuple[str, str], type[msgspec.Struct]]] = {}
"""The structs of nested fields, by what they are in and their name."""
_TABLE: Final = _types_of_table()
_Known: Final = _struct_of("Known", _TABLE)
_KNOWN: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(_Known)


def _what_fits(struct: type[msgspec.Struct], members: Body) -> msgspec.Struct:
    """Return a struct of those members that are of their type."""
    fits: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        name, text = field.name, members.get(field.name)
        if text is None:
            continue
        try:
            fits[name] = msgspec.json.decode(text, type=field.type)
        except msgspec.ValidationError:
            inside = _INSIDE.get((struct.__name__, name))
            if inside is not None:
                fits[name] = _what_fits(inside, opened(bytes(text)))
            elif name == LINES:
                fits[name] = lines_of(bytes(text))
    return struct(**fits)


def is_always_text(path: str) -> bool:
    """Whether a field is not nested and never anything but a text."""
    return _TABLE.get((path,)) == _Text


class Fields:
    """The fields of a body by their paths."""

    def __init__(self, text: bytes) -> None:
        """Read a JSON object.

        Args:
            text: In UTF-8; begins with a brace.

        Raises:
            msgspec.DecodeError, RecursionError: It is not JSON, or nested deeper than the parser
                goes.
        """
        self._text = text
        self._known: Any
        try:
            self._known = _KNOWN.decode(text)
        except msgspec.ValidationError:
            self._known = _what_fits(_Known, self.all())

    def all(self) -> Body:
        """Return all members as they are, also those that no row names."""
        return _BODY.decode(self._text)

    def pick(self, names: tuple[str, ...]) -> Sequence[Any]:
        """Return fields that are not nested; None for those that are missing."""
        return _picker(names)(self._known)

    def find(self, path: str) -> Any:
        """Return the first value that is there and not null; None where there is none."""
        for get in _getters(path):
            try:
                found = get(self._known)
            except AttributeError:  # what it is in is missing itself
                continue
            if found is not None and found != _NULL:
                return found
        return None

    def text(self, path: str) -> str:
        """Return a text without the blanks around it; empty where there is none."""
        found = self.find(path)
        return found.strip() if isinstance(found, str) else ""

    def raw(self, path: str) -> bytes:
        """Return the JSON text of a value; empty where there is none."""
        found = self.find(path)
        return b"" if found is None else bytes(found)

    def lines(self, path: str) -> list[Line] | None:
        """Return the objects of a list; None where it is no list."""
        if path == LINES:
            found: list[Line] | None = self._known.line_items
            return found
        return lines_of(self.raw(path))


_NULL: Final = msgspec.Raw(b"null")


@lru_cache(maxsize=256)  # the rows of the table
def _picker(names: tuple[str, ...]) -> Callable[[object], tuple[Any, ...]]:
    return attrgetter(*names, LINES, LINES)  # of fewer than two names it returns no tuple


NOT_JSON: Final = Rejected(
    ErrorType.SHOPIFY_BODY_NOT_JSON,
    "The signed body is not JSON; set the subscription's format to JSON.",
)


class Opened(NamedTuple):
    """A body whose fields can be read."""

    kept: Fields
    marked: Fields | None
    """None where nothing was repaired; else what to read whose it is from (``Repaired.marked``)."""
    text: bytes


def open_delivery(body: bytes) -> Opened | Rejected:
    """Return a signed body opened, or why it cannot be.

    Args:
        body: As it was signed.
    """
    text = without_bom(body)
    if not isinstance(text, Rejected):
        is_object = text.startswith(b"{") or text.lstrip().startswith(b"{")
        try:
            if is_object:
                return Opened(Fields(text), None, body)
            kind = kind_of(bytes(_ANY.decode(text)).lstrip())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if is_object and (mended := _open_repaired(text)) is not None:
                return mended
        else:
            detail = f"The signed body is {kind}, not an object."
            return Rejected(ErrorType.SHOPIFY_BODY_NOT_OBJECT, detail)
    return NOT_JSON


def _open_repaired(text: bytes) -> Opened | None:
    """Open a body with half a surrogate pair in a text, which a buyer can type, and no other fault.

    A bare ``NaN`` is none of Shopify's (reference, 5).
    """
    repaired = repair(text)
    if repaired is None or repaired.bare:
        return None
    try:
        kept, marked = Fields(repaired.text), Fields(repaired.marked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Opened(kept, marked, repaired.text)
