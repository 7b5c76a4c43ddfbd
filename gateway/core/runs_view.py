"""A run as the API shows it: as an overview, in a list, and whole (reference, "Run object")."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from sluice.core.run_tasks import RunTask
from sluice.workflows.core.input_problem import MASK
from sluice.workflows.core.runs import Attribution, Run, RunError

WARN_AFTER_MS: Final = 7_200_000
"""A run of a document is ended after two hours; any that takes longer is worth a look."""

_MEDIA_TYPE: Final = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


def overview(run: Run) -> dict[str, object]:
    """Return what says where a run stands."""
    shown: dict[str, object] = {
        "id": run.run_id,
        "type": run.type,
        "name": run.name,
        "tenant": run.tenant,
        "state": run.state,
        "created_at": f"{run.created_at}Z",
    }
    if run.ended_at is not None:
        shown["ended_at"] = f"{run.ended_at}Z"
    return shown


def listed(run: Run) -> dict[str, object]:
    """Return a run of a list."""
    shown = overview(run)
    if run.error is not None:
        shown["error"] = run.error
    shown["principal_id"] = run.principal_id
    shown["principal_name"] = run.principal_name
    shown["principal_email"] = run.principal_email
    return shown


def verbose(
    run: Run, tasks: Sequence[RunTask], *, current_version: str, secrets: Sequence[str]
) -> dict[str, object]:
    """Return everything of a run.

    Args:
        run: The run.
        tasks: The visits of its steps, in order.
        current_version: Of its configuration now.
        secrets: Names of the inputs that it takes from the tenant's secrets.
    """
    shown = listed(run)
    inputs: dict[str, Any] = msgspec.json.decode(run.inputs or "{}")
    shown |= {
        "config_id": run.config_id,
        "workflow_id": run.workflow_id,
        "launched_version": run.launched_version,
        "current_version": current_version,
        "warn_after_ms": WARN_AFTER_MS,
        "inputs": {**inputs, **dict.fromkeys(secrets, MASK)},
        "outputs": msgspec.Raw((run.outputs or "{}").encode()),
        "task_instances": [_task(run, task) for task in tasks],
    }
    if run.run_mode:
        shown["run_mode"] = run.run_mode
    for name, moment in (
        ("range_from", run.range_from),
        ("range_to", run.range_to),
        ("due_at", run.due_at),
    ):
        if moment is not None:
            shown[name] = f"{moment}Z"
    return shown


def _task(run: Run, task: RunTask) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": task.task_instance_id,
        "task_instance_id": task.task_instance_id,
        "run_id": run.run_id,
        "tenant": run.tenant,
        "workflow_id": task.workflow_id,
        "label": task.step_id if task.visit <= 1 else f"{task.step_id} {task.visit}",
        "state": task.state,
        "state_changed_at": f"{task.state_changed_at}Z",
        "created_at": f"{task.created_at}Z",
        "execution_type": task.execution_type,
        "task_definition_id": f"{task.workflow_id}/{task.step_id}",
        "task_definition_type": run.type,
        "timeout_ms": task.timeout_ms,
    }
    if task.started_at is not None:
        shown["started_at"] = f"{task.started_at}Z"
    if task.ended_at is not None:
        shown["ended_at"] = f"{task.ended_at}Z"
    if task.error_type:
        attribution: Attribution = (
            "customer" if task.error_attribution == "customer" else "platform"
        )
        shown["error"] = RunError(attribution, task.error_type, task.error_message)
    return shown


class NamedFile(msgspec.Struct, frozen=True):
    """What the outputs of a run say of one of its files."""

    sha256: str = ""
    """In hex; empty where they do not name it."""
    media_type: str = ""


def named_file(outputs: str, name: str) -> NamedFile:
    """Return what a run's outputs say of a file."""
    for one in _objects(msgspec.json.decode(outputs or "{}")):
        if name not in (one.get("$file"), one.get("file"), one.get("name")):
            continue
        digest, media_type = one.get("sha256"), one.get("media_type")
        if isinstance(digest, str) and _SHA256.fullmatch(digest):
            media_type = media_type.partition(";")[0] if isinstance(media_type, str) else ""
            is_type = _MEDIA_TYPE.fullmatch(media_type) is not None
            return NamedFile(digest, media_type if is_type else "")
    return NamedFile()


def _objects(value: object) -> Iterator[Mapping[str, object]]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
