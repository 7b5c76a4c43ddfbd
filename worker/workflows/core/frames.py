"""What goes into a workflow that begins, and what comes out of a step or a workflow that ends."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from sluice.workflows.core.pointers import ABSENT
from sluice.workflows.core.runs import RunError
from worker.workflows.core.expressions import Expression, Kept, Room, Scope, keep
from worker.workflows.core.planned import Plan, PlannedParameter
from worker.workflows.core.state import Frame, Purpose
from worker.workflows.core.templates import Template, fill


def entered(
    plan: Plan, workflow_id: str, purpose: Purpose, inputs: Mapping[str, Kept]
) -> Frame | RunError:
    """Return the frame of a workflow that begins; its inputs are checked like those of a run."""
    schema = plan.workflows[workflow_id].schema
    values = {name: one.value for name, one in inputs.items() if one.secret is None}
    secrets = {name: one for name, one in inputs.items() if one.secret is not None}
    values = schema.filled(values)
    # What is secret to one workflow may be plain to another: only what is missing or wrong counts.
    plain = {name: value for name, value in values.items() if name not in schema.secrets}
    problems = schema.problems(plain, frozenset(inputs) & schema.secrets)
    if problems:
        words = "; ".join(f"{one.pointer} {one.reason}" for one in problems)
        message = f"The workflow {workflow_id} does not take its inputs: {words}"
        return RunError("customer", "sluice.workflow.run/inputs", message)
    filled = {name: Kept(value=value) for name, value in values.items()}
    return Frame(workflow_id=workflow_id, purpose=purpose, inputs=filled | secrets)


MAX_KEPT_BYTES: Final = 1024 * 1024
"""Of the outputs of one step or workflow, and of the inputs of one nested workflow."""


def given(parameters: tuple[PlannedParameter, ...], scope: Scope) -> dict[str, Kept]:
    """Return the inputs that parameters give; what is missing is not given."""
    scope = replace(scope, room=Room(MAX_KEPT_BYTES))
    found = {one.name: _kept(one.template, scope) for one in parameters}
    return {name: kept for name, kept in found.items() if kept is not None}


def outputs_of(templates: Mapping[str, Template], scope: Scope) -> dict[str, Kept]:
    """Return outputs as they are kept; what is missing is left out."""
    scope = replace(scope, room=Room(MAX_KEPT_BYTES))
    found = {name: _kept(template, scope) for name, template in templates.items()}
    return {name: kept for name, kept in found.items() if kept is not None}


def _kept(template: Template, scope: Scope) -> Kept | None:
    value = keep(template, scope) if isinstance(template, Expression) else fill(template, scope)
    if value is ABSENT:
        return None
    kept = value if isinstance(value, Kept) else Kept(value=value)
    scope.room.take(kept.value)
    return kept
