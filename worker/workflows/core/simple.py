"""Conditions of the type ``simple``: literals, expressions, comparisons and logic.

Precedence is that of C. Strings compare without case; numeric text is a number beside a number;
null equals only null. What does not exist makes its comparison false. A bare value passes unless
it is false, null or missing: the specification leaves the rest open, and 0 and '' pass here.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from sluice.workflows.core.pointers import ABSENT, step_into
from worker.workflows.core.expressions import (
    Expression,
    Names,
    Scope,
    evaluate,
    parse_expression,
    why_dangling,
)
from worker.workflows.core.templates import longest_declared

MAX_CHARS: Final = 2_000
MAX_DEPTH: Final = 32
_TOKEN: Final = re.compile(
    r"""\s*(?:
    (?P<operator>\|\||&&|==|!=|<=|>=|<|>|!|\(|\))
    |(?P<number>-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w.])
    |(?P<single>'(?:[^']|'')*')
    |(?P<double>"(?:[^"\\]|\\.)*")
    |(?P<operand>\$[A-Za-z](?:[^\s()=<>!&|'"\[\]]|\[\d+\])*)
    |(?P<word>[A-Za-z_]\w*)
    )\s*""",
    re.VERBOSE,
)
_HEAD: Final = re.compile(
    r"\$(?:url|method|statusCode|self|(?:request|response)\.(?:header\.[A-Za-z0-9\-_]+"
    r"|(?:query|path)\.[A-Za-z0-9\-_]+|body(?:\#[^\[]*)?)"
    r"|(?:inputs|outputs)\.[A-Za-z0-9._\-]+(?:\#[^\[]*)?"
    r"|steps\.[A-Za-z0-9_\-]+\.outputs\.[A-Za-z0-9._\-]+(?:\#[^\[]*)?"
    r"|workflows\.[A-Za-z0-9_\-]+\.(?:inputs|outputs)\.[A-Za-z0-9._\-]+(?:\#[^\[]*)?)"
)
_STEPS: Final = re.compile(r"(?:\.([A-Za-z0-9_\-]+)|\[(\d+)\])")
_NUMERIC: Final = re.compile(r"-?[0-9]{1,50}(\.[0-9]{1,50})?([eE][-+]?[0-9]{1,3})?").fullmatch
_WORDS: Final = {"true": True, "false": False, "null": None}
_LEVELS: Final = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="))
_ORDER: Final[dict[str, Callable[[float | str, float | str], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal."""

    value: object


@dataclass(frozen=True, slots=True)
class Operand:
    """An expression, and the steps into its value."""

    expression: Expression
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    of: "Node"


@dataclass(frozen=True, slots=True)
class Binary:
    """A comparison, an and, or an or."""

    sign: str
    left: "Node"
    right: "Node"


Node = Constant | Operand | Not | Binary


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition."""

    root: Node
    has_double_quotes: bool


class _SyntaxError(Exception):
    pass


def parse_condition(text: str, names: Names) -> Condition | str:
    """Return a parsed condition, or why it is none."""
    if len(text) > MAX_CHARS:
        return f"is longer than {MAX_CHARS:,} characters"
    try:
        parser = _Parser(text, names)
        return Condition(parser.whole(), parser.has_double_quotes)
    except _SyntaxError as error:
        return str(error)


def parse_operand(text: str, names: Names) -> Operand | str:
    """Return an expression with steps into its value, such as ``$response.body.items[0].id``."""
    try:
        return _operand(text, names)
    except _SyntaxError as error:
        return str(error)


class _Parser:
    def __init__(self, text: str, names: Names) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._names = names
        self.has_double_quotes = any(kind == "double" for kind, _ in self._tokens)

    def whole(self) -> Node:
        node = self._level(0, 0)
        if self._at < len(self._tokens):
            raise _SyntaxError(f"has {self._tokens[self._at][1]} where it should end")
        return node

    def _next_sign(self, signs: tuple[str, ...]) -> str | None:
        kind, text = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        if kind == "operator" and text in signs:
            self._at += 1
            return text
        return None

    def _level(self, level: int, depth: int) -> Node:
        if level == len(_LEVELS):
            return self._unary(depth)
        node = self._level(level + 1, depth)
        while (sign := self._next_sign(_LEVELS[level])) is not None:
            node = Binary(sign, node, self._level(level + 1, depth))
        return node

    def _unary(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise _SyntaxError(f"is nested deeper than {MAX_DEPTH}")
        if self._next_sign(("!",)):
            return Not(self._unary(depth + 1))
        if self._next_sign(("(",)):
            node = self._level(0, depth + 1)
            if not self._next_sign((")",)):
                raise _SyntaxError("has an open bracket that nothing closes")
            return node
        return self._value()

    def _value(self) -> Node:
        if self._at >= len(self._tokens):
            raise _SyntaxError("ends where a value should be")
        kind, text = self._tokens[self._at]
        self._at += 1
        match kind:
            case "number":
                return Constant(float(text) if re.search("[.eE]", text) else int(text))
            case "single":
                return Constant(text[1:-1].replace("''", "'"))
            case "double":
                return Constant(re.sub(r"\\(.)", r"\1", text[1:-1]))
            case "operand":
                return _operand(text, self._names)
            case "word" if text in _WORDS:
                return Constant(_WORDS[text])
            case _:
                raise _SyntaxError(f"has {text} where a value should be")


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise _SyntaxError(f"has a character at {at + 1} that no condition has")
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def _operand(text: str, names: Names) -> Operand:
    head = _HEAD.match(text)
    found = parse_expression(head[0]) if head is not None else None
    if head is None or found is None:
        raise _SyntaxError(f"has {text}, which is not an expression")
    found, rest = _shortened(found, names)
    why = why_dangling(found, names)
    if why is not None:
        raise _SyntaxError(why)
    tail = rest + text[head.end() :]
    steps = tuple(one or two for one, two in _STEPS.findall(tail))
    if _STEPS.sub("", tail):
        raise _SyntaxError(f"has {text}, which is not an expression")
    return Operand(found, steps)


def _shortened(found: Expression, names: Names) -> tuple[Expression, str]:
    """Give back to the steps what of a name is not declared: ``$inputs.user.id``."""
    if found.kind == "inputs":
        declared = names.inputs
    elif found.kind == "outputs":
        declared = names.outputs
    elif found.kind == "steps":
        declared = names.steps.get(found.names[0], frozenset())
    else:
        return found, ""
    name = found.names[-1]
    fits = frozenset(one for one in declared if name == one or name.startswith(f"{one}."))
    longest = longest_declared(name, fits)
    if longest is None or found.pointer:
        return found, ""
    return replace(found, names=(*found.names[:-1], longest)), name[len(longest) :]


def value_of(operand: Operand, scope: Scope) -> object:
    """Return what an operand stands for, or ``ABSENT``."""
    value = evaluate(operand.expression, scope)
    for step in operand.steps:
        value = step_into(value, step)
    return value


def holds(condition: Condition, scope: Scope) -> bool:
    """Whether a condition passes."""
    return _is_true(_evaluate(condition.root, scope))


def _is_true(value: object) -> bool:
    return value is not ABSENT and value is not None and value is not False


def _evaluate(node: Node, scope: Scope) -> object:
    match node:
        case Constant():
            return node.value
        case Operand():
            return value_of(node, scope)
        case Not():
            return not _is_true(_evaluate(node.of, scope))
        case Binary("&&"):
            return _is_true(_evaluate(node.left, scope)) and _is_true(_evaluate(node.right, scope))
        case Binary("||"):
            return _is_true(_evaluate(node.left, scope)) or _is_true(_evaluate(node.right, scope))
        case Binary():
            return _compare(node.sign, _evaluate(node.left, scope), _evaluate(node.right, scope))


def _compare(sign: str, left: object, right: object) -> bool:
    if left is ABSENT or right is ABSENT:
        return False
    if sign in _ORDER:
        pair = _comparable(left, right)
        return pair is not None and _ORDER[sign](*pair)
    return _equal(left, right) is (sign == "==")


def _equal(left: object, right: object) -> bool:
    if left is None or right is None or isinstance(left, bool) or isinstance(right, bool):
        return left is right
    pair = _comparable(left, right)
    return left == right if pair is None else pair[0] == pair[1]


def _comparable(left: object, right: object) -> tuple[float | str, float | str] | None:
    """Return two values as two numbers or two strings, if they can be compared by size."""
    if isinstance(left, str) and isinstance(right, str):
        return left.casefold(), right.casefold()
    one, two = _number(left), _number(right)
    return None if one is None or two is None else (one, two)


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return float(value) if isinstance(value, str) and _NUMERIC(value) else None
