"""The request of the current step, made from plan and state as often as it is needed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from sluice.workflows.core.pointers import ABSENT, replaced
from worker.workflows.core.adapters import Asking
from worker.workflows.core.calls import (
    Call,
    Request,
    UnsendableError,
    encode,
    encode_path,
    encode_query,
)
from worker.workflows.core.expressions import Exchange, Kept, Scope, TooMuchError
from worker.workflows.core.openapi import Declared
from worker.workflows.core.planned import Plan, PlannedBody, PlannedCall, PlannedStep
from worker.workflows.core.state import Frame, State
from worker.workflows.core.templates import Text, as_text, fill, fill_json

_BANNED_IN_COOKIE: Final = frozenset('"\\,; \t\r\n\x00')


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A request before and after its adapter."""

    call: Call
    """After."""
    exchange: Exchange
    """As the document means it, for ``$request``, ``$url`` and ``$method``."""
    asking: Asking


def current_step(plan: Plan, state: State) -> PlannedStep:
    """Return the step that the innermost workflow stands at."""
    frame = state.frames[-1]
    return plan.workflows[frame.workflow_id].steps[frame.step]


def scope_of(
    plan: Plan,
    state: State,
    *,
    exchange: Exchange | None = None,
    outputs: Mapping[str, Kept] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Scope:
    """Return what the expressions of the innermost workflow see."""
    frame = state.frames[-1]
    return Scope(
        inputs=frame.inputs,
        steps=frame.outputs,
        workflows={
            name: {"inputs": one.inputs, "outputs": one.outputs}
            for name, one in state.results.items()
        },
        outputs=outputs or {},
        exchange=exchange or Exchange(),
        self_url=plan.self_url,
        sources=plan.sources,
        secrets=secrets,
    )


def render(plan: Plan, state: State, secrets: Mapping[str, str]) -> Request:
    """Return the request to send now, with the secrets in it.

    Args:
        plan: The plan that the state belongs to.
        state: Its next move is ``Send``.
        secrets: Values by reference, of every secret that the run was begun with.

    Raises:
        UnsendableError: A secret is missing, or a value may not stand where it would. The caller
            applies ``NoAnswer`` with the kind ``unsendable``.
    """
    for kept in state.frames[-1].inputs.values():
        if kept.secret is not None and kept.secret not in secrets:
            raise UnsendableError("a secret that it needs is not there")
    return encode(rendered(plan, state, secrets).call)


def rendered(plan: Plan, state: State, secrets: Mapping[str, str] | None = None) -> Rendered:
    """Return the request of the current step in parts.

    Raises:
        UnsendableError: A value that it needs is missing.
    """
    step = current_step(plan, state)
    if step.call is None:
        raise UnsendableError("a nested workflow is no request")
    try:
        return _rendered(state, step, step.call, scope_of(plan, state, secrets=secrets))
    except TooMuchError as error:
        raise UnsendableError(str(error)) from error


def _rendered(state: State, step: PlannedStep, planned: PlannedCall, scope: Scope) -> Rendered:
    parts = _Parts()
    for one in step.parameters:
        value = fill(one.template, scope)
        if value is not ABSENT:
            parts.add(one.place or "", one.name, value, one.declared)
        elif one.place == "path":
            raise UnsendableError(f"the path parameter {one.name} has no value")
    for scheme, template in planned.schemes:
        value = fill(template, scope)
        if value is not ABSENT:
            parts.add(scheme.place, scheme.parameter, f"{scheme.prefix}{as_text(value)}", None)
    asking = Asking(
        operation_id=planned.operation.id,
        path_values=parts.path,
        visit_id=_visit_id(state, step),
    )
    call = _call(planned, parts, _body(planned.body, scope), asking)
    exchange = Exchange(
        method=call.method,
        url=encode(call).url,
        headers={name.lower(): value for name, value in call.headers},
        query=parts.query_values,
        path=parts.path,
        body=call.body if call.content_type is not None else ABSENT,
    )
    adapter = planned.adapter
    if adapter is not None:
        memory = state.memory.get(planned.operation.adapter or "", {})
        call = adapter.ask(call, asking, memory)
    return Rendered(call=call, exchange=exchange, asking=asking)


def _visit_id(state: State, step: PlannedStep) -> str:
    frame: Frame = state.frames[-1]
    again = f"#{frame.visit}" if frame.visit > 1 else ""
    return f"{state.run_id}/{frame.workflow_id}/{step.id}{again}"


@dataclass(slots=True)
class _Parts:
    """What parameters make of a request."""

    path: dict[str, object] = field(default_factory=dict)
    query: list[tuple[str, str]] = field(default_factory=list)
    query_values: dict[str, object] = field(default_factory=dict)
    headers: list[tuple[str, str]] = field(default_factory=list)
    cookies: list[str] = field(default_factory=list)

    def add(self, place: str, name: str, value: object, declared: Declared | None) -> None:
        match place:
            case "path":
                self.path[name] = value
            case "query":
                self.query_values[name] = value
                self.query += encode_query(name, value, declared)
            case "cookie":
                self.cookies.append(_cookie(name, as_text(value)))
            case _:
                self.headers.append((name, as_text(value)))


def _cookie(name: str, value: str) -> str:
    if _BANNED_IN_COOKIE.intersection(name + value) or "=" in name:
        raise UnsendableError(f"the cookie {name[:50]!r} holds a character that would end it")
    return f"{name}={value}"


def _call(planned: PlannedCall, parts: _Parts, body: object, asking: Asking) -> Call:
    headers = list(parts.headers)
    if parts.cookies:
        headers.append(("Cookie", "; ".join(parts.cookies)))
    if planned.repeat.header is not None:
        headers.append((planned.repeat.header, str(uuid5(NAMESPACE_URL, asking.visit_id))))
    has_body = planned.body is not None and body is not ABSENT
    return Call(
        method=planned.operation.method,
        base=planned.base,
        path=encode_path(planned.operation.path, parts.path),
        query=tuple(parts.query),
        headers=tuple(headers),
        content_type=planned.body.content_type if planned.body and has_body else None,
        body=body if has_body else None,
    )


def _body(planned: PlannedBody | None, scope: Scope) -> object:
    if planned is None:
        return ABSENT
    template = planned.template
    body = fill(template, scope)
    if body is ABSENT and isinstance(template, Text):
        body = fill_json(template.pieces, scope)
    if body is ABSENT and isinstance(template, Text):
        raise UnsendableError("its payload names something that is not there")
    for pointer, template in planned.replacements:
        value = fill(template, scope)
        if value is ABSENT:
            continue
        body = replaced(body, pointer, value)
        if body is ABSENT:
            raise UnsendableError(f"the replacement {pointer[:100]} leads to nothing")
    return body
