"""An Arazzo document (1.0.x, 1.1.x) as typed values. References to components are followed.

``parse`` refuses what has not the specification's form; whether its parts fit together, and to the
descriptions of the APIs, is decided in ``checks`` and ``plan``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from sluice.workflows.core.refusals import Mark, Path, Problems, Refusal
from sluice.workflows.core.shape import check_shape
from sluice.workflows.core.yaml_text import load

SourceText = bytes | str
"""The text of a source, or, as ``str``, why it could not be read."""
GOESSNER: Final = "draft-goessner-dispatch-jsonpath-00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A value that a request or a nested workflow gets."""

    name: str
    place: str | None
    """``path``, ``query``, ``header``, ``cookie``; ``None`` for the input of a workflow."""
    value: object
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """A condition."""

    condition: str
    context: str | None
    type: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What to do after a step."""

    name: str
    type: str
    """``end``, ``goto`` or ``retry``."""
    step_id: str | None
    workflow_id: str | None
    parameters: tuple[Parameter, ...]
    criteria: tuple[Criterion, ...]
    retry_after_s: float | None
    retry_limit: int
    poll_s: float | None
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """A value that is set in a payload."""

    target: str
    target_type: str
    value: object
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What is sent."""

    content_type: str | None
    payload: object
    replacements: tuple[Replacement, ...]
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request, or one nested workflow."""

    id: str
    operation_id: str | None
    operation_path: str | None
    workflow_id: str | None
    timeout_s: float | None
    depends_on: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    body: Body | None
    criteria: tuple[Criterion, ...]
    on_success: tuple[Action, ...]
    """The step's own actions, then the workflow's that none of them overrides by name."""
    on_failure: tuple[Action, ...]
    outputs: Mapping[str, object]
    poll_s: float | None
    idempotency: object
    """``x-sluice-idempotency``; see ``idempotency``."""
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """Steps in their order."""

    id: str
    inputs: object
    """JSON Schema; ``None``: the workflow says nothing of its inputs."""
    depends_on: tuple[str, ...]
    steps: tuple[Step, ...]
    parameters: tuple[Parameter, ...]
    outputs: Mapping[str, object]
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDescription:
    """Where the operations are described."""

    name: str
    url: str
    type: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document whose form is right."""

    digest: str
    """SHA-256 of the text."""
    version: str
    self_url: str | None
    title: str
    is_strict: bool
    """``x-sluice-strict``: the lenient rules K1, K3 and K6 are off."""
    sources: tuple[SourceDescription, ...]
    workflows: tuple[Workflow, ...]
    schemas: Mapping[str, object]
    """``components.inputs``."""
    marks: Mapping[Path, Mark] = field(repr=False)
    """The line of everything."""


def parse(text: bytes) -> Document | tuple[Refusal, ...]:
    """Return the document that a text holds, or why it holds none."""
    loaded = load(text)
    if isinstance(loaded, Refusal):
        return (loaded,)
    problems = Problems(loaded.marks)
    check_shape(loaded.value, problems)
    if problems.refusals:
        return tuple(problems.refusals)
    document = _Reader(loaded.value, problems).document(sha256(text).hexdigest(), loaded.marks)
    return tuple(problems.refusals) if problems.refusals else document


def digest_of(document: Document, sources: Mapping[str, SourceText]) -> str:
    """Return the SHA-256, in hex, over a document and its sources by name."""
    whole = sha256(document.digest.encode())
    for name in sorted(sources):
        text = sources[name]
        whole.update(name.encode() + b"\0")
        whole.update(sha256(text.encode() if isinstance(text, str) else text).digest())
    return whole.hexdigest()


