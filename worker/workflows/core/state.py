"""What is known of a run, and what may happen to it: plain data, one JSON value.

Times are Unix seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from sluice.workflows.core.runs import RunError
from worker.workflows.core.calls import Request
from worker.workflows.core.expressions import Kept

MAX_VISITS: Final = 500
"""Of one step in one run (rule K4)."""
MAX_RUN_S: Final = 7_200.0
MAX_LOST: Final = 3
"""Times that workers may be lost on one visit of a step."""

Purpose = Literal["root", "step", "depends", "helper", "helper step", "ask"]
"""Why a workflow runs: it is the run; a step is it; a workflow depends on it; before a retry; to
find out whether a request was done."""
Outcome = Literal["succeeded", "failed", "up for retry"]


class StepEnd(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a transition did to a visit of a step."""

    workflow_id: str
    step_id: str
    visit: int
    attempt: int
    outcome: Outcome
    status: int | None = None
    """HTTP status as it came, before an adapter."""
    error: RunError | None = None


class Frame(msgspec.Struct, omit_defaults=True):
    """A workflow that is being run."""

    workflow_id: str
    purpose: Purpose
    inputs: dict[str, Kept]
    step: int = 0
    visit: int = 0
    """Of the current step, counted over the run."""
    attempt: int = 1
    """Of the current visit."""
    own_retries: int = 0
    """By rule K17, in the current visit."""
    lost: int = 0
    retries: dict[str, int] = {}
    """Of each failure action, in the current visit."""
    retry_at: float | None = None
    """While a helper runs: when the attempt after it may begin."""
    outputs: dict[str, dict[str, Kept]] = {}
    """Of steps."""


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """A workflow that has been run."""

    inputs: dict[str, Kept]
    outputs: dict[str, Kept]


class State(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A run. It is a value: ``apply`` returns another one and leaves this one alone."""

    run_id: str
    digest: str
    """Of the plan that began it; another plan cannot go on with it."""
    started_at: float
    now: float
    frames: list[Frame] = []
    """Innermost last."""
    visits: dict[str, int] = {}
    """By ``workflowId/stepId``."""
    results: dict[str, Result] = {}
    memory: dict[str, dict[str, Any]] = {}
    """Of adapters."""
    resume_at: float | None = None
    on_resume: Literal["arrive", "again"] = "again"
    """A new visit (a poll), or another attempt (a retry)."""
    last_status: int | None = None
    outputs: dict[str, Kept] | None = None
    """Of a run that succeeded."""
    error: RunError | None = None
    """Of a run that failed or was stopped."""
    ended: list[StepEnd] = []
    """What the last transition did; the shell's log is the whole."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens."""
        return self.error is not None or self.outputs is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBody:
    """A body that the shell put into a file, because it is large or not text (rule K14)."""

    id: str
    size_bytes: int
    media_type: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as it came, after redirects."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FileBody = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """Nothing usable came."""

    kind: Literal["timeout", "network", "unsendable", "hostile"]
    """``unsendable``: ``render`` said so; ``hostile``: the other side broke a bound of ours."""
    detail: str
    """No secret may be in it."""
    was_sent: bool = True
    """False only when it is certain that nothing arrived."""


@dataclass(frozen=True, slots=True)
class Elapsed:
    """The time that a ``Wait`` named has come."""


@dataclass(frozen=True, slots=True)
class Lost:
    """An attempt began, and the worker ended before its answer was written down."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A person stopped the run."""


Event = Answer | NoAnswer | Elapsed | Lost | Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send the request of the current step."""

    workflow_id: str
    step_id: str
    visit: int
    attempt: int
    request: Request
    """With ``***`` for each secret; ``render`` gives the one to send."""
    timeout_s: float
    """For all of it, redirects included."""
    max_redirects: int
    may_leave_origin: bool
    """The description declares that this operation redirects."""
    is_repeatable: bool
    """It may be sent again when nobody knows whether it arrived."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before a time."""

    until: float
    is_poll: bool


@dataclass(frozen=True, slots=True)
class Done:
    """The run succeeded. A secret among its outputs is a reference, and shown as ``***``."""

    outputs: Mapping[str, Kept]


@dataclass(frozen=True, slots=True)
class Failed:
    """The run failed, or was stopped."""

    error: RunError


Move = Send | Wait | Done | Failed
