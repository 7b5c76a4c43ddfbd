"""Compiles the workflows of a document against its sources."""

import re
from collections.abc import Mapping
from typing import Final

from sluice.workflows.core.document import (
    Action,
    Body,
    Criterion,
    Document,
    Parameter,
    Step,
    Workflow,
)
from sluice.workflows.core.inputs import InputSchema
from sluice.workflows.core.refusals import Path, Problems
from worker.workflows.core.adapters import ADAPTERS
from worker.workflows.core.addresses import Addresses, base_url
from worker.workflows.core.calls import is_json
from worker.workflows.core.criteria import compile_criteria, names_without_answer
from worker.workflows.core.expressions import Expression, Names
from worker.workflows.core.jsonpath import Query, compile_query
from worker.workflows.core.openapi import Declared, Description, Operation, Scheme
from worker.workflows.core.operations import find_operation, read_repeat
from worker.workflows.core.planned import (
    PlannedAction,
    PlannedBody,
    PlannedCall,
    PlannedParameter,
    PlannedStep,
    PlannedWorkflow,
)
from worker.workflows.core.templates import (
    Compiler,
    Literal,
    Template,
    Text,
    expressions_of,
)

DEFAULT_TIMEOUT_S: Final = 30.0
MAX_TIMEOUT_S: Final = 600.0
_ASKS_FOR_3XX: Final = re.compile(r"\$statusCode\s*==\s*3\d\d(?!\d)").search
_TEXT_TYPES: Final = ("text/", "application/xml", "application/x-www-form-urlencoded")


