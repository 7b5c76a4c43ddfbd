"""A plan: a workflow with everything looked up and compiled. Made by ``plan``."""

from collections.abc import Mapping
from dataclasses import dataclass

from sluice.workflows.core.inputs import InputSchema
from sluice.workflows.core.refusals import Refusal
from worker.workflows.core.adapters import Adapter
from worker.workflows.core.criteria import Test
from worker.workflows.core.openapi import Declared, Operation, Scheme
from worker.workflows.core.operations import Repeat
from worker.workflows.core.templates import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedParameter:
    """A value and where it goes."""

    name: str
    place: str | None
    template: Template
    declared: Declared | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedAction:
    """What to do after a step."""

    name: str
    type: str
    step_id: str | None
    workflow_id: str | None
    parameters: tuple[PlannedParameter, ...]
    criteria: tuple[Test, ...]
    retry_after_s: float | None
    retry_limit: int
    poll_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBody:
    """What is sent."""

    template: Template
    content_type: str | None
    replacements: tuple[tuple[str, Template], ...]
    """JSON Pointers and their values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCall:
    """The request of a step."""

    operation: Operation
    base: str
    body: PlannedBody | None
    schemes: tuple[tuple[Scheme, Template], ...]
    """Credentials of the description, for those that have an input of their name."""
    repeat: Repeat
    adapter: Adapter | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """A step: a call, or a nested workflow."""

    id: str
    call: PlannedCall | None
    workflow_id: str | None
    parameters: tuple[PlannedParameter, ...]
    criteria: tuple[Test, ...]
    on_success: tuple[PlannedAction, ...]
    on_failure: tuple[PlannedAction, ...]
    is_gate: bool
    """None of the actions on success may hold, and one goes to the next step (rule K6)."""
    wants_redirect: bool
    """A criterion asks for a status 3xx: a redirect is the answer, and is not followed."""
    outputs: Mapping[str, Template]
    timeout_s: float
    poll_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWorkflow:
    """A workflow."""

    id: str
    schema: InputSchema
    depends_on: tuple[str, ...]
    steps: tuple[PlannedStep, ...]
    index: Mapping[str, int]
    """Position of each step."""
    outputs: Mapping[str, Template]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A workflow that can be run. It is made anew from the same texts whenever it is needed."""

    root: str
    """The workflow that runs."""
    digest: str
    """SHA-256 over the document and its sources."""
    self_url: str | None
    sources: Mapping[str, Mapping[str, str]]
    workflows: Mapping[str, PlannedWorkflow]
    warnings: tuple[Refusal, ...]