class _Reader:
    """From values whose form is known to be right to typed ones."""

    def __init__(self, root: Any, problems: Problems) -> None:
        self._root: dict[str, Any] = root
        self._components: dict[str, Any] = root.get("components", {})
        self._problems = problems

    def document(self, digest: str, marks: Mapping[Path, Mark]) -> Document:
        root = self._root
        return Document(
            digest=digest,
            version=root["arazzo"],
            self_url=root.get("$self"),
            title=root["info"]["title"],
            is_strict=root.get("x-sluice-strict") is True,
            sources=tuple(
                SourceDescription(
                    name=one["name"],
                    url=one["url"],
                    type=one.get("type", "openapi"),
                    path=("sourceDescriptions", at),
                )
                for at, one in enumerate(root["sourceDescriptions"])
            ),
            workflows=tuple(
                self._workflow(one, ("workflows", at)) for at, one in enumerate(root["workflows"])
            ),
            schemas=self._components.get("inputs", {}),
            marks=marks,
        )

    def _workflow(self, value: dict[str, Any], path: Path) -> Workflow:
        success = self._actions(value, "successActions", path)
        failure = self._actions(value, "failureActions", path)
        return Workflow(
            id=value["workflowId"],
            inputs=value.get("inputs"),
            depends_on=tuple(value.get("dependsOn", ())),
            steps=tuple(
                self._step(one, success, failure, (*path, "steps", at))
                for at, one in enumerate(value["steps"])
            ),
            parameters=self._parameters(value, path),
            outputs=value.get("outputs", {}),
            path=path,
        )

    def _step(
        self,
        value: dict[str, Any],
        success: tuple[Action, ...],
        failure: tuple[Action, ...],
        path: Path,
    ) -> Step:
        self._one_target(value, path)
        timeout = value.get("timeout")
        return Step(
            id=value["stepId"],
            operation_id=value.get("operationId"),
            operation_path=value.get("operationPath"),
            workflow_id=value.get("workflowId"),
            timeout_s=timeout / 1000 if timeout else None,
            depends_on=tuple(value.get("dependsOn", ())),
            parameters=self._parameters(value, path),
            body=_body(value["requestBody"], path) if "requestBody" in value else None,
            criteria=_criteria(value, "successCriteria", path),
            on_success=_overridden(self._actions(value, "onSuccess", path), success),
            on_failure=_overridden(self._actions(value, "onFailure", path), failure),
            outputs=value.get("outputs", {}),
            poll_s=self._poll_s(value, path),
            idempotency=value.get("x-sluice-idempotency"),
            path=path,
        )

    def _one_target(self, value: dict[str, Any], path: Path) -> None:
        for member in ("channelPath", "action", "correlationId"):
            if member in value:
                self._problems.refuse(
                    (*path, member), "is for AsyncAPI, which Sluice does not speak", "asyncapi"
                )
        targets = [name for name in ("operationId", "operationPath", "workflowId") if name in value]
        if len(targets) != 1:
            reason = "must have exactly one of operationId, operationPath and workflowId"
            self._problems.refuse(path, reason, "step-target")

    def _poll_s(self, value: dict[str, Any], path: Path) -> float | None:
        seconds = value.get("x-sluice-poll-seconds")
        if seconds is None:
            return None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
            reason = "must be a number of seconds of at least 0"
            self._problems.refuse((*path, "x-sluice-poll-seconds"), reason, "type")
            return None
        return float(seconds)

    def _resolved(self, value: dict[str, Any], group: str, path: Path) -> dict[str, Any] | None:
        """Return the object that a reusable object stands for."""
        reference = value.get("reference")
        if reference is None:
            return value
        start = f"$components.{group}."
        found = None
        if isinstance(reference, str) and reference.startswith(start):
            found = self._components.get(group, {}).get(reference.removeprefix(start))
        if found is None:
            self._problems.refuse(
                (*path, "reference"), f"leads to none of components.{group}", "reference-unknown"
            )
            return None
        if "value" not in value:
            return dict(found)
        if group != "parameters":
            reason = "is for parameters; an action has none"
            self._problems.refuse((*path, "value"), reason, "reusable-value")
        return {**found, "value": value["value"]}

    def _parameters(self, value: dict[str, Any], path: Path) -> tuple[Parameter, ...]:
        found: dict[tuple[str, str | None], Parameter] = {}
        for at, one in enumerate(value.get("parameters", ())):
            here: Path = (*path, "parameters", at)
            read = self._resolved(one, "parameters", here)
            if read is None:
                continue
            key = (read["name"], read.get("in"))
            if key in found:
                reason = "names a parameter that this list has already"
                self._problems.refuse(here, reason, "duplicate-parameter")
            if key[1] == "querystring":
                reason = "querystring is not supported: name each query parameter"
                self._problems.refuse((*here, "in"), reason, "querystring")
            found[key] = Parameter(name=key[0], place=key[1], value=read["value"], path=here)
        return tuple(found.values())

    def _actions(self, value: dict[str, Any], member: str, path: Path) -> tuple[Action, ...]:
        group = "successActions" if "uccess" in member else "failureActions"
        found: dict[str, Action] = {}
        for at, one in enumerate(value.get(member, ())):
            here: Path = (*path, member, at)
            read = self._resolved(one, group, here)
            if read is None:
                continue
            if read["name"] in found:
                reason = "has the name of an action that this list has already"
                self._problems.refuse(here, reason, "duplicate-action")
            found[read["name"]] = self._action(read, here)
        return tuple(found.values())

    def _action(self, value: dict[str, Any], path: Path) -> Action:
        targets = [name for name in ("stepId", "workflowId") if name in value]
        if value["type"] == "goto" and len(targets) != 1:
            reason = "goto must have exactly one of stepId and workflowId"
            self._problems.refuse(path, reason, "action-target")
        if value["type"] == "retry" and len(targets) > 1:
            reason = "retry may have one of stepId and workflowId"
            self._problems.refuse(path, reason, "action-target")
        if "parameters" in value and "workflowId" not in value:
            reason = "are inputs of a workflow, and the action has no workflowId"
            self._problems.refuse((*path, "parameters"), reason, "action-target")
        return Action(
            name=value["name"],
            type=value["type"],
            step_id=value.get("stepId"),
            workflow_id=value.get("workflowId"),
            parameters=self._parameters(value, path),
            criteria=_criteria(value, "criteria", path),
            retry_after_s=value.get("retryAfter"),
            retry_limit=value.get("retryLimit", 1),
            poll_s=self._poll_s(value, path),
            path=path,
        )


def _body(value: dict[str, Any], path: Path) -> Body:
    here: Path = (*path, "requestBody")
    return Body(
        content_type=value.get("contentType"),
        payload=value.get("payload"),
        replacements=tuple(
            Replacement(
                target=one["target"],
                target_type=kind_of(one.get("targetSelectorType", "jsonpointer")),
                value=one["value"],
                path=(*here, "replacements", at),
            )
            for at, one in enumerate(value.get("replacements", ()))
        ),
        path=here,
    )


def _criteria(value: dict[str, Any], member: str, path: Path) -> tuple[Criterion, ...]:
    return tuple(
        Criterion(
            condition=one["condition"],
            context=one.get("context"),
            type=kind_of(one.get("type", "simple")),
            path=(*path, member, at),
        )
        for at, one in enumerate(value.get(member, ()))
    )


def kind_of(value: Any) -> str:
    """Return the type of a criterion or selector; ``goessner`` for the draft that is refused."""
    if isinstance(value, str):
        return value
    return "goessner" if value["version"] == GOESSNER else str(value["type"])


def _overridden(own: tuple[Action, ...], general: tuple[Action, ...]) -> tuple[Action, ...]:
    names = {action.name for action in own}
    return (*own, *(action for action in general if action.name not in names))