class Planner:
    """Compiles; what is wrong goes to the problems."""

    def __init__(
        self,
        document: Document,
        descriptions: Mapping[str, Description],
        schemas: Mapping[str, InputSchema],
        addresses: Addresses,
        problems: Problems,
    ) -> None:
        self._document = document
        self._problems = problems
        self._descriptions = descriptions
        self._schemas = schemas
        self._addresses = addresses
        self._urls = {source.name: source.url for source in document.sources}
        self._names = {
            one.id: (schemas[one.id].names, frozenset(one.outputs)) for one in document.workflows
        }

    def workflow(self, workflow: Workflow) -> PlannedWorkflow:
        """Return a compiled workflow."""
        names = Names(
            inputs=self._schemas[workflow.id].names,
            steps={step.id: frozenset(step.outputs) for step in workflow.steps},
            workflows=self._names,
            sources=frozenset(one.name for one in self._document.sources),
        )
        shared = self._parameters(workflow.parameters, names)
        steps = tuple(
            self._step(step, names, shared, workflow, at) for at, step in enumerate(workflow.steps)
        )
        return PlannedWorkflow(
            id=workflow.id,
            schema=self._schemas[workflow.id],
            depends_on=workflow.depends_on,
            steps=steps,
            index={step.id: at for at, step in enumerate(workflow.steps)},
            outputs=self._outputs(workflow.outputs, (*workflow.path, "outputs"), names),
        )

    def _compiler(self, names: Names) -> Compiler:
        return Compiler(
            names,
            self._problems,
            is_strict=self._document.is_strict,
            has_selectors=not self._document.version.startswith("1.0."),
        )

    def _parameters(
        self, parameters: tuple[Parameter, ...], names: Names
    ) -> tuple[PlannedParameter, ...]:
        compiler = self._compiler(names_without_answer(names))
        return tuple(
            PlannedParameter(
                name=one.name,
                place=one.place,
                template=compiler.compile(one.value, (*one.path, "value")),
            )
            for one in parameters
        )

    def _step(
        self,
        step: Step,
        names: Names,
        shared: tuple[PlannedParameter, ...],
        workflow: Workflow,
        at: int,
    ) -> PlannedStep:
        own = self._parameters(step.parameters, names)
        parameters = (*(one for one in shared if not _is_in(one, own)), *own)
        call = None
        if step.workflow_id is None:
            call, parameters = self._call(step, names, parameters, own)
        else:
            names = self._nested(step, names)
            parameters = tuple(one for one in parameters if one.place is None or _is_in(one, own))
            self._check_given(step.parameters, own, step.workflow_id, workflow.id)
        following = workflow.steps[at + 1].id if at + 1 < len(workflow.steps) else None
        on_success = self._actions(step.on_success, names, workflow.id)
        self._check_filters(step, call)
        return PlannedStep(
            id=step.id,
            call=call,
            workflow_id=step.workflow_id,
            parameters=parameters,
            criteria=compile_criteria(step.criteria, self._compiler(names)),
            on_success=on_success,
            on_failure=self._actions(step.on_failure, names, workflow.id),
            is_gate=not self._document.is_strict
            and following is not None
            and any(one.type == "goto" and one.step_id == following for one in on_success),
            wants_redirect=any(_ASKS_FOR_3XX(one.condition) for one in _criteria_of(step)),
            outputs=self._outputs(step.outputs, (*step.path, "outputs"), names),
            timeout_s=min(step.timeout_s or _usual_timeout_s(call), MAX_TIMEOUT_S),
            poll_s=step.poll_s,
        )

    def _nested(self, step: Step, names: Names) -> Names:
        """Check the workflow that a step runs, and return the names with its outputs."""
        name = step.workflow_id or ""
        if step.body is not None:
            reason = "is for an operation; a workflow has inputs, which parameters give"
            self._problems.refuse(step.body.path, reason, "body-on-workflow")
        if name not in self._names:
            reason = f"names the workflow {name}, which this document does not have"
            if name.startswith("$sourceDescriptions."):
                reason = "leads to another Arazzo document, which Sluice does not support"
            self._problems.refuse((*step.path, "workflowId"), reason, "workflow-unknown")
            return names
        return Names(
            inputs=names.inputs,
            steps=names.steps,
            workflows=names.workflows,
            sources=names.sources,
            outputs=self._names[name][1],
        )

    def _check_given(
        self,
        parameters: tuple[Parameter, ...],
        planned: tuple[PlannedParameter, ...],
        workflow_id: str,
        here: str,
    ) -> None:
        """Check what a workflow is given: a secret is handed on whole, or it would be kept."""
        known = self._names.get(workflow_id, (frozenset[str](), frozenset[str]()))[0]
        for parameter, one in zip(parameters, planned, strict=True):
            if parameter.name not in known:
                reason = f"is not declared as an input of {workflow_id}"
                self._problems.warn(parameter.path, reason, "input-unknown")
            is_whole = isinstance(one.template, Expression) and not one.template.pointer
            if not is_whole and self._has_secret(one.template, here):
                reason = "holds a secret in a longer text: hand the input itself on"
                self._problems.refuse((*parameter.path, "value"), reason, "secret-in-text")

    def _has_secret(self, template: Template, workflow_id: str) -> bool:
        secrets = self._schemas[workflow_id].secrets
        return any(
            one.kind == "inputs" and one.names[0] in secrets for one in expressions_of(template)
        )

    def _call(
        self,
        step: Step,
        names: Names,
        parameters: tuple[PlannedParameter, ...],
        own: tuple[PlannedParameter, ...],
    ) -> tuple[PlannedCall | None, tuple[PlannedParameter, ...]]:
        member = "operationPath" if step.operation_id is None else "operationId"
        path: Path = (*step.path, member)
        operation = find_operation(step, self._document, self._descriptions)
        if isinstance(operation, str):
            self._problems.refuse(path, operation, "operation-unknown")
            return None, parameters
        if operation.adapter is not None and operation.adapter not in ADAPTERS:
            reason = f"has the adapter {operation.adapter}, which does not exist"
            self._problems.refuse(path, reason, "adapter-unknown")
        base = base_url(operation, self._addresses, self._urls[operation.source])
        if base is None:
            reason = "has no server with an http(s) address in its description"
            self._problems.refuse(path, reason, "server-missing")
        repeat = read_repeat(step.idempotency, operation)
        if isinstance(repeat, str):
            self._problems.refuse((*step.path, "x-sluice-idempotency"), repeat, "idempotency")
            return None, parameters
        if repeat.ask is not None and "done" not in self._names.get(repeat.ask, ((), ()))[1]:
            reason = f"names the workflow {repeat.ask}, which has no output done"
            self._problems.refuse((*step.path, "x-sluice-idempotency"), reason, "idempotency")
        call = PlannedCall(
            operation=operation,
            base=base or "",
            body=self._body(step.body, operation, names),
            schemes=tuple(
                (scheme, Expression("inputs", (scheme.name,)))
                for scheme in operation.schemes
                if scheme.name in names.inputs and not _is_shown(scheme, parameters)
            ),
            repeat=repeat,
            adapter=ADAPTERS.get(operation.adapter or ""),
        )
        return call, self._placed(step, operation, parameters, own)

    def _placed(
        self,
        step: Step,
        operation: Operation,
        parameters: tuple[PlannedParameter, ...],
        own: tuple[PlannedParameter, ...],
    ) -> tuple[PlannedParameter, ...]:
        """Join parameters with what the operation declares of them."""
        declared = {(one.place, _folded(one.place, one.name)): one for one in operation.parameters}
        for given, one in zip(step.parameters, own, strict=True):
            if one.place is None:
                reason = "needs in: path, query, header or cookie"
                self._problems.refuse(given.path, reason, "parameter-place")
            elif one.place == "path" and f"{{{one.name}}}" not in operation.path:
                reason = f"is not in the path {operation.path}"
                self._problems.refuse(given.path, reason, "parameter-unknown")
        given_names = {(one.place, _folded(one.place or "", one.name)) for one in parameters}
        for key, one_declared in declared.items():
            if one_declared.is_required and key not in given_names:
                self._missing(step, one_declared, operation)
        return tuple(
            _with_declared(one, declared.get((one.place or "", _folded(one.place or "", one.name))))
            for one in parameters
            if one.place != "path" or f"{{{one.name}}}" in operation.path
        )

    def _missing(self, step: Step, declared: Declared, operation: Operation) -> None:
        reason = f"does not give the {declared.place} parameter {declared.name}, which is required"
        if declared.place == "path" and f"{{{declared.name}}}" in operation.path:
            self._problems.refuse(step.path, reason, "parameter-missing")
        else:
            self._problems.warn(step.path, reason, "parameter-missing")

    def _body(self, body: Body | None, operation: Operation, names: Names) -> PlannedBody | None:
        if body is None:
            return None
        compiler = self._compiler(names_without_answer(names))
        only = operation.content_types[0] if len(operation.content_types) == 1 else None
        content_type = body.content_type or only
        if content_type is None and not isinstance(body.payload, str):
            content_type = "application/json"
        content_type = content_type or "text/plain"
        is_known = is_json(content_type) or content_type.lower().startswith(_TEXT_TYPES)
        if not is_known and not isinstance(body.payload, str):
            reason = f"of the type {content_type} must be text"
            self._problems.refuse((*body.path, "payload"), reason, "content-type")
        for one in body.replacements:
            if one.target_type != "jsonpointer" or not one.target.startswith(("/", "#/")):
                reason = "must be a JSON Pointer; other selectors are not supported"
                self._problems.refuse((*one.path, "target"), reason, "replacement-target")
        return PlannedBody(
            template=compiler.compile(body.payload, (*body.path, "payload")),
            content_type=content_type,
            replacements=tuple(
                (one.target.removeprefix("#"), compiler.compile(one.value, (*one.path, "value")))
                for one in body.replacements
            ),
        )

    def _actions(
        self, actions: tuple[Action, ...], names: Names, here: str
    ) -> tuple[PlannedAction, ...]:
        found = []
        for action in actions:
            parameters = self._parameters(action.parameters, names)
            if action.workflow_id is not None:
                self._check_given(action.parameters, parameters, action.workflow_id, here)
            found.append(
                PlannedAction(
                    name=action.name,
                    type=action.type,
                    step_id=action.step_id,
                    workflow_id=action.workflow_id,
                    parameters=parameters,
                    criteria=compile_criteria(action.criteria, self._compiler(names)),
                    retry_after_s=action.retry_after_s,
                    retry_limit=action.retry_limit,
                    poll_s=action.poll_s,
                )
            )
        return tuple(found)

    def _outputs(
        self, outputs: Mapping[str, object], path: Path, names: Names
    ) -> dict[str, Template]:
        found: dict[str, Template] = {}
        for name, value in outputs.items():
            template = self._compiler(names).compile(value, (*path, name))
            if isinstance(template, Literal | Text) and not expressions_of(template):
                reason = "is not an expression, so it has no value"
                self._problems.refuse((*path, name), reason, "output-expression")
            found[name] = template
        return found

    def _check_filters(self, step: Step, call: PlannedCall | None) -> None:
        """Warn of filters after ``$`` on an object: they look at its members, not at it."""
        if call is None or not call.operation.answer_is_object:
            return
        for one in _criteria_of(step):
            if one.type == "jsonpath" and one.context == "$response.body":
                query = compile_query(one.condition, is_strict=False)
                if isinstance(query, Query) and query.starts_with_filter():
                    reason = "filters the members of the body, which is an object, not the body"
                    self._problems.warn((*one.path, "condition"), reason, "filter-on-object")


