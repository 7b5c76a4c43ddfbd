"""Which operation a step means, and whether it can be called again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from sluice.workflows.core.document import Document, Step
from sluice.workflows.core.pointers import parts_of
from worker.workflows.core.adapters import ADAPTERS
from worker.workflows.core.openapi import METHODS, Description, Operation

_START: Final = "$sourceDescriptions."
_READS: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """What may be done when nobody knows whether a request arrived (``x-sluice-idempotency``)."""

    is_safe: bool
    """It may be sent again."""
    header: str | None = None
    """Carries an id that is the same at each attempt; the service does the rest."""
    ask: str | None = None
    """A workflow of this document that finds out; its output ``done`` says true or false."""


def find_operation(
    step: Step, document: Document, descriptions: Mapping[str, Description]
) -> Operation | str:
    """Return the operation of a step that has one, or why there is none."""
    if step.operation_path is not None:
        return _by_path(step.operation_path, descriptions, is_strict=document.is_strict)
    name = step.operation_id or ""
    if name.startswith(_START):
        source, _, operation_id = name.removeprefix(_START).partition(".")
        if source not in descriptions:
            return f"names the source {source}, which is no OpenAPI source of this document"
        found = descriptions[source].by_id(operation_id)
        return found or f"names {operation_id}, which source {source} does not have"
    everywhere = [one.by_id(name) for one in descriptions.values()]
    matches = [one for one in everywhere if one is not None]
    if len(matches) == 1:
        return matches[0]
    if matches:
        sources = ", ".join(one.source for one in matches)
        return f"names {name}, which several sources have: {sources}; name the source too"
    return f"names {name}, which no source has" if document.sources else "has no source"


def _by_path(
    text: str, descriptions: Mapping[str, Description], *, is_strict: bool
) -> Operation | str:
    head, _, pointer = text.partition("#")
    source = head.removeprefix("{").removesuffix("}").removeprefix(_START).removesuffix(".url")
    if head not in (f"{{{_START}{source}.url}}", f"{_START}{source}.url"):
        return "must have the form {$sourceDescriptions.<name>.url}#/paths/…"
    if source not in descriptions:
        return f"names the source {source}, which is no OpenAPI source of this document"
    parts = parts_of(unquote(pointer))
    if len(parts) == 2 and parts[0] == "paths" and not is_strict:
        # A published example of the specification leads to a path that has one method.
        parts += descriptions[source].methods_of(parts[1])
    if len(parts) != 3 or parts[0] != "paths" or parts[2] not in METHODS:
        return "must lead to a method of a path, as #/paths/~1users/get does"
    return descriptions[source].at(parts[1], parts[2]) or f"leads to nothing in source {source}"


def read_repeat(said: object, operation: Operation) -> Repeat | str:
    """Return what ``x-sluice-idempotency`` of a step, else of its operation, says.

    ``safe``: it may be repeated. ``unsafe``: never. ``{header: Idempotency-Key}``: it may, with
    that header. ``{ask: workflowId}``: that workflow finds out. Nothing: what reads may be
    repeated, and what an adapter makes repeatable (rule K17).
    """
    said = operation.idempotency if said is None else said
    adapter = ADAPTERS.get(operation.adapter or "")
    match said:
        case None:
            is_repeatable = adapter is not None and operation.id in adapter.repeatable
            return Repeat(is_safe=operation.method in _READS or is_repeatable)
        case "safe" | "unsafe":
            return Repeat(is_safe=said == "safe")
        case {"header": str(header), **rest} if not rest:
            return Repeat(is_safe=True, header=header)
        case {"ask": str(workflow_id), **rest} if not rest:
            return Repeat(is_safe=False, ask=workflow_id)
        case _:
            return "must be safe, unsafe, {header: NAME} or {ask: WORKFLOW}"
