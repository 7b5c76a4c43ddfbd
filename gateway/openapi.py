"""The API description, made from what validates: limits, answer types and the table of errors."""

from collections.abc import Sequence

import msgspec

from gateway.core.answers import BatchResult
from gateway.core.auth import SESSION_PARAMETER
from gateway.core.receipt import Receipt
from gateway.core.runs_error import RunRefusal
from gateway.core.session import SessionAnswer
from gateway.core.status import StatusAnswer
from gateway.core.tail import TailData
from gateway.health import Health
from gateway.operation import Operation
from gateway.operation_errors import SKIPPING
from gateway.operations import OPERATIONS
from gateway.routes.dead_letters import DeadLetterList
from gateway.routes.error_types import ErrorTypeList
from gateway.routes.reads import ErrorList
from gateway.run_schemas import run_schemas
from gateway.schemas import (
    COMPONENTS,
    WAITS,
    Schema,
    batch_schema,
    error_schema,
    event_schema,
    json_answer,
    ref_to,
    session_ask_schema,
)
from sluice.core.errors import ERRORS, ErrorType
from sluice.warehouse.stats import Stats


def document(*, version: str) -> Schema:
    """Return the OpenAPI document."""
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": version,
            "description": "Event ingestion. Every path is served with and without its trailing "
            "slash. Every refusal carries its error_type in X-Error-Type.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`ApiKey sk_…`: a tenant's secret key.",
                },
                "publicKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`ApiKey pk_…`: a tenant's public key.",
                },
                "session": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A session token; every event is its user's.",
                },
                "sessionInQuery": {
                    "type": "apiKey",
                    "in": "query",
                    "name": SESSION_PARAMETER,
                    "description": "A session token, for `navigator.sendBeacon`, which can set no "
                    "header; then the body may be called `text/plain`.",
                },
                "shopifySignature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Shopify-Hmac-SHA256",
                    "description": "Base64 of HMAC-SHA256 over the body, with the app's client"
                    " secret or the store's signing secret.",
                },
                "readToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token with the claims `tenant` and `exp`; "
                    "`sluice token` prints one. One with a `scope` needs `read` in it.",
                },
                "runToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The same; one with a `scope` needs `runs` in it.",
                },
            },
        },
    }


def _operation(operation: Operation) -> Schema:
    described: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": operation.description,
        "parameters": list(operation.parameters),
        "responses": _responses(operation),
        "security": [{name: []} for name in operation.security],
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "description": f"At most {operation.max_body_bytes} bytes; "
            "plain or in gzip, deflate or zstd.",
            "content": {"application/json": {"schema": operation.body}},
        }
    return described


def _responses(operation: Operation) -> Schema:
    responses: dict[str, Schema] = {
        str(status): answer for status, answer in operation.answers.items()
    }
    by_status: dict[int, list[ErrorType]] = {}
    for error_type in operation.errors:
        by_status.setdefault(ERRORS[error_type].status, []).append(error_type)
    for status, error_types in sorted(by_status.items()):
        responses[str(status)] = _error_response(status, error_types, operation.refusal)
    return responses


def _error_response(status: int, error_types: Sequence[ErrorType], body: str) -> Schema:
    headers: Schema = {"x_error_type": {"schema": {"type": "string", "enum": list(error_types)}}}
    if status in WAITS:
        headers["retry_after"] = WAITS[status]
    if status == 401:
        headers["www_authenticate"] = {"schema": {"type": "string"}}
    lines = [f"- `{one}`: {ERRORS[one].meaning} {ERRORS[one].remedy}" for one in error_types]
    return json_answer("\n".join(lines), ref_to(body), **headers)


def _schemas() -> Schema:
    _, answers = msgspec.json.schema_components(
        (
            *(BatchResult, SessionAnswer, Health, StatusAnswer, TailData),
            *(Stats, ErrorList, Receipt, DeadLetterList, ErrorTypeList, RunRefusal),
        ),
        ref_template=COMPONENTS + "{name}",
    )
    answers["SkippedEvent"]["properties"]["error_type"] = {"enum": list(SKIPPING)}
    asked = {"Event": event_schema(), "Batch": batch_schema(), "SessionAsk": session_ask_schema()}
    return {**answers, **asked, **run_schemas(), "Error": error_schema()}
