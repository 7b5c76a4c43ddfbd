"""What the service says: status, body, and for each error the words of the documentation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

JSON: Final = "application/json"

MISSING_FIELD: Final = "Request missing required field"
INVALID_FIELDS: Final = "Invalid field values on some events"
INVALID_LENGTH: Final = "Invalid id length for user_id or device_id"
INVALID_EVENT: Final = "Invalid event JSON"
INVALID_JSON: Final = "Invalid JSON request body"
MISSING_BODY: Final = "Missing request body"
INVALID_PATH: Final = "Invalid request path"
SILENCED: Final = "Events silenced for device_id"
TOO_LARGE: Final = "Payload too large"
TOO_MANY: Final = "Too many requests for some devices and users"
PROJECT_QUOTA: Final = "Exceeded daily event quota of the project"

Indexes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(
    status: int,
    members: Mapping[str, Any] | Sequence[Any],
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Return the members as JSON; times and ids are the caller's."""
    return Answer(status, orjson.dumps(members), JSON, headers or {})


def refused(status: int, error: str, **members: object) -> Answer:
    """Return an error of the upload APIs: the SDKs read the code from the body."""
    return json_answer(status, {"code": status, "error": error, **members})


def taken(events: int, payload_bytes: int, now_ms: int) -> Answer:
    """Return the 200 of an upload; ``events`` counts duplicates too."""
    return json_answer(
        200,
        {
            "code": 200,
            "events_ingested": events,
            "payload_size_bytes": payload_bytes,
            "server_upload_time": now_ms,
        },
    )


def unknown_key(api_key: object) -> Answer:
    """Return the answer for a key that no project has (or that was revoked)."""
    return refused(400, f"Invalid API key: {api_key}")


def plain(status: int, text: str) -> Answer:
    """Return plain text, which is what Identify answers."""
    return Answer(status, text.encode(), "text/plain")
