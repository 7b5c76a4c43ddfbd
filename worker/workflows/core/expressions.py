"""Runtime expressions: ``$inputs.name``, ``$response.body#/items/0`` and the like.

A string is an expression only when the whole of it has one of the forms; ``$.items[*]``, ``$5`` and
``$set`` are text. Names may hold dots: what is declared decides where a name ends.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import orjson

from sluice.workflows.core.input_problem import MASK
from sluice.workflows.core.pointers import ABSENT, follow

_STRICT: Final = r"[A-Za-z0-9_\-]+"
_NAME: Final = r"[A-Za-z0-9._\-]+"
_POINTER: Final = r"(?:#(?P<pointer>(?:/(?:[^/~{}]|~[01])*)*))?"
_HEADER: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FORMS: Final = {
    word: re.compile(form)
    for word, form in {
        "url": r"\$url",
        "method": r"\$method",
        "statusCode": r"\$statusCode",
        "self": r"\$self",
        "request": rf"\$request\.(?:(?P<a>header)\.(?P<b>{_HEADER})|(?P<c>query|path)\."
        rf"(?P<d>[^{{}}]+)|(?P<e>body){_POINTER})",
        "response": rf"\$response\.(?:(?P<a>header)\.(?P<b>{_HEADER})|(?P<e>body){_POINTER})",
        "inputs": rf"\$inputs\.(?P<a>{_NAME}){_POINTER}",
        "outputs": rf"\$outputs\.(?P<a>{_NAME}){_POINTER}",
        "steps": rf"\$steps\.(?P<a>{_STRICT})\.outputs\.(?P<b>{_NAME}){_POINTER}",
        "workflows": rf"\$workflows\.(?P<a>{_STRICT})\.(?P<b>inputs|outputs)\.(?P<c>{_NAME})"
        rf"{_POINTER}",
        "sourceDescriptions": rf"\$sourceDescriptions\.(?P<a>{_STRICT})\.(?P<b>[^{{}}]+)",
    }.items()
}
_WORD: Final = re.compile(r"\$([A-Za-z]+)").match
MAX_CHARS: Final = 2_000
MAX_FILLED_BYTES: Final = 10 * 1024 * 1024
"""In one request."""
"""What stands for a secret wherever its value is not needed."""


class TooMuchError(ValueError):
    """Values that are filled in are larger together than they may be."""


class Room:
    """How many bytes may still be filled in: a document can name a value a thousand times."""

    __slots__ = ("_left", "_size")

    def __init__(self, size_bytes: int) -> None:
        self._size = self._left = size_bytes

    def take(self, value: object) -> None:
        """Count a value.

        Raises:
            TooMuchError: There is no room for it, or it is nested too deep for JSON.
        """
        try:
            self._left -= len(value if isinstance(value, str) else orjson.dumps(value))
        except orjson.JSONEncodeError as error:
            raise TooMuchError("its values are nested too deep") from error
        if self._left < 0:
            raise TooMuchError(f"its values are larger than {self._size:,} bytes")


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """An input or an output as the state keeps it: a value, or a reference to a secret.

    A reference is never inside of a value, so nothing that came from outside can look like one.
    """

    value: object = None
    secret: str | None = None
    """Opaque here: what the caller of ``begin`` gave, such as ``env:AMPLITUDE_KEY``."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression."""

    kind: str
    names: tuple[str, ...] = ()
    pointer: str = ""

    def __str__(self) -> str:
        pointer = f"#{self.pointer}" if self.pointer else ""
        middle = ("outputs",) if self.kind == "steps" else ()
        return "$" + ".".join((self.kind, *self.names[:1], *middle, *self.names[1:])) + pointer


