"""Built-in workflows: what their steps are given, and what they may answer.

A step is a coroutine that may be repeated: a worker that dies in it is followed by one that calls
it again, with the same context. It returns its outputs, or ``Again`` to be called later, or raises
``StepError``. What ClickHouse, the queue or the network do to it is the platform's fault and is
tried again by the program.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sluice.core.errors import SluiceError
from sluice.queue.protocol import Queue
from sluice.settings import Settings
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse
from sluice.workflows.core.runs import Attribution, Run
from sluice.workflows.files import RunFiles


class StepError(SluiceError):
    """A step failed for good; its text is shown to people and holds no secret.

    Args:
        message: What was wrong and what to do, in one sentence.
        attribution: Whose fault it is.
        rule: The last part of the error's type, ``sluice.workflow.step/<rule>``.
    """

    def __init__(
        self, message: str, *, attribution: Attribution = "customer", rule: str = "failed"
    ) -> None:
        super().__init__(message)
        self.attribution: Attribution = attribution
        self.rule = rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Call the step again after a while; between the calls the run waits like a poll."""

    after_s: float
    memory: Mapping[str, Any] = field(default_factory=dict)
    """JSON; what the next call of this step finds in its context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What steps work with; one for all runs of a worker."""

    settings: Settings
    tenants: TenantsFile
    warehouse: Warehouse
    queue: Queue
    files: RunFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What one call of a step is given."""

    tools: Tools
    run: Run
    inputs: Mapping[str, Any]
    """Of the run, defaults filled in."""
    outputs: Mapping[str, Mapping[str, Any]]
    """Of the steps before, by step id."""
    memory: Mapping[str, Any]
    """Of this step's last ``Again``; empty at first."""
    started_at: float
    """Unix seconds at which the run began: the same in every call."""
    stop: asyncio.Event
    """Set when the run is to stop: a step that takes long looks, and raises ``StoppedError``."""


class StoppedError(SluiceError):
    """The step ended early because its run is to stop."""


Step = Callable[[Context], Awaitable[Mapping[str, Any] | Again]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinStep:
    """A named step."""

    id: str
    do: Step
    timeout_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Builtin:
    """A built-in type: its steps in order. The outputs of a run are those of its last step."""

    type: str
    steps: tuple[BuiltinStep, ...]
