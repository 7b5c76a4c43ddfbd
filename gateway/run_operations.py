"""The operations of the runs API."""

from typing import Final

from gateway.core.runs_query import DEFAULT_LIMIT, MAX_LIMIT, VERSIONS
from gateway.core.runs_start import MAX_KEY_CHARS, MAX_START_BYTES
from gateway.core.runs_words import SELECTS
from gateway.operation import Operation
from gateway.operation_errors import (
    ALWAYS,
    RUN_CALLER,
    RUN_COMMAND,
    RUN_START,
    STOPPING,
)
from gateway.run_callers import PER_SECOND, TENANT_HEADER, VERSION_HEADER
from gateway.run_schemas import RUN_ID_SCHEMA
from gateway.schemas import REQUEST_ID, Schema, json_answer, ref_to
from sluice.core.errors import ErrorType
from sluice.workflows.files import NAME

_COMMON: Final[tuple[Schema, ...]] = (
    {
        "name": TENANT_HEADER,
        "in": "header",
        "description": "The token's own tenant, or left out.",
        "schema": {"type": "string"},
    },
    {
        "name": VERSION_HEADER,
        "in": "header",
        "schema": {"type": "string", "enum": list(VERSIONS)},
    },
    {
        "name": "api_version",
        "in": "query",
        "description": "Instead of the header.",
        "schema": {"type": "string", "enum": list(VERSIONS)},
    },
)
_RUN: Final[Schema] = {"name": "run_id", "in": "path", "required": True, "schema": RUN_ID_SCHEMA}
_SPANS: Final[tuple[Schema, ...]] = tuple(
    {
        "name": f"{what}_{side}",
        "in": "query",
        "description": f"ISO 8601 in UTC, may be partial; {note}.",
        "schema": {"type": "string"},
        "example": "2024-02-10",
    }
    for what in ("created", "ended")
    for side, note in (("from", "inclusive"), ("to", "exclusive"))
)
_KEY: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key and body within 24 hours mean the same run.",
    "schema": {"type": "string", "pattern": f"^[!-~]{{1,{MAX_KEY_CHARS}}}$"},
}
_RATE: Final = f"A tenant may ask {PER_SECOND} times a second over all paths of runs."
_ERRORS: Final = (*ALWAYS, *STOPPING, *RUN_CALLER)
_REFUSAL: Final = "RunRefusal"
_FILE_HEADERS: Final[Schema] = {
    "X-Request-Id": REQUEST_ID,
    "Content-Disposition": {"schema": {"type": "string"}},
    "ETag": {"schema": {"type": "string"}, "description": "SHA-256 in hex, where outputs name it."},
}
_FILE: Final[Schema] = {"*/*": {"schema": {"type": "string", "format": "binary"}}}

RUN_OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        path="/api/workflow/runs/",
        method="get",
        name="list_runs",
        summary="List workflow runs, newest first",
        description=_RATE,
        security=("readToken",),
        parameters=(
            *_COMMON,
            *_SPANS,
            {
                "name": "limit",
                "in": "query",
                "description": f"More than {MAX_LIMIT} means {MAX_LIMIT}.",
                "schema": {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT},
            },
            {
                "name": "next_token",
                "in": "query",
                "description": "Of the last page, with the same filters.",
                "schema": {"type": "string", "minLength": 1},
            },
            {
                "name": "state",
                "in": "query",
                "description": f"In any spelling, several with commas: {', '.join(SELECTS)}.",
                "schema": {"type": "string"},
            },
            {
                "name": "type",
                "in": "query",
                "description": "Whole, in any case.",
                "schema": {"type": "string", "minLength": 1},
            },
            {
                "name": "with_total",
                "in": "query",
                "schema": {"type": "boolean", "default": False},
            },
        ),
        answers={200: json_answer("A page.", ref_to("RunList"))},
        errors=_ERRORS,
        refusal=_REFUSAL,
    ),
    Operation(
        path="/api/workflow/runs/",
        method="post",
        name="start_run",
        summary="Start a workflow run",
        description=f"200 means that the start is on disk: it survives a crash. {_RATE}",
        security=("runToken",),
        parameters=(*_COMMON, _KEY),
        body=ref_to("RunStart"),
        max_body_bytes=MAX_START_BYTES,
        answers={
            200: json_answer(
                "The run; with an Idempotency-Key perhaps one that was started before.",
                ref_to("Run"),
                location={"schema": {"type": "string"}},
            )
        },
        errors=(*_ERRORS, *RUN_START, *RUN_COMMAND),
        refusal=_REFUSAL,
    ),
    Operation(
        path="/api/workflow/runs/{run_id}/",
        method="get",
        name="run",
        summary="One run",
        security=("readToken",),
        parameters=(
            *_COMMON,
            _RUN,
            {
                "name": "view",
                "in": "query",
                "schema": {
                    "type": "string",
                    "enum": ["overview", "verbose"],
                    "default": "overview",
                },
            },
        ),
        answers={200: json_answer("The run.", {"anyOf": [ref_to("RunOverview"), ref_to("Run")]})},
        errors=(*_ERRORS, ErrorType.NOT_FOUND, ErrorType.RUN_UNKNOWN),
        refusal=_REFUSAL,
    ),
    Operation(
        path="/api/workflow/runs/{run_id}/stop/",
        method="post",
        name="stop_run",
        summary="Stop a run",
        description="A running step ends first. One that has not begun never begins.",
        security=("runToken",),
        parameters=(*_COMMON, _RUN),
        answers={200: json_answer("The run, stopping or canceled.", ref_to("Run"))},
        errors=(
            *_ERRORS,
            *RUN_COMMAND,
            ErrorType.NOT_FOUND,
            ErrorType.RUN_UNKNOWN,
            ErrorType.RUN_ENDED,
        ),
        refusal=_REFUSAL,
    ),
    Operation(
        path="/api/workflow/runs/{run_id}/files/{name}/",
        method="get",
        name="run_file",
        summary="A file that a run left",
        description="One range of bytes may be asked for.",
        security=("readToken",),
        parameters=(
            *_COMMON,
            _RUN,
            {
                "name": "name",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "pattern": f"^{NAME.pattern}$"},
            },
        ),
        answers={
            200: {"description": "The file.", "headers": _FILE_HEADERS, "content": _FILE},
            206: {"description": "A range of it.", "headers": _FILE_HEADERS, "content": _FILE},
        },
        errors=(
            *_ERRORS,
            ErrorType.NOT_FOUND,
            ErrorType.RUN_UNKNOWN,
            ErrorType.RUN_FILE_UNKNOWN,
            ErrorType.RANGE_UNSATISFIABLE,
        ),
        refusal=_REFUSAL,
    ),
)
