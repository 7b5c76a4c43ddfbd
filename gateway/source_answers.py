"""What the sources may answer, for the API description: asked of the sources themselves."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.core.answers import JSON, Answer
from gateway.core.source import Refused, Source, SourceRoute
from sluice.core.errors import ERRORS, ErrorType, Rejected

Schema = dict[str, Any]

ANY_ROUTE: Final = (
    ErrorType.INTERNAL,
    ErrorType.SHUTTING_DOWN,
    ErrorType.BODY_INCOMPLETE,
    ErrorType.BODY_UNDECODABLE,
    ErrorType.BODY_TIMEOUT,
    ErrorType.BODY_TOO_LARGE,
    ErrorType.CONTENT_ENCODING_UNSUPPORTED,
    ErrorType.RATE_LIMITED,
    ErrorType.OVERLOADED,
    ErrorType.SPOOL_FULL,
    ErrorType.PUBLISH_TIMEOUT,
    ErrorType.REQUEST_INVALID,
)
"""What the route itself may have to refuse, whatever the source."""
SKIPPING: Final = (
    ErrorType.EVENT_NOT_OBJECT,
    ErrorType.EVENT_TOO_LARGE,
    ErrorType.USER_ID_MISSING,
    ErrorType.USER_ID_INVALID,
    ErrorType.EVENT_TYPE_MISSING,
    ErrorType.EVENT_TYPE_INVALID,
    ErrorType.OCCURRED_AT_INVALID,
    ErrorType.OCCURRED_AT_OUT_OF_RANGE,
    ErrorType.PAYLOAD_INVALID,
    ErrorType.PAYLOAD_TOO_DEEP,
    ErrorType.EVENT_ID_INVALID,
)
"""Why an event may not be taken; with 400 where no event of the request was."""


def success(route: SourceRoute, request_id: Schema) -> Schema:
    """Return the response object of what was taken."""
    content_type = "text/plain" if route.answer.get("type") == "string" else JSON
    return {
        "description": "What was taken is stored durably.",
        "headers": {"X-Request-Id": request_id},
        "content": {content_type: {"schema": dict(route.answer)}},
    }


def refusals(
    source: Source, *, request_id: Schema, waits: Mapping[int, Schema]
) -> Mapping[int, Schema]:
    """Return the response object of each status that a refusal of this source may have.

    Args:
        source: The dialect.
        request_id: Describes a header that every answer has.
        waits: Describes Retry-After by the statuses that have it.
    """
    by_status: dict[int, list[tuple[ErrorType, Answer]]] = {}
    for error_type in (*source.errors, *ANY_ROUTE):
        answer = source.refused(Refused(rejected=Rejected(error_type, "…")))
        by_status.setdefault(answer.status, []).append((error_type, answer))
    return {
        status: _response(status, found, request_id, waits)
        for status, found in sorted(by_status.items())
    }


def _response(
    status: int,
    found: list[tuple[ErrorType, Answer]],
    request_id: Schema,
    waits: Mapping[int, Schema],
) -> Schema:
    types = [error_type for error_type, _ in found]
    lines = [f"- `{one}`: {ERRORS[one].meaning} {ERRORS[one].remedy}" for one in types]
    if status == 400:
        types += [one for one in SKIPPING if one not in types]
        lines.append("- or the reason of the first event, where none of the request was taken.")
    headers = {
        "X-Request-Id": request_id,
        "X-Error-Type": {"schema": {"type": "string", "enum": types}},
    }
    if status in waits:
        headers["Retry-After"] = waits[status]
    members = msgspec.json.decode(found[0][1].body)
    return {
        "description": "\n".join(lines),
        "headers": headers,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "properties": {
                        name: {"description": "As that API says it."} for name in members
                    },
                }
            }
        },
    }
