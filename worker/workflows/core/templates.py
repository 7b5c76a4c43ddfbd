"""Values of a document with expressions in them, compiled once, filled in as often as needed.

Three forms of a string: an expression as a whole keeps its type; ``{$…}`` inside a text is
replaced; and, where no ``{$`` is in it, a bare ``$inputs.name`` or ``$steps.id.outputs.name`` of a
declared name is replaced too (rule K1). Replaced text is never looked at again.

A text that is JSON apart from its expressions stays JSON (rule K2): what is filled in inside of a
JSON string is escaped, so that no input can break out of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from sluice.workflows.core.pointers import ABSENT, follow
from sluice.workflows.core.refusals import Path, Problems
from worker.workflows.core.expressions import (
    Expression,
    Names,
    Scope,
    insert,
    parse_expression,
    why_dangling,
)
from worker.workflows.core.jsonpath import Query, compile_query, select

_EMBEDDED: Final = re.compile(r"\{(\$[^{}]*)\}")
_BARE: Final = re.compile(
    r"\$(?:inputs\.(?P<input>[A-Za-z0-9._\-]+)"
    r"|steps\.(?P<step>[A-Za-z0-9_\-]+)\.outputs\.(?P<output>[A-Za-z0-9._\-]+))"
)
_SELECTOR: Final = frozenset({"context", "selector", "type"})


@dataclass(frozen=True, slots=True)
class Literal:
    """A value without expressions."""

    value: object


@dataclass(frozen=True, slots=True)
class Piece:
    """An expression inside of a text."""

    expression: Expression
    quoting: str = ""
    """``string``: inside of a JSON string; ``value``: where JSON has a value; else plain text."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text with expressions inside."""

    pieces: tuple[str | Piece, ...]


@dataclass(frozen=True, slots=True)
class Members:
    """An object."""

    of: Mapping[str, "Template"]


@dataclass(frozen=True, slots=True)
class Items:
    """An array."""

    of: tuple["Template", ...]


@dataclass(frozen=True, slots=True)
class Selector:
    """A part of a value (Arazzo 1.1, Selector Object)."""

    context: Expression
    pointer: str | None = None
    query: Query | None = None


Template = Literal | Expression | Text | Members | Items | Selector


@dataclass(frozen=True, slots=True)
class Compiler:
    """What compiling needs to know."""

    names: Names
    problems: Problems
    is_strict: bool = False
    has_selectors: bool = False

    def compile(self, value: object, path: Path) -> Template:
        """Return the template of a value; what is wrong in it is refused."""
        if isinstance(value, str):
            return self.text(value, path)
        if isinstance(value, list):
            items = tuple(self.compile(item, (*path, at)) for at, item in enumerate(value))
            is_plain = all(isinstance(item, Literal) for item in items)
            return Literal(value) if is_plain else Items(items)
        if isinstance(value, dict):
            if self.has_selectors and value.keys() == _SELECTOR:
                return self.selector(value, path)
            members = {name: self.compile(one, (*path, name)) for name, one in value.items()}
            is_plain = all(isinstance(one, Literal) for one in members.values())
            return Literal(value) if is_plain else Members(members)
        return Literal(value)

    def expression(self, text: str, path: Path) -> Expression | None:
        """Return the expression that a text is; one that leads nowhere is refused."""
        found = parse_expression(text)
        if found is not None and (why := why_dangling(found, self.names)):
            self.problems.refuse(path, why, "expression-dangling")
        return found

    def text(self, text: str, path: Path) -> Template:
        """Return the template of a string."""
        whole = self.expression(text, path)
        if whole is not None:
            return whole
        pieces = self.pieces(text, path)
        if not any(isinstance(piece, Piece) for piece in pieces):
            return Literal(text)
        return Text(_quoted(pieces))

    def pieces(self, text: str, path: Path) -> tuple[str | Piece, ...]:
        """Return a text in pieces."""
        if "{$" in text:
            return self._embedded(text, path)
        found = _bare(text, self.names)
        if self.is_strict and len(found) > 1:
            reason = "needs braces around its expressions: x-sluice-strict turns rule K1 off"
            self.problems.refuse(path, reason, "K1")
        return found

    def selector(self, value: Mapping[str, object], path: Path) -> Template:
        """Return the template of a selector object."""
        context = self.expression(str(value["context"]), (*path, "context"))
        kind, selector = value["type"], str(value["selector"])
        if isinstance(kind, dict):
            kind = kind.get("type") if kind.get("version") in ("rfc9535", "rfc6901") else None
        if context is None:
            self.problems.refuse((*path, "context"), "is not an expression", "context")
        elif kind == "jsonpointer" and (not selector or selector.startswith("/")):
            return Selector(context, pointer=selector)
        elif kind == "jsonpath":
            query = compile_query(selector, is_strict=True)
            if isinstance(query, Query):
                return Selector(context, query=query)
            self.problems.refuse((*path, "selector"), query, "jsonpath")
        else:
            reason = "must be a JSON Pointer or an RFC 9535 query; others are not supported"
            self.problems.refuse((*path, "type"), reason, "selector-type")
        return Literal(None)

    def _embedded(self, text: str, path: Path) -> tuple[str | Piece, ...]:
        pieces: list[str | Piece] = []
        at = 0
        for match in _EMBEDDED.finditer(text):
            found = self.expression(match[1], path)
            if found is not None:
                pieces += [text[at : match.start()], Piece(found)]
                at = match.end()
        return (*pieces, text[at:])


