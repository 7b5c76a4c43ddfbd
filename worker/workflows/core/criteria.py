"""Criteria: compiled with their document, decided on an answer."""

import re
from dataclasses import dataclass
from typing import Final

from jsonpath_rfc9535 import JSONPathError

from sluice.workflows.core.document import Criterion
from sluice.workflows.core.pointers import ABSENT
from sluice.workflows.core.regex import Pattern, compile_pattern
from worker.workflows.core.expressions import Names, Scope
from worker.workflows.core.jsonpath import Query, compile_query, passes
from worker.workflows.core.simple import (
    Condition,
    Operand,
    holds,
    parse_condition,
    parse_operand,
    value_of,
)
from worker.workflows.core.templates import Compiler, Piece, as_text, fill_text

_QUOTES: Final = re.compile(r"""\\.|["']""")


@dataclass(frozen=True, slots=True)
class Test:
    """A compiled criterion; ``text`` is what the document says."""

    text: str
    check: "Condition | Pattern | Query | Late"
    context: Operand | None = None


@dataclass(frozen=True, slots=True)
class Late:
    """A regular expression or a query that is known only when its expressions are filled in."""

    kind: str
    pieces: tuple[str | Piece, ...]
    is_strict: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a criterion holds, and what could not be decided."""

    passed: bool
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class CriterionCompiler:
    """Compiles the criteria of one step."""

    compiler: Compiler

    def compile(self, criterion: Criterion) -> Test | None:
        """Return the compiled criterion; what is wrong in it is refused."""
        problems, path = self.compiler.problems, criterion.path
        if criterion.type in ("xpath", "goessner", "jsonpointer"):
            reason = f"{criterion.type} is not supported: use simple, regex or jsonpath (RFC 9535)"
            problems.refuse((*path, "type"), reason, f"criterion-{criterion.type}")
            return None
        if criterion.type == "simple":
            return self._simple(criterion)
        if criterion.context is None:
            problems.refuse(path, f"a {criterion.type} criterion needs a context", "context")
            return None
        context = parse_operand(criterion.context, self.compiler.names)
        if isinstance(context, str):
            problems.refuse((*path, "context"), context, "context")
            return None
        return self._on_context(criterion, context)

    def _simple(self, criterion: Criterion) -> Test | None:
        path = (*criterion.path, "condition")
        found = parse_condition(criterion.condition, self.compiler.names)
        if isinstance(found, str):
            self.compiler.problems.refuse(path, found, "simple")
            return None
        if found.has_double_quotes:
            reason = "has a string in double quotes, which other tools do not take"
            self.compiler.problems.warn(path, reason, "double-quotes")
        return Test(criterion.condition, found)

    def _on_context(self, criterion: Criterion, context: Operand) -> Test | None:
        path = (*criterion.path, "condition")
        compiler, condition = self.compiler, criterion.condition
        if "{$" in condition:
            pieces = compiler.pieces(condition, path)
            if any(isinstance(piece, Piece) for piece in pieces):
                late = Late(criterion.type, pieces, compiler.is_strict)
                return Test(condition, late, context)
        found = _compiled(criterion.type, condition, is_strict=compiler.is_strict)
        if isinstance(found, str):
            rule = "K3" if "rule K3" in found else criterion.type
            compiler.problems.refuse(path, found, rule)
            return None
        return Test(condition, found, context)


def _compiled(kind: str, text: str, *, is_strict: bool) -> Pattern | Query | str:
    return compile_pattern(text) if kind == "regex" else compile_query(text, is_strict=is_strict)


def decide(test: Test, scope: Scope) -> Verdict:
    """Return whether a criterion holds. What cannot be decided does not hold, and says why."""
    if isinstance(test.check, Condition):
        return Verdict(holds(test.check, scope))
    context = value_of(test.context, scope) if test.context is not None else ABSENT
    if context is ABSENT or context is None:
        return Verdict(passed=False)
    check: Pattern | Query | str
    check = _late(test.check, scope) if isinstance(test.check, Late) else test.check
    if isinstance(check, str):
        return Verdict(passed=False, trouble=f"its condition {check}")
    if isinstance(check, Pattern):
        return Verdict(check.is_in(as_text(context)))
    try:
        return Verdict(passes(check, context))
    except (JSONPathError, RecursionError) as error:
        return Verdict(passed=False, trouble=str(error).splitlines()[0])


def _late(late: Late, scope: Scope) -> Pattern | Query | str:
    if late.kind == "regex":
        text = fill_text(late.pieces, scope)
    else:
        text = _fill_query(late.pieces, scope)
    if not isinstance(text, str):
        return "names something that is not there"
    return _compiled(late.kind, text, is_strict=late.is_strict)


def _fill_query(pieces: tuple[str | Piece, ...], scope: Scope) -> object:
    """Fill in a query so that what is inside of a string literal of it stays inside."""
    found: list[str] = []
    quote = ""
    for piece in pieces:
        if isinstance(piece, str):
            for match in _QUOTES.findall(piece):
                quote = _after(quote, match)
            found.append(piece)
            continue
        text = fill_text((piece,), scope)
        if not isinstance(text, str):
            return ABSENT
        found.append(_escaped(text, quote))
    return "".join(found)


def _after(quote: str, token: str) -> str:
    """Return the quote that is open after a token."""
    if len(token) > 1 or (quote and token != quote):
        return quote
    return "" if quote else token


def _escaped(text: str, quote: str) -> str:
    if not quote:
        return text
    plain = text.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    return re.sub(r"[\x00-\x1f]", lambda match: f"\\u{ord(match[0]):04x}", plain)


def compile_criteria(criteria: tuple[Criterion, ...], compiler: Compiler) -> tuple[Test, ...]:
    """Return compiled criteria; what is wrong in them is refused."""
    found = [CriterionCompiler(compiler).compile(criterion) for criterion in criteria]
    return tuple(test for test in found if test is not None)


def names_without_answer(names: Names) -> Names:
    """Return the same names for a place where no answer is at hand."""
    return Names(
        inputs=names.inputs,
        steps=names.steps,
        workflows=names.workflows,
        outputs=names.outputs,
        sources=names.sources,
        has_response=False,
    )
