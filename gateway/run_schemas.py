"""Runs in the API description: what their forms hold (``gateway.core.runs_view``)."""

from typing import Any, Final, get_args

from gateway.core.runs_start import MODES
from gateway.schemas import Schema, ref_to
from sluice.core.workflows import CONFIG_ID
from sluice.workflows.core.runs import RUN_ID, Attribution, RunState, TaskState

_TEXT: Final[Schema] = {"type": "string"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_MOMENT: Final[Schema] = {
    "type": "string",
    "description": "ISO 8601; may be partial, no zone means UTC.",
}
RUN_ID_SCHEMA: Final[Schema] = {"type": "string", "pattern": f"^{RUN_ID.pattern}$"}
_OVERVIEW: Final[dict[str, Any]] = {
    "id": RUN_ID_SCHEMA,
    "type": _TEXT,
    "name": _TEXT,
    "tenant": _TEXT,
    "state": {"enum": list(get_args(RunState))},
    "created_at": _TIME,
    "ended_at": _TIME,
}
_LISTED: Final[dict[str, Any]] = {
    **_OVERVIEW,
    "error": ref_to("RunError"),
    "principal_id": _TEXT,
    "principal_name": _TEXT,
    "principal_email": _TEXT,
}
_VERBOSE: Final[dict[str, Any]] = {
    **_LISTED,
    "config_id": _TEXT,
    "workflow_id": _TEXT,
    "launched_version": _TEXT,
    "current_version": _TEXT,
    "warn_after_ms": {"type": "integer"},
    "run_mode": {"enum": list(MODES)},
    "range_from": _TIME,
    "range_to": _TIME,
    "due_at": _TIME,
    "inputs": {"type": "object", "description": "As given; secrets as `***`."},
    "outputs": {"type": "object"},
    "task_instances": {"type": "array", "items": ref_to("TaskInstance")},
}
_TASK: Final[dict[str, Any]] = {
    "id": _TEXT,
    "task_instance_id": _TEXT,
    "run_id": RUN_ID_SCHEMA,
    "tenant": _TEXT,
    "workflow_id": _TEXT,
    "label": _TEXT,
    "state": {"enum": list(get_args(TaskState))},
    "state_changed_at": _TIME,
    "created_at": _TIME,
    "started_at": _TIME,
    "ended_at": _TIME,
    "execution_type": _TEXT,
    "task_definition_id": _TEXT,
    "task_definition_type": _TEXT,
    "timeout_ms": {"type": "integer"},
    "error": ref_to("RunError"),
}
_MAY_LACK: Final = frozenset(
    {"ended_at", "started_at", "error", "run_mode", "range_from", "range_to", "due_at"}
)


def _object(properties: dict[str, Any]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in _MAY_LACK],
        "additionalProperties": False,
    }


def run_schemas() -> dict[str, Schema]:
    """Return the schemas of runs by name."""
    return {
        "RunOverview": _object(_OVERVIEW),
        "ListedRun": _object(_LISTED),
        "Run": _object(_VERBOSE),
        "TaskInstance": _object(_TASK),
        "RunError": _object(
            {"attribution": {"enum": list(get_args(Attribution))}, "type": _TEXT, "message": _TEXT}
        ),
        "RunList": {
            "type": "object",
            "properties": {
                "data": {"type": "array", "items": ref_to("ListedRun")},
                "next_token": {
                    "type": "string",
                    "description": "Of the next page, good for 24 hours; empty: this is the last.",
                },
                "total": {"type": "integer", "description": "Of all pages; only if asked for."},
            },
            "required": ["data", "next_token"],
            "additionalProperties": False,
        },
        "RunStart": {
            "type": "object",
            "properties": {
                "config_id": {"type": "string", "pattern": f"^{CONFIG_ID.pattern}$"},
                "inputs": {"type": "object", "description": "By the workflow's own schema."},
                "range_from": _MOMENT,
                "range_to": _MOMENT,
                "run_mode": {"enum": list(MODES), "description": "In any case."},
            },
            "required": ["config_id"],
            "additionalProperties": False,
            "example": {"config_id": "og-cohort", "inputs": {"cohortId": "c1"}},
        },
    }