def _bare(text: str, names: Names) -> tuple[str | Piece, ...]:
    pieces: list[str | Piece] = []
    at = 0
    for match in _BARE.finditer(text):
        name = match["input"] or match["output"]
        declared = names.inputs if match["input"] else names.steps.get(match["step"], frozenset())
        longest = longest_declared(name, declared)
        if longest is None:
            continue
        head = () if match["input"] else (match["step"],)
        kind = "inputs" if match["input"] else "steps"
        pieces += [text[at : match.start()], Piece(Expression(kind, (*head, longest)))]
        at = match.end() - (len(name) - len(longest))
    return (*pieces, text[at:])


def longest_declared(name: str, declared: frozenset[str]) -> str | None:
    """Return the longest declared name that a text begins with."""
    return max((one for one in declared if name.startswith(one)), key=len, default=None)


def _quoted(pieces: tuple[str | Piece, ...]) -> tuple[str | Piece, ...]:
    """Say of each piece how JSON quotes it, if the text is JSON apart from its pieces (K2)."""
    trial = "".join(piece if isinstance(piece, str) else "0" for piece in pieces)
    if not trial.lstrip().startswith(("{", "[", '"')):
        return pieces
    try:
        orjson.loads(trial)
    except orjson.JSONDecodeError:
        return pieces
    found: list[str | Piece] = []
    is_inside = False
    for piece in pieces:
        if isinstance(piece, Piece):
            found.append(Piece(piece.expression, "string" if is_inside else "value"))
        else:
            quotes = re.sub(r"\\.", "", piece).count('"')
            is_inside ^= quotes % 2 == 1
            found.append(piece)
    return tuple(found)


def fill(template: Template, scope: Scope) -> object:
    """Return a template's value. What is missing leaves a member out and makes an element null.

    Raises:
        TooMuchError: The values are larger together than the scope has room for.
    """
    match template:
        case Literal():
            return template.value
        case Expression():
            return insert(template, scope)
        case Text():
            return fill_text(template.pieces, scope)
        case Members():
            filled = {name: fill(one, scope) for name, one in template.of.items()}
            return {name: value for name, value in filled.items() if value is not ABSENT}
        case Items():
            return [None if value is ABSENT else value for value in _each(template, scope)]
        case Selector():
            context = insert(template.context, scope)
            if template.query is not None:
                return select(template.query, context)
            return follow(context, template.pointer or "")


def _each(template: Items, scope: Scope) -> list[object]:
    return [fill(one, scope) for one in template.of]


def fill_text(pieces: tuple[str | Piece, ...], scope: Scope) -> object:
    """Return a text with its expressions replaced, ``ABSENT`` if one of them is."""
    found: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            found.append(piece)
            continue
        value = insert(piece.expression, scope)
        if value is ABSENT:
            return ABSENT
        found.append(_as_piece(value, piece.quoting))
    return "".join(found)


def fill_json(pieces: tuple[str | Piece, ...], scope: Scope) -> object:
    """Return a text that is JSON without the members whose values are missing (rule K12).

    ``ABSENT`` if it is no JSON, or nothing is left of it.
    """
    if not all(isinstance(piece, str) or piece.quoting for piece in pieces):
        return ABSENT
    values = [insert(one.expression, scope) for one in pieces if isinstance(one, Piece)]
    mark = "\ue000"
    while any(mark in as_text(value) for value in values if value is not ABSENT):
        mark += "\ue000"
    at = iter(values)
    found = []
    for piece in pieces:
        value = piece if isinstance(piece, str) else next(at)
        if isinstance(piece, Piece):
            value = _as_piece(mark if value is ABSENT else value, piece.quoting)
        found.append(value)
    try:
        left = _unmarked(orjson.loads("".join(map(str, found))), mark)
        return ABSENT if left is ABSENT else orjson.dumps(left).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return ABSENT


def _unmarked(value: object, mark: str) -> object:
    """Return a value without what a mark stands in; in arrays it becomes null."""
    match value:
        case str():
            return ABSENT if mark in value else value
        case list():
            items = [_unmarked(one, mark) for one in value]
            return [None if one is ABSENT else one for one in items]
        case dict():
            members = {name: _unmarked(one, mark) for name, one in value.items()}
            return {name: one for name, one in members.items() if one is not ABSENT}
        case _:
            return value


def _as_piece(value: object, quoting: str) -> str:
    match quoting:
        case "string":
            return orjson.dumps(as_text(value)).decode()[1:-1]
        case "value":
            return orjson.dumps(value).decode()
        case _:
            return as_text(value)


def as_text(value: object) -> str:
    """Return a value as it stands inside of a text: scalars plainly, objects and arrays as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def expressions_of(template: Template) -> list[Expression]:
    """Return every expression of a template."""
    match template:
        case Literal():
            return []
        case Expression():
            return [template]
        case Text():
            return [piece.expression for piece in template.pieces if isinstance(piece, Piece)]
        case Members():
            return [one for part in template.of.values() for one in expressions_of(part)]
        case Items():
            return [one for part in template.of for one in expressions_of(part)]
        case Selector():
            return [template.context]
