"""Every operation of the API, as one table.

An operation lists the error types that it can answer; statuses, headers and texts follow from the
table in ``sluice.core.errors``. A test compares the operations with the routes that are served.
"""

import re
from collections.abc import Iterator
from typing import Final

from gateway import sources
from gateway.console_operations import CONSOLE_OPERATIONS
from gateway.core.answers import MAX_LISTED_ERRORS
from gateway.core.receipt import MAX_NAME_CHARS
from gateway.operation import Operation
from gateway.operation_errors import (
    ALWAYS,
    ANY_BODY,
    BODY,
    EVENT,
    INGEST_AUTH,
    NOT_QUEUED,
    READ_AUTH,
    SESSION,
    SHAPE,
    SHOPIFY,
    STOPPING,
    STORING,
)
from gateway.routes.reads import DEFAULT_LIMIT, MAX_LIMIT, WINDOWS
from gateway.routes.session import MAX_ASK_BYTES
from gateway.run_operations import RUN_OPERATIONS
from gateway.schemas import (
    ANY_OBJECT,
    KEY_PARAMETER,
    NOT_QUEUED_ANSWER,
    QUEUED_ANSWER,
    REQUEST_ID,
    WAITS,
    Schema,
    json_answer,
    ref_to,
    text_answer,
)
from gateway.source_answers import refusals, success
from sluice.core.errors import ErrorType
from sluice.core.event import MAX_BATCH_EVENTS, MAX_USER_ID_CHARS
from sluice.core.tenant import SLUG


def _source_operations() -> Iterator[Operation]:
    for source in map(sources.load, sources.NAMES):
        refused = refusals(source, request_id=REQUEST_ID, waits=WAITS)
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
                answers={200: success(route, REQUEST_ID), **refused},
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
        parameters=(KEY_PARAMETER,),
        body=ref_to("Event"),
        answers={
            202: json_answer(
                "The event is stored durably.",
                QUEUED_ANSWER,
                x_event_id={"schema": {"type": "string", "format": "uuid"}},
            )
        },
        errors=(*ALWAYS, *STOPPING, *INGEST_AUTH, *BODY, *EVENT, *STORING),
    ),
    Operation(
        path="/api/ingestion/track/batch/",
        method="post",
        name="track_batch",
        summary=f"Queue up to {MAX_BATCH_EVENTS} events",
        description="A bad event is skipped and listed; the others are queued all the same. "
        f"At most the first {MAX_LISTED_ERRORS} skipped events are listed.",
        security=("apiKey", "session", "sessionInQuery"),
        parameters=(KEY_PARAMETER,),
        body=ref_to("Batch"),
        answers={202: json_answer("The queued events are stored durably.", ref_to("BatchResult"))},
        errors=(*ALWAYS, *STOPPING, *INGEST_AUTH, *BODY, *SHAPE, *STORING),
    ),
    Operation(
        path="/api/auth/session/",
        method="post",
        name="session",
        summary="Open a session for a client app",
        description="Exchanges a public key for a token that writes as one user. `{}` opens one "
        "for a new visitor.",
        security=("publicKey",),
        body=ref_to("SessionAsk"),
        max_body_bytes=MAX_ASK_BYTES,
        answers={200: json_answer("The session.", ref_to("SessionAnswer"))},
        errors=(*ALWAYS, *STOPPING, *SESSION, *ANY_BODY),
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
        body=ANY_OBJECT,
        answers={
            200: json_answer(
                "Stored durably, or not kept for a reason that no retry would mend.",
                {"anyOf": [QUEUED_ANSWER, NOT_QUEUED_ANSWER]},
                x_error_type={"schema": {"type": "string", "enum": list(NOT_QUEUED)}},
            )
        },
        errors=(*ALWAYS, *STOPPING, *SHOPIFY, *STORING),
    ),
    Operation(
        path="/api/ingestion/health/",
        method="get",
        name="health",
        summary="How queue, worker and warehouse are",
        answers={
            200: json_answer("All is well.", ref_to("Health")),
            503: json_answer("Something is not well.", ref_to("Health")),
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
        answers={200: json_answer("Distinct events by receive time.", ref_to("Stats"))},
        errors=(
            *ALWAYS,
            *STOPPING,
            *READ_AUTH,
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
        answers={200: json_answer("Newest first.", ref_to("ErrorList"))},
        errors=(
            *ALWAYS,
            *STOPPING,
            *READ_AUTH,
            ErrorType.LIMIT_INVALID,
            ErrorType.WAREHOUSE_UNAVAILABLE,
        ),
    ),
    Operation(
        path="/api/ingestion/events/{event_id}/",
        method="get",
        name="receipt",
        summary="Where one event is, and what became of it",
        description="`state` is the first that holds of dead, parked, pending, delivered, filtered"
        " and stored; `trace` tells the steps in order of time.",
        security=("readToken",),
        parameters=(
            {
                "name": "event_id",
                "in": "path",
                "required": True,
                "description": "The X-Event-Id of the 202, or your own: the event_id, the"
                " Idempotency-Key (of a batch `<key>:<index>`), a messageId, an insert_id, a"
                " webhook-id, an X-Shopify-Webhook-Id.",
                "schema": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS},
            },
            {
                "name": "user_id",
                "in": "query",
                "description": "Whose event it is, where the name is that user's own: of a session,"
                " and of Amplitude's API without a device_id.",
                "schema": {"type": "string", "maxLength": MAX_USER_ID_CHARS},
            },
            {
                "name": "anonymous_id",
                "in": "query",
                "description": "Amplitude's device_id: an insert_id is that device's own.",
                "schema": {"type": "string", "maxLength": MAX_USER_ID_CHARS},
            },
        ),
        answers={200: json_answer("The receipt.", ref_to("Receipt"))},
        errors=(
            *ALWAYS,
            *STOPPING,
            *READ_AUTH,
            ErrorType.NOT_FOUND,
            ErrorType.EVENT_UNKNOWN,
            ErrorType.WAREHOUSE_UNAVAILABLE,
        ),
    ),
    Operation(
        path="/livez",
        method="get",
        name="livez",
        summary="Whether the process answers",
        answers={200: json_answer("It does.", ANY_OBJECT)},
    ),
    Operation(
        path="/readyz",
        method="get",
        name="readyz",
        summary="Whether events are accepted",
        answers={
            200: json_answer("They are.", ANY_OBJECT),
            503: json_answer("The server starts or stops.", ANY_OBJECT),
        },
    ),
    Operation(
        path="/metrics",
        method="get",
        name="metrics",
        summary="Metrics for Prometheus",
        answers={200: text_answer("The Prometheus text format.", "text/plain")},
    ),
    Operation(
        path="/openapi.json",
        method="get",
        name="openapi",
        summary="This description",
        answers={200: json_answer("An OpenAPI 3.1 document.", ANY_OBJECT)},
        errors=(*ALWAYS, *STOPPING),
    ),
    Operation(
        path="/",
        method="get",
        name="console",
        summary="The console for people",
        description="It reads this API with a token that it keeps in memory.",
        answers={200: text_answer("A page that needs nothing from elsewhere.", "text/html")},
        errors=(*ALWAYS, *STOPPING),
    ),
    Operation(
        path="/docs",
        method="get",
        name="docs",
        summary="This description for people",
        answers={200: text_answer("A page that needs nothing from elsewhere.", "text/html")},
        errors=(*ALWAYS, *STOPPING),
    ),
    *CONSOLE_OPERATIONS,
    *RUN_OPERATIONS,
    *_source_operations(),
)
