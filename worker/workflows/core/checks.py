"""Whether the parts of a document fit together: ids, references and circles."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from sluice.workflows.core.document import Action, Document, Step, Workflow
from sluice.workflows.core.refusals import Path, Problems

_MAX_STEPS: Final = 200
"""Of a workflow."""
_MAX_WORKFLOWS: Final = 50


def check_references(document: Document, problems: Problems) -> None:
    """Refuse duplicate ids, references that lead nowhere and workflows that need themselves."""
    if len(document.workflows) > _MAX_WORKFLOWS:
        problems.refuse(("workflows",), f"holds more than {_MAX_WORKFLOWS} workflows", "too-many")
        return
    _unique(((one.name, one.path) for one in document.sources), "source", "name", problems)
    _unique(((one.id, one.path) for one in document.workflows), "workflow", "workflowId", problems)
    for source in document.sources:
        if source.type == "asyncapi":
            reason = "is AsyncAPI, which Sluice does not speak"
            problems.refuse((*source.path, "type"), reason, "asyncapi")
    known = {workflow.id: workflow for workflow in document.workflows}
    for workflow in document.workflows:
        _check_workflow(workflow, known, problems)
    _circles(known, lambda one: one.depends_on, "dependsOn", problems)
    _circles(known, _nested, "nested workflows", problems)


def _unique(names: Iterable[tuple[str, Path]], what: str, member: str, problems: Problems) -> None:
    seen: set[str] = set()
    for name, path in names:
        if name in seen:
            reason = f"is the second {what} with the {member} {name}"
            problems.refuse((*path, member), reason, f"duplicate-{what}")
        seen.add(name)


def _check_workflow(workflow: Workflow, known: Mapping[str, Workflow], problems: Problems) -> None:
    if len(workflow.steps) > _MAX_STEPS:
        path: Path = (*workflow.path, "steps")
        problems.refuse(path, f"holds more than {_MAX_STEPS} steps", "too-many")
    _unique(((one.id, one.path) for one in workflow.steps), "step", "stepId", problems)
    for at, needed in enumerate(workflow.depends_on):
        if needed not in known:
            reason = f"names the workflow {needed}, which does not exist"
            problems.refuse((*workflow.path, "dependsOn", at), reason, "depends-unknown")
    steps = [step.id for step in workflow.steps]
    for at, step in enumerate(workflow.steps):
        _check_step(step, steps[:at], problems)
        for action in (*step.on_success, *step.on_failure):
            _check_action(action, steps, known, problems)


def _check_step(step: Step, earlier: list[str], problems: Problems) -> None:
    for at, needed in enumerate(step.depends_on):
        if needed not in earlier:
            reason = f"names {needed}, which is no earlier step of this workflow"
            problems.refuse((*step.path, "dependsOn", at), reason, "depends-unknown")


def _check_action(
    action: Action, steps: list[str], known: Mapping[str, Workflow], problems: Problems
) -> None:
    if action.step_id is not None and action.step_id not in steps:
        reason = f"leads to the step {action.step_id}, which this workflow does not have"
        problems.refuse((*action.path, "stepId"), reason, "goto-unknown")
    if action.workflow_id is not None and action.workflow_id not in known:
        reason = f"leads to the workflow {action.workflow_id}, which does not exist"
        problems.refuse((*action.path, "workflowId"), reason, "goto-unknown")


def _nested(workflow: Workflow) -> tuple[str, ...]:
    """Return the workflows that run inside of a workflow, and come back to it."""
    retried = (
        action.workflow_id
        for step in workflow.steps
        for action in step.on_failure
        if action.type == "retry"
    )
    asked = (
        step.idempotency["ask"]
        for step in workflow.steps
        if isinstance(step.idempotency, dict) and isinstance(step.idempotency.get("ask"), str)
    )
    inside = (step.workflow_id for step in workflow.steps)
    return tuple(one for one in (*inside, *retried, *asked) if one is not None)


def _circles(
    known: Mapping[str, Workflow],
    needs: Callable[[Workflow], tuple[str, ...]],
    what: str,
    problems: Problems,
) -> None:
    done: set[str] = set()
    for workflow in known.values():
        _walk(workflow, (), known=known, needs=needs, done=done, what=what, problems=problems)


def _walk(
    workflow: Workflow,
    above: tuple[str, ...],
    *,
    known: Mapping[str, Workflow],
    needs: Callable[[Workflow], tuple[str, ...]],
    done: set[str],
    what: str,
    problems: Problems,
) -> None:
    if workflow.id in above:
        circle = " → ".join((*above[above.index(workflow.id) :], workflow.id))
        problems.refuse(workflow.path, f"is in a circle of {what}: {circle}", "circle")
        return
    if workflow.id in done:
        return
    for name in needs(workflow):
        if name in known:
            _walk(
                known[name],
                (*above, workflow.id),
                known=known,
                needs=needs,
                done=done,
                what=what,
                problems=problems,
            )
    done.add(workflow.id)