def parse_expression(text: str) -> Expression | None:
    """Return the expression that the whole of a text is, if it is one."""
    word = _WORD(text)
    form = _FORMS.get(word[1]) if word and len(text) <= MAX_CHARS else None
    match = form.fullmatch(text) if form is not None else None
    if word is None or match is None:
        return None
    groups = match.groupdict()
    pointer = groups.pop("pointer", None) or ""
    names = tuple(part for part in groups.values() if part is not None)
    if names[:1] == ("header",):
        names = ("header", names[1].lower())  # header names fold case, all else does not
    return Expression(word[1], names, pointer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a workflow's expressions may name."""

    inputs: frozenset[str] = frozenset()
    steps: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Outputs of each step of this workflow."""
    workflows: Mapping[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    """Inputs and outputs of each workflow."""
    outputs: frozenset[str] = frozenset()
    """Outputs of the nested workflow, for the expressions of the step that runs it."""
    sources: frozenset[str] = frozenset()
    has_response: bool = True
    """False where no answer can be at hand, as in a request."""


def why_dangling(expression: Expression, names: Names) -> str | None:
    """Return what an expression names that does not exist, as a sentence's end."""
    parts = expression.names
    match expression.kind:
        case "inputs" if parts[0] not in names.inputs:
            return f"names the input {parts[0]}, which is not declared"
        case "outputs" if parts[0] not in names.outputs:
            return f"names the output {parts[0]}, which no workflow of this step has"
        case "steps" if parts[0] not in names.steps:
            return f"names the step {parts[0]}, which does not exist"
        case "steps" if parts[1] not in names.steps[parts[0]]:
            return f"names the output {parts[1]}, which step {parts[0]} does not have"
        case "workflows" if parts[0] not in names.workflows:
            return f"names the workflow {parts[0]}, which does not exist"
        case "workflows" if parts[2] not in names.workflows[parts[0]][parts[1] == "outputs"]:
            return f"names {parts[2]}, which is none of the {parts[1]} of workflow {parts[0]}"
        case "sourceDescriptions" if parts[0] not in names.sources:
            return f"names the source {parts[0]}, which does not exist"
        case "response" | "statusCode" if not names.has_response:
            return "needs an answer, and there is none yet"
        case _:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request as the document means it, and what came back."""

    method: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By name in lower case."""
    query: Mapping[str, object] = field(default_factory=dict)
    path: Mapping[str, object] = field(default_factory=dict)
    body: object = ABSENT
    status: int | None = None
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    answer_body: object = ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What expressions are evaluated against."""

    inputs: Mapping[str, Kept] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, Kept]] = field(default_factory=dict)
    workflows: Mapping[str, Mapping[str, Mapping[str, Kept]]] = field(default_factory=dict)
    outputs: Mapping[str, Kept] = field(default_factory=dict)
    exchange: Exchange = field(default_factory=Exchange)
    self_url: str | None = None
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    room: Room = field(default_factory=lambda: Room(MAX_FILLED_BYTES), repr=False)
    """For what is filled in."""
    secrets: Mapping[str, str] | None = field(default=None, repr=False)
    """Values by reference; without them every secret is ``MASK``."""


def evaluate(expression: Expression, scope: Scope) -> object:
    """Return what an expression stands for, of its own type, or ``ABSENT``."""
    found = keep(expression, scope)
    if isinstance(found, Kept):
        if found.secret is None:
            return found.value
        return MASK if scope.secrets is None else scope.secrets.get(found.secret, ABSENT)
    return found


def insert(expression: Expression, scope: Scope) -> object:
    """Return the same, to become part of something else: it takes room.

    Raises:
        TooMuchError: There is no room for it.
    """
    value = evaluate(expression, scope)
    if value is not ABSENT:
        scope.room.take(value)
    return value


def keep(expression: Expression, scope: Scope) -> object:
    """Return the same, but what was kept as ``Kept``: a secret stays a reference."""
    parts = expression.names
    match expression.kind:
        case "inputs":
            found = scope.inputs.get(parts[0])
        case "outputs":
            found = scope.outputs.get(parts[0])
        case "steps":
            found = scope.steps.get(parts[0], {}).get(parts[1])
        case "workflows":
            found = scope.workflows.get(parts[0], {}).get(parts[1], {}).get(parts[2])
        case _:
            return _from_exchange(expression, scope)
    if found is None:
        return ABSENT
    if found.secret is not None or not expression.pointer:
        return found
    return follow(found.value, expression.pointer)


def _from_exchange(expression: Expression, scope: Scope) -> object:
    exchange, parts = scope.exchange, expression.names
    match (expression.kind, *parts[:1]):
        case ("request", "body"):
            return follow(exchange.body, expression.pointer)
        case ("request", place):
            of: Mapping[str, Mapping[str, object]] = {
                "header": exchange.headers,
                "query": exchange.query,
                "path": exchange.path,
            }
            return of[place].get(parts[1], ABSENT)
        case ("response", "body"):
            return follow(exchange.answer_body, expression.pointer)
        case ("response", _):
            return exchange.answer_headers.get(parts[1], ABSENT)
        case ("sourceDescriptions", name):
            return scope.sources.get(name, {}).get(parts[1], ABSENT)
        case _:
            plain: Mapping[str, object] = {
                "statusCode": exchange.status,
                "url": exchange.url or None,
                "method": exchange.method or None,
                "self": scope.self_url,
            }
            value = plain[expression.kind]
            return ABSENT if value is None else value
