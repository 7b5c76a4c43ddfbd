"""The pieces that operations of the API description are made of: answers, headers, bodies."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.core.answers import MAX_LIMITED_FOR_S, MAX_RETRY_AFTER_S, MIN_RETRY_AFTER_S
from gateway.core.event_rules import MAX_VISITOR_CHARS, VISITOR
from gateway.operation_errors import NOT_QUEUED
from gateway.routes.ingest import MAX_KEY_CHARS
from gateway.routes.shopify import PREFIX
from sluice.core.event import (
    MAX_BATCH_EVENTS,
    MAX_EVENT_BYTES,
    MAX_EVENT_ID_CHARS,
    MAX_EVENT_TYPE_CHARS,
    MAX_PAYLOAD_DEPTH,
    MAX_USER_ID_CHARS,
)

Schema = dict[str, Any]

INTEGER_ID: Final[Schema] = {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1}
COMPONENTS: Final = "#/components/schemas/"


def ref_to(name: str) -> Schema:
    """Return a reference to a named schema."""
    return {"$ref": COMPONENTS + name}


def json_answer(description: str, schema: Schema, **headers: Schema) -> Schema:
    """Return an answer with a JSON body; ``headers`` in snake case."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return {
        "description": description,
        "headers": {"X-Request-Id": REQUEST_ID, **named},
        "content": {"application/json": {"schema": schema}},
    }


def text_answer(description: str, content_type: str) -> Schema:
    """Return an answer with a body of text."""
    return {
        "description": description,
        "headers": {"X-Request-Id": REQUEST_ID},
        "content": {content_type: {"schema": {"type": "string"}}},
    }


REQUEST_ID: Final[Schema] = {
    "description": "The client's own, where it was well formed, else a new one.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}
RETRY_AFTER: Final[Schema] = {
    "description": "Seconds until trying again makes sense.",
    "schema": {"type": "integer", "minimum": MIN_RETRY_AFTER_S, "maximum": MAX_RETRY_AFTER_S},
}
LIMITED_FOR: Final[Schema] = {
    "description": "Seconds until this client may send again.",
    "schema": {"type": "integer", "minimum": MIN_RETRY_AFTER_S, "maximum": MAX_LIMITED_FOR_S},
}
WAITS: Final[Mapping[int, Schema]] = {429: LIMITED_FOR, 503: RETRY_AFTER}
"""What Retry-After says, by status."""
QUEUED_ANSWER: Final[Schema] = {
    "type": "object",
    "properties": {"queued": {"const": True}},
    "required": ["queued"],
    "additionalProperties": False,
}
NOT_QUEUED_ANSWER: Final[Schema] = {
    "type": "object",
    "properties": {
        "queued": {"const": False},
        "reason": {"enum": [one.removeprefix(PREFIX) for one in NOT_QUEUED]},
    },
    "required": ["queued", "reason"],
    "additionalProperties": False,
}
ANY_OBJECT: Final[Schema] = {"type": "object"}
KEY_PARAMETER: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Names the events of this request that have no event_id of their own, "
    "so that sending it again stores nothing twice.",
    "schema": {"type": "string", "pattern": f"^[!-~]{{1,{MAX_KEY_CHARS}}}$"},
}


def event_schema() -> Schema:
    """Return what one event may hold."""
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


def batch_schema() -> Schema:
    """Return what a batch may hold."""
    return {
        "type": "object",
        "properties": {
            "events": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_BATCH_EVENTS,
                "items": ref_to("Event"),
            }
        },
        "required": ["events"],
    }


def session_ask_schema() -> Schema:
    """Return what the request for a session may hold."""
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


def error_schema() -> Schema:
    """Return the body of a refusal."""
    return {
        "description": "`detail` speaks of the request as a whole; else each named field has "
        "its sentences.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
        },
    }
