"""The API description, made from what validates: limits, answer types and the table of errors.

An operation lists the error types that it can answer; statuses, headers and texts follow from the
table in ``sluice.core.errors``. A test compares the operations with the routes that are served.
Longer than other modules because most of it is one table, which is best read in one piece.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway import sources
from gateway.core.answers import (
    MAX_LIMITED_FOR_S,
    MAX_LISTED_ERRORS,
    MAX_RETRY_AFTER_S,
    MIN_RETRY_AFTER_S,
    BatchResult,
)
from gateway.core.auth import SESSION_PARAMETER
from gateway.core.event_rules import MAX_VISITOR_CHARS, VISITOR
from gateway.core.session import SessionAnswer
from gateway.health import Health
from gateway.routes.ingest import MAX_BODY_BYTES, MAX_KEY_CHARS
from gateway.routes.reads import DEFAULT_LIMIT, MAX_LIMIT, WINDOWS, ErrorList
from gateway.routes.session import MAX_ASK_BYTES
from gateway.routes.shopify import PREFIX
from gateway.source_answers import refusals, success
from sluice.core.errors import ERRORS, ErrorType
from sluice.core.event import (
    MAX_BATCH_EVENTS,
    MAX_EVENT_BYTES,
    MAX_EVENT_ID_CHARS,
    MAX_EVENT_TYPE_CHARS,
    MAX_PAYLOAD_DEPTH,
    MAX_USER_ID_CHARS,
)
from sluice.core.tenant import SLUG
from sluice.warehouse.stats import Stats

Schema = dict[str, Any]

INTEGER_ID: Final[Schema] = {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1}
COMPONENTS: Final = "#/components/schemas/"

_INGEST_AUTH: Final = (
    ErrorType.AUTH_MISSING,
    ErrorType.AUTH_MALFORMED,
    ErrorType.API_KEY_UNKNOWN,
    ErrorType.TOKEN_INVALID,
    ErrorType.TOKEN_EXPIRED,
    ErrorType.KEY_TYPE_NOT_ALLOWED,
    ErrorType.SCOPE_DENIED,
    ErrorType.TENANT_DISABLED,
    ErrorType.ORIGIN_NOT_ALLOWED,
)
_SESSION: Final = (
    ErrorType.AUTH_MISSING,
    ErrorType.AUTH_MALFORMED,
    ErrorType.API_KEY_UNKNOWN,
    ErrorType.KEY_TYPE_NOT_ALLOWED,
    ErrorType.TENANT_DISABLED,
    ErrorType.ORIGIN_NOT_ALLOWED,
    ErrorType.SIGNATURE_REQUIRED,
    ErrorType.SIGNATURE_INVALID,
    ErrorType.SIGNATURE_EXPIRED,
    ErrorType.SESSION_INVALID,
    ErrorType.RATE_LIMITED,
)
_READ_AUTH: Final = (
    ErrorType.AUTH_MISSING,
    ErrorType.AUTH_MALFORMED,
    ErrorType.TOKEN_INVALID,
    ErrorType.TOKEN_EXPIRED,
    ErrorType.SCOPE_DENIED,
    ErrorType.TENANT_UNKNOWN,
    ErrorType.TENANT_DISABLED,
)
_ANY_BODY: Final = (
    ErrorType.BODY_EMPTY,
    ErrorType.BODY_INCOMPLETE,
    ErrorType.BODY_UNDECODABLE,
    ErrorType.BODY_TIMEOUT,
    ErrorType.BODY_TOO_LARGE,
    ErrorType.JSON_INVALID,
    ErrorType.BODY_NOT_OBJECT,
    ErrorType.CONTENT_TYPE_UNSUPPORTED,
    ErrorType.CONTENT_ENCODING_UNSUPPORTED,
)
_BODY: Final = (
    *_ANY_BODY,
    ErrorType.IDEMPOTENCY_KEY_INVALID,
    ErrorType.JSON_TOO_DEEP,
    ErrorType.RATE_LIMITED,
)
_EVENT: Final = (
    ErrorType.USER_ID_MISSING,
    ErrorType.USER_ID_INVALID,
    ErrorType.EVENT_TYPE_MISSING,
    ErrorType.EVENT_TYPE_INVALID,
    ErrorType.OCCURRED_AT_INVALID,
    ErrorType.OCCURRED_AT_OUT_OF_RANGE,
    ErrorType.PAYLOAD_INVALID,
    ErrorType.PAYLOAD_TOO_DEEP,
    ErrorType.EVENT_ID_INVALID,
    ErrorType.EVENT_TOO_LARGE,
)
SKIPPING: Final = (ErrorType.EVENT_NOT_OBJECT, *_EVENT)
"""Why one event of a batch may be skipped."""
_SHAPE: Final = (
    ErrorType.EVENTS_MISSING,
    ErrorType.EVENTS_INVALID,
    ErrorType.EVENTS_EMPTY,
    ErrorType.BATCH_TOO_LARGE,
)
_STORING: Final = (ErrorType.OVERLOADED, ErrorType.SPOOL_FULL, ErrorType.PUBLISH_TIMEOUT)
_SHOPIFY: Final = (
    ErrorType.NOT_FOUND,
    ErrorType.TENANT_DISABLED,
    ErrorType.SHOPIFY_SIGNATURE_MISSING,
    ErrorType.SHOPIFY_SIGNATURE_INVALID,
    ErrorType.SHOPIFY_NOT_CONFIGURED,
    ErrorType.SHOPIFY_SHOP_MISMATCH,
    ErrorType.BODY_INCOMPLETE,
    ErrorType.BODY_TIMEOUT,
    ErrorType.BODY_TOO_LARGE,
)
NOT_QUEUED: Final = (
    ErrorType.SHOPIFY_TOPIC_MISSING,
    ErrorType.SHOPIFY_TOPIC_NOT_KEPT,
    ErrorType.SHOPIFY_NO_USER,
    ErrorType.SHOPIFY_BODY_NOT_JSON,
    ErrorType.SHOPIFY_BODY_NOT_OBJECT,
    ErrorType.SHOPIFY_BODY_TOO_LARGE,
)
"""Why a good delivery of Shopify's is not queued; the status is 200, as no retry would help."""
_ALWAYS: Final = (ErrorType.REQUEST_INVALID, ErrorType.INTERNAL)
_STOPPING: Final = (ErrorType.SHUTTING_DOWN,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path."""

    path: str
    method: str
    name: str
    summary: str
    description: str = ""
    security: Sequence[str] = ()
    parameters: Sequence[Schema] = ()
    body: Schema | None = None
    max_body_bytes: int = MAX_BODY_BYTES
    answers: Mapping[int, Schema]
    """What is answered when nothing is refused, by status."""
    errors: Sequence[ErrorType] = _ALWAYS


def _ref(name: str) -> Schema:
    return {"$ref": COMPONENTS + name}


def _json(description: str, schema: Schema, **headers: Schema) -> Schema:
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return {
        "description": description,
        "headers": {"X-Request-Id": _REQUEST_ID, **named},
        "content": {"application/json": {"schema": schema}},
    }


def _text(description: str, content_type: str) -> Schema:
    return {
        "description": description,
        "headers": {"X-Request-Id": _REQUEST_ID},
        "content": {content_type: {"schema": {"type": "string"}}},
    }


_REQUEST_ID: Final[Schema] = {
    "description": "The client's own, where it was well formed, else a new one.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}
_RETRY_AFTER: Final[Schema] = {
    "description": "Seconds until trying again makes sense.",
    "schema": {"type": "integer", "minimum": MIN_RETRY_AFTER_S, "maximum": MAX_RETRY_AFTER_S},
}
_LIMITED_FOR: Final[Schema] = {
    "description": "Seconds until this client may send again.",
    "schema": {"type": "integer", "minimum": MIN_RETRY_AFTER_S, "maximum": MAX_LIMITED_FOR_S},
}
_WAITS: Final[Mapping[int, Schema]] = {429: _LIMITED_FOR, 503: _RETRY_AFTER}
_QUEUED: Final[Schema] = {
    "type": "object",
    "properties": {"queued": {"const": True}},
    "required": ["queued"],
    "additionalProperties": False,
}
_NOT_QUEUED: Final[Schema] = {
    "type": "object",
    "properties": {
        "queued": {"const": False},
        "reason": {"enum": [one.removeprefix(PREFIX) for one in NOT_QUEUED]},
    },
    "required": ["queued", "reason"],
    "additionalProperties": False,
}
_ANY_OBJECT: Final[Schema] = {"type": "object"}
_KEY_PARAMETER: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Names the events of this request that have no event_id of their own, "
    "so that sending it again stores nothing twice.",
    "schema": {"type": "string", "pattern": f"^[!-~]{{1,{MAX_KEY_CHARS}}}$"},
}


def _source_operations() -> Iterator[Operation]:
    for source in map(sources.load, sources.NAMES):
        refused = refusals(source, request_id=_REQUEST_ID, waits=_WAITS)
        for route in source.routes:
            parameters: list[Schema] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in re.findall(r"{(\w+)}", route.path)
            ]
            yield Operation(
                path=f"{route.path}/",
                method=route.method.lower(),
                name=route.name,
                summary=route.summary,
                description=f"{source.summary}. {source.credential}",
                parameters=parameters,
                body=dict(route.body),
                answers={200: success(route, _REQUEST_ID), **refused},
                errors=(),
            )


OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        path="/api/ingestion/track/",
        method="post",
        name="track",
        summary="Queue one event",
        description="202 means that the event is on disk: it survives a crash.",
        security=("apiKey", "session", "sessionInQuery"),
        parameters=(_KEY_PARAMETER,),
        body=_ref("Event"),
        answers={
            202: _json(
                "The event is stored durably.",
                _QUEUED,
                x_event_id={"schema": {"type": "string", "format": "uuid"}},
            )
        },
        errors=(*_ALWAYS, *_STOPPING, *_INGEST_AUTH, *_BODY, *_EVENT, *_STORING),
    ),
    Operation(
        path="/api/ingestion/track/batch/",
        method="post",
        name="track_batch",
        summary=f"Queue up to {MAX_BATCH_EVENTS} events",
        description="A bad event is skipped and listed; the others are queued all the same. "
        f"At most the first {MAX_LISTED_ERRORS} skipped events are listed.",
        security=("apiKey", "session", "sessionInQuery"),
        parameters=(_KEY_PARAMETER,),
        body=_ref("Batch"),
        answers={202: _json("The queued events are stored durably.", _ref("BatchResult"))},
        errors=(*_ALWAYS, *_STOPPING, *_INGEST_AUTH, *_BODY, *_SHAPE, *_STORING),
    ),
    Operation(
        path="/api/auth/session/",
        method="post",
        name="session",
        summary="Open a session for a client app",
        description="Exchanges a public key for a token that writes as one user. `{}` opens one "
        "for a new visitor.",
        security=("publicKey",),
        body=_ref("SessionAsk"),
        max_body_bytes=MAX_ASK_BYTES,
        answers={200: _json("The session.", _ref("SessionAnswer"))},
        errors=(*_ALWAYS, *_STOPPING, *_SESSION, *_ANY_BODY),
    ),
    Operation(
        path="/api/ingestion/shopify/{tenant}/",
        method="post",
        name="shopify",
        summary="Take a webhook of Shopify",
        description="Signed by X-Shopify-Hmac-SHA256; X-Shopify-Topic picks the mapping, and"
        " X-Shopify-Webhook-Id makes a repeated delivery one event.",
        security=("shopifySignature",),
        parameters=(
            {
                "name": "tenant",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "pattern": f"^{SLUG.pattern}$"},
            },
        ),
        body=_ANY_OBJECT,
        answers={
            200: _json(
                "Stored durably, or not kept for a reason that no retry would mend.",
                {"anyOf": [_QUEUED, _NOT_QUEUED]},
                x_error_type={"schema": {"type": "string", "enum": list(NOT_QUEUED)}},
            )
        },
        errors=(*_ALWAYS, *_STOPPING, *_SHOPIFY, *_STORING),
    ),
    Operation(
        path="/api/ingestion/health/",
        method="get",
        name="health",
        summary="How queue, worker and warehouse are",
        answers={
            200: _json("All is well.", _ref("Health")),
            503: _json("Something is not well.", _ref("Health")),
        },
    ),
    Operation(
        path="/api/ingestion/stats/",
        method="get",
        name="stats",
        summary="Totals, a time series and event types",
        security=("readToken",),
        parameters=(
            {
                "name": "window",
                "in": "query",
                "schema": {"type": "string", "enum": list(WINDOWS), "default": WINDOWS[0]},
            },
        ),
        answers={200: _json("Distinct events by receive time.", _ref("Stats"))},
        errors=(
            *_ALWAYS,
            *_STOPPING,
            *_READ_AUTH,
            ErrorType.WINDOW_INVALID,
            ErrorType.WAREHOUSE_UNAVAILABLE,
        ),
    ),
    Operation(
        path="/api/ingestion/errors/",
        method="get",
        name="errors",
        summary="Recent refusals and skipped events",
        security=("readToken",),
        parameters=(
            {
                "name": "limit",
                "in": "query",
                "description": f"More than {MAX_LIMIT} means {MAX_LIMIT}.",
                "schema": {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT},
            },
        ),
        answers={200: _json("Newest first.", _ref("ErrorList"))},
        errors=(
            *_ALWAYS,
            *_STOPPING,
            *_READ_AUTH,
            ErrorType.LIMIT_INVALID,
            ErrorType.WAREHOUSE_UNAVAILABLE,
        ),
    ),
    Operation(
        path="/livez",
        method="get",
        name="livez",
        summary="Whether the process answers",
        answers={200: _json("It does.", _ANY_OBJECT)},
    ),
    Operation(
        path="/readyz",
        method="get",
        name="readyz",
        summary="Whether events are accepted",
        answers={
            200: _json("They are.", _ANY_OBJECT),
            503: _json("The server starts or stops.", _ANY_OBJECT),
        },
    ),
    Operation(
        path="/metrics",
        method="get",
        name="metrics",
        summary="Metrics for Prometheus",
        answers={200: _text("The Prometheus text format.", "text/plain")},
    ),
    Operation(
        path="/openapi.json",
        method="get",
        name="openapi",
        summary="This description",
        answers={200: _json("An OpenAPI 3.1 document.", _ANY_OBJECT)},
        errors=(*_ALWAYS, *_STOPPING),
    ),
    Operation(
        path="/docs",
        method="get",
        name="docs",
        summary="This description for people",
        answers={200: _text("A page that needs nothing from elsewhere.", "text/html")},
        errors=(*_ALWAYS, *_STOPPING),
    ),
    *_source_operations(),
)


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
                    "`sluice token` prints one.",
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
        responses[str(status)] = _error_response(status, error_types)
    return responses


def _error_response(status: int, error_types: Sequence[ErrorType]) -> Schema:
    headers: Schema = {"x_error_type": {"schema": {"type": "string", "enum": list(error_types)}}}
    if status in _WAITS:
        headers["retry_after"] = _WAITS[status]
    if status == 401:
        headers["www_authenticate"] = {"schema": {"type": "string"}}
    lines = [f"- `{one}`: {ERRORS[one].meaning} {ERRORS[one].remedy}" for one in error_types]
    return _json("\n".join(lines), _ref("Error"), **headers)


def _schemas() -> Schema:
    _, answers = msgspec.json.schema_components(
        (BatchResult, SessionAnswer, Health, Stats, ErrorList), ref_template=COMPONENTS + "{name}"
    )
    answers["SkippedEvent"]["properties"]["error_type"] = {"enum": list(SKIPPING)}
    asked = {"Event": _event(), "Batch": _batch(), "SessionAsk": _session_ask()}
    return {**answers, **asked, "Error": _error()}


def _event() -> Schema:
    return {
        "type": "object",
        "description": f"At most {MAX_EVENT_BYTES} bytes as JSON. Unknown keys are ignored.",
        "properties": {
            "user_id": {
                "description": "Your id of the user; an integer is taken as its digits.",
                "anyOf": [
                    {"type": "string", "minLength": 1, "maxLength": MAX_USER_ID_CHARS},
                    INTEGER_ID,
                ],
            },
            "event_type": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_EVENT_TYPE_CHARS,
                "description": "Printable; snake_case is advised, such as `page_viewed`.",
            },
            "occurred_at": {
                "description": "ISO 8601 (no zone means UTC) or epoch seconds, milliseconds, "
                "microseconds or nanoseconds by the number of digits; "
                "missing means the receive time.",
                "type": ["string", "number", "null"],
            },
            "payload": {
                "type": ["object", "null"],
                "description": f"Any properties, at most {MAX_PAYLOAD_DEPTH} levels deep; "
                "kept as the text that was sent.",
            },
            "event_id": {
                "description": "Your id of the event: a repeat within 7 days is not counted.",
                "anyOf": [
                    {"type": "string", "maxLength": MAX_EVENT_ID_CHARS},
                    INTEGER_ID,
                    {"type": "null"},
                ],
            },
            "anonymous_id": {
                "description": "A visitor's id; stands in for a missing user_id "
                f"as `{VISITOR}<anonymous_id>`, with at most {MAX_VISITOR_CHARS} characters."
            },
        },
        "required": ["event_type"],
        "example": {
            "user_id": "user-123",
            "event_type": "order_placed",
            "occurred_at": "2026-04-25T14:32:00Z",
            "payload": {"order_id": "ord-456", "total": 89.95, "currency": "USD"},
        },
    }


def _batch() -> Schema:
    return {
        "type": "object",
        "properties": {
            "events": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_BATCH_EVENTS,
                "items": _ref("Event"),
            }
        },
        "required": ["events"],
    }


def _session_ask() -> Schema:
    return {
        "type": "object",
        "description": "Unknown keys are ignored.",
        "properties": {
            "user_id": {
                "description": "The user who is logged in.",
                "anyOf": [
                    {"type": "string", "maxLength": MAX_USER_ID_CHARS},
                    INTEGER_ID,
                    {"type": "null"},
                ],
            },
            "anonymous_id": {
                "description": "A visitor's id; without a user_id the session is that of "
                f"`{VISITOR}<anonymous_id>`; one of more than {MAX_VISITOR_CHARS} characters is "
                "ignored."
            },
            "user_id_sig": {
                "type": ["string", "null"],
                "description": "Hex of HMAC-SHA256 over `<user_id>|<user_id_ts>`, with an identity "
                "secret of the key, made on your server.",
            },
            "user_id_ts": {
                "description": "Unix seconds of the signature, within 300 of the server's clock.",
                "anyOf": [INTEGER_ID, {"type": "null"}],
            },
        },
    }


def _error() -> Schema:
    return {
        "description": "`detail` speaks of the request as a whole; else each named field has "
        "its sentences.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
        },
    }