def _criteria_of(step: Step) -> list[Criterion]:
    """Return the criteria of a step and of its actions."""
    criteria = list(step.criteria)
    for action in (*step.on_success, *step.on_failure):
        criteria += action.criteria
    return criteria


def _usual_timeout_s(call: PlannedCall | None) -> float:
    """Return the bound of a step that names none: files may be large, and take their time."""
    types = call.operation.answer_types if call is not None else ()
    return MAX_TIMEOUT_S if any(not is_json(one) for one in types) else DEFAULT_TIMEOUT_S


def _is_in(parameter: PlannedParameter, others: tuple[PlannedParameter, ...]) -> bool:
    return any((one.name, one.place) == (parameter.name, parameter.place) for one in others)


def _is_shown(scheme: Scheme, parameters: tuple[PlannedParameter, ...]) -> bool:
    """Whether a parameter already carries the credentials (rule K10)."""
    name = scheme.parameter.lower()
    return any(one.place == scheme.place and one.name.lower() == name for one in parameters)


def _folded(place: str, name: str) -> str:
    return name.lower() if place == "header" else name


def _with_declared(parameter: PlannedParameter, declared: Declared | None) -> PlannedParameter:
    return PlannedParameter(
        name=parameter.name,
        place=parameter.place,
        template=parameter.template,
        declared=declared,
    )
