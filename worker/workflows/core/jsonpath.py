"""JSONPath (RFC 9535), and the lenient form of it that documents in use hold (rule K3).

The lenient form is a logical expression with ``$`` where a filter has ``@``, such as
``$.status == "done"``. It is tried only when the text is no query.

Time is bounded whatever query and body are: every element that is looked at takes from a budget,
and ``match`` and ``search`` run on an engine that is linear in the text.
"""

import re
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, SupportsIndex, overload

from jsonpath_rfc9535 import JSONPathEnvironment, JSONPathError, JSONPathQuery
from jsonpath_rfc9535.function_extensions import ExpressionType, FilterFunction

from sluice.workflows.core.pointers import ABSENT
from sluice.workflows.core.regex import Pattern, compile_pattern

MAX_CHARS: Final = 1_000
MAX_LOOKS: Final = 100_000
"""Members and elements that one evaluation may look at; about 0.2 s."""
_QUOTED_OR_ROOT: Final = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|\$""")


MATCH_LOOKS: Final = 100
"""What a call of ``match`` or ``search`` takes, besides the length of its text."""


class JSONPathBudgetError(JSONPathError):
    """An evaluation looked at too much."""


class _Budget:
    def __init__(self) -> None:
        self.left = MAX_LOOKS

    def take(self, looks: int = 1) -> None:
        self.left -= looks
        if self.left < 0:
            raise JSONPathBudgetError(f"looks at more than {MAX_LOOKS:,} values")


_BUDGET: Final[ContextVar[_Budget]] = ContextVar("budget")
"""Of the evaluation under way; functions of the library get no argument for it."""


class _Match(FilterFunction):
    """``match`` and ``search`` of RFC 9535, on the linear engine."""

    arg_types = [ExpressionType.VALUE, ExpressionType.VALUE]  # noqa: RUF012 - as the library has it
    return_type = ExpressionType.LOGICAL

    def __init__(self, form: str) -> None:
        self._form = form

    def __call__(self, value: object, pattern: object) -> bool:
        if not isinstance(value, str) or not isinstance(pattern, str):
            return False
        _BUDGET.get().take(MATCH_LOOKS + len(value) // 200)
        compiled = compile_pattern(self._form.format(pattern))
        return isinstance(compiled, Pattern) and compiled.is_in(value)


class _Environment(JSONPathEnvironment):
    def setup_function_extensions(self) -> None:
        super().setup_function_extensions()
        self.function_extensions["match"] = _Match("^(?:{})$")
        self.function_extensions["search"] = _Match("{}")


_ENVIRONMENT: Final = _Environment()


@dataclass(frozen=True, slots=True)
class Query:
    """A compiled query."""

    compiled: JSONPathQuery
    is_lenient: bool

    def starts_with_filter(self) -> bool:
        """Whether the first thing that it does is to filter the children of the root."""
        return not self.is_lenient and str(self.compiled).startswith("$[?")


def compile_query(text: str, *, is_strict: bool) -> Query | str:
    """Return a compiled query, or why the text is none.

    Args:
        text: A query; or, unless ``is_strict``, the logical expression of a filter over ``$``.
        is_strict: Take only what RFC 9535 takes.
    """
    if len(text) > MAX_CHARS:
        return f"is longer than {MAX_CHARS:,} characters"
    try:
        return Query(_ENVIRONMENT.compile(text), is_lenient=False)
    except (JSONPathError, RecursionError) as error:
        reason = f"is not an RFC 9535 query: {str(error).splitlines()[0]}"
    lenient = _QUOTED_OR_ROOT.sub(lambda match: match[1] or "@", text)
    try:
        query = Query(_ENVIRONMENT.compile(f"$[?{lenient}]"), is_lenient=True)
    except (JSONPathError, RecursionError):
        return reason
    return f"{reason}; x-sluice-strict turns rule K3 off" if is_strict else query


def passes(query: Query, context: object) -> bool:
    """Whether a query finds something in a context.

    Raises:
        JSONPathError: It cannot be decided, because there is too much to look at.
    """
    return _first(query, context) is not ABSENT


def select(query: Query, context: object) -> object:
    """Return what a query finds: nothing is ``ABSENT``, one node its value, more an array."""
    try:
        found = [node.value for node in query.compiled.finditer(_counted(context))]
    except (JSONPathError, RecursionError):
        return ABSENT
    if not found:
        return ABSENT
    values = [_plain(value) for value in found]
    return values[0] if len(values) == 1 else values


def _first(query: Query, context: object) -> object:
    value = [context] if query.is_lenient else context
    for node in query.compiled.finditer(_counted(value)):
        return node
    return ABSENT


class _Object(dict[str, Any]):
    __slots__ = ("budget",)
    budget: _Budget

    def items(self) -> Any:
        for item in super().items():
            self.budget.take()
            yield item


class _Array(list[Any]):
    __slots__ = ("budget",)
    budget: _Budget

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.budget.take()
            yield item

    @overload
    def __getitem__(self, at: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> list[Any]: ...
    def __getitem__(self, at: Any) -> Any:
        self.budget.take()
        found = super().__getitem__(at)
        if isinstance(at, slice):
            self.budget.take(len(found))
        return found


def _counted(value: object) -> Any:
    """Return a value whose elements count what looks at them."""
    budget = _Budget()
    _BUDGET.set(budget)
    return _wrap(value, budget)


def _wrap(value: object, budget: _Budget) -> object:
    if isinstance(value, dict):
        wrapped = _Object((name, _wrap(one, budget)) for name, one in value.items())
        wrapped.budget = budget
        return wrapped
    if isinstance(value, list):
        array = _Array(_wrap(one, budget) for one in value)
        array.budget = budget
        return array
    return value


def _plain(value: object) -> object:
    if isinstance(value, _Object):
        return {name: _plain(one) for name, one in dict.items(value)}
    if isinstance(value, _Array):
        return [_plain(one) for one in list.__iter__(value)]
    return value
