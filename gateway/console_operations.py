"""The operations that the console reads beside stats, errors, receipts and runs."""

from typing import Final

from gateway.core.letters_token import MAX_TOKEN_CHARS
from gateway.operation import Operation
from gateway.operation_errors import ALWAYS, READ_AUTH, STOPPING
from gateway.routes.reads import DEFAULT_LIMIT, MAX_LIMIT
from gateway.routes.tail import CONTENT_TYPE, LONGEST, MAX_S
from gateway.schemas import json_answer, ref_to, text_answer
from gateway.tails import MAX_TAILS, MAX_TAILS_OF_TENANT, REACH_S
from sluice.core.errors import ErrorType

CONSOLE_OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        path="/api/ingestion/status/",
        method="get",
        name="status",
        summary="How health, destinations and queue are",
        description="200 however bad it is. Backlogs are of all tenants, as a subscription is "
        "shared; `parked_events` and `troubles` are this tenant's own. Freshness is the age of "
        "events when they became visible, of the last minute, as that worker measured it.",
        security=("readToken",),
        answers={200: json_answer("How they are.", ref_to("StatusAnswer"))},
        errors=(*ALWAYS, *STOPPING, *READ_AUTH),
    ),
    Operation(
        path="/api/ingestion/tail/",
        method="get",
        name="tail",
        summary="Events as they are stored",
        description="Server-sent events. About once a second, where there is something new, one "
        "`event: events` whose data is as the schema TailData says; comments in between. "
        "`event: end` says why it ends: `token_expired`, `tenant_disabled`, `time_limit` (after "
        f"{MAX_S / 60:.0f} minutes) or `server_ends`. With the last `id` in Last-Event-ID another "
        f"request goes on from there, up to {REACH_S / 60:.0f} minutes back. At most "
        f"{MAX_TAILS_OF_TENANT} of a tenant and {MAX_TAILS} in all are open at one gateway.",
        security=("readToken",),
        parameters=(
            *(
                {
                    "name": name,
                    "in": "query",
                    "description": "Only these; empty or missing: all.",
                    "schema": {"type": "string", "maxLength": longest},
                }
                for name, longest in LONGEST.items()
            ),
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "What is no id of ours is ignored.",
                "schema": {"type": "string"},
            },
        ),
        answers={200: text_answer("The stream.", CONTENT_TYPE)},
        errors=(
            *ALWAYS,
            *STOPPING,
            *READ_AUTH,
            ErrorType.PARAMETER_INVALID,
            ErrorType.TAILS_AT_LIMIT,
            ErrorType.OVERLOADED,
            ErrorType.WAREHOUSE_UNAVAILABLE,
        ),
    ),
    Operation(
        path="/api/ingestion/dead-letters/",
        method="get",
        name="dead_letters",
        summary="Events that a destination could not take",
        description="The newest first, by pages that stay right while more come. A run of the "
        "type `replay` with the input `dead_letters` sends them again.",
        security=("readToken",),
        parameters=(
            {
                "name": "destination",
                "in": "query",
                "description": "Only of this one, such as `amplitude`; empty or missing: of all.",
                "schema": {"type": "string", "pattern": "^([a-z0-9][a-z0-9_-]{0,63})?$"},
            },
            {
                "name": "limit",
                "in": "query",
                "description": f"More than {MAX_LIMIT} means {MAX_LIMIT}.",
                "schema": {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT},
            },
            {
                "name": "next_token",
                "in": "query",
                "description": "Of the page before, with the same destination.",
                "schema": {"type": "string", "maxLength": MAX_TOKEN_CHARS},
            },
        ),
        answers={200: json_answer("One page.", ref_to("DeadLetterList"))},
        errors=(
            *ALWAYS,
            *STOPPING,
            *READ_AUTH,
            ErrorType.PARAMETER_INVALID,
            ErrorType.LIMIT_INVALID,
            ErrorType.WAREHOUSE_UNAVAILABLE,
        ),
    ),
    Operation(
        path="/api/ingestion/error-types/",
        method="get",
        name="error_types",
        summary="What each error_type means, in plain words",
        answers={200: json_answer("All there are.", ref_to("ErrorTypeList"))},
        errors=(*ALWAYS, *STOPPING),
    ),
)
