"""A visit of a step of a run, as the warehouse keeps it and the API shows it."""

import msgspec


class RunTask(msgspec.Struct, frozen=True, kw_only=True):
    """One task instance; times are UTC texts without a zone letter."""

    task_instance_id: str
    workflow_id: str
    step_id: str
    visit: int
    """1 at the first."""
    state: str
    execution_type: str
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    state_changed_at: str
    timeout_ms: int = 0
    error_attribution: str = ""
    error_type: str = ""
    error_message: str = ""
