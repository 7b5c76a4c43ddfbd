"""Amplitude's HTTP V2, Batch and Identify APIs, as its own libraries call them.

The mapping, field by field, stands in docs/migrate.md. Decisions that it follows:

* A request of which anything was kept is answered 200, with Amplitude's own index maps beside. Its
  own answer would be 400, after which its libraries send the rest again. Ours is better for the
  rest: a library that sends again while it shuts down, or twelve times in vain, loses it
  (measured). Where nothing was kept, the answer is the 400 with its index maps.
* Every JSON answer has ``code``: the libraries go by it, not by the status line.
* An ``insert_id`` names an event of one device, as it does there: many clients number their events
  anew in each process or on each device.
* Limits on ids are those of all sources; Amplitude's ``min_id_length`` is its own affair.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from gateway.core.answers import Answer
from gateway.core.auth import Denied
from gateway.core.event_rules import Fields, Terms, Unfit, read_value
from gateway.core.json_text import Opened, too_deep
from gateway.core.mapped import (
    NULL,
    Draft,
    elements,
    judge_elements,
    member,
    members,
    open_body,
    with_members,
)
from gateway.core.source import (
    Arrival,
    Caller,
    Parsed,
    Refused,
    Source,
    SourceRoute,
    Taken,
    caller_of_key,
    refusal,
)
from sluice.core.errors import ERRORS, ErrorType, Rejected
from sluice.core.event import MAX_EVENT_ID_CHARS, Candidate
from sluice.core.tenant import Directory, Tenant

IDENTIFY: Final = "/identify"
FORM: Final = "application/x-www-form-urlencoded"
MAX_FORM_FIELDS: Final = 20

IDENTIFY_EVENT: Final = "$identify"
GROUP_EVENT: Final = "$groupidentify"
USER_PROPERTIES: Final = "user_properties"
SET: Final = "$set"
UNSET: Final = "$unset"
OWN: Final = frozenset(
    {
        "user_id",
        "device_id",
        "event_type",
        "time",
        "insert_id",
        "event_properties",
        USER_PROPERTIES,
    }
)
"""Members that become fields of our event, or its payload."""
BESIDE: Final = frozenset(
    {
        "session_id",
        "revenue",
        "price",
        "quantity",
        "productId",
        "revenueType",
        "currency",
        "groups",
        "group_properties",
    }
)
"""Members that are kept in the payload under their own names; all others go into ``context``."""
NAMES: Final = {
    "occurred_at": "time",
    "payload": "event_properties",
    "event_id": "insert_id",
}
CREDENTIAL: Final = "api_key"
"""Some clients repeat it inside each event; a secret must not be stored."""
_NOTHING: Final = frozenset({NULL, b"{}"})
"""Members that say nothing."""
_MISSING: Final = {ErrorType.USER_ID_MISSING, ErrorType.EVENT_TYPE_MISSING}
_WORDS: Final[Mapping[ErrorType, str]] = {
    ErrorType.BODY_EMPTY: "Missing request body",
    ErrorType.JSON_INVALID: "Invalid JSON request body",
    ErrorType.JSON_TOO_DEEP: "Invalid JSON request body",
    ErrorType.BODY_NOT_OBJECT: "Invalid JSON request body",
    ErrorType.AUTH_MISSING: "Request missing required field",
    ErrorType.EVENTS_MISSING: "Request missing required field",
    ErrorType.EVENTS_EMPTY: "Request missing required field",
    ErrorType.EVENTS_INVALID: "Invalid event JSON",
    ErrorType.BODY_TOO_LARGE: "Payload too large",
    ErrorType.BATCH_TOO_LARGE: "Payload too large",
}
"""What Amplitude writes into ``error``; for the rest it is our own sentence."""
_FIELDS: Final = {
    ErrorType.AUTH_MISSING: "api_key",
}
_STATUSES: Final = {
    ErrorType.AUTH_MISSING: 400,
    ErrorType.API_KEY_UNKNOWN: 400,
    ErrorType.KEY_TYPE_NOT_ALLOWED: 400,
    ErrorType.BATCH_TOO_LARGE: 413,
}
"""Where Amplitude's status is not the one that we give the error elsewhere."""
_BAD_KEY: Final = {ErrorType.API_KEY_UNKNOWN, ErrorType.KEY_TYPE_NOT_ALLOWED}

_ENCODER: Final = msgspec.json.Encoder()
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])


class _WithKey(msgspec.Struct, gc=False):
    api_key: msgspec.Raw = msgspec.Raw(NULL)


_WITH_KEY: Final = msgspec.json.Decoder(_WithKey)


class _Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every answer but the text of Identify's success."""

    code: int
    error: str = ""
    detail: str = ""
    """Our own sentence, where ``error`` is Amplitude's."""
    missing_field: str = ""
    events_ingested: int | None = None
    payload_size_bytes: int | None = None
    server_upload_time: int | None = None
    events_with_invalid_fields: dict[str, list[int]] = {}
    events_with_missing_fields: dict[str, list[int]] = {}


def authenticate(arrival: Arrival, directory: Directory) -> Caller | Denied | None:
    """Return whose ``api_key`` the body carries."""
    if arrival.body is None:
        return None
    opened = _open(arrival)
    if isinstance(opened, Rejected):
        return Denied(opened)
    key = read_value(_WITH_KEY.decode(opened.marked).api_key)
    if not isinstance(key, str) or not key:
        return Denied(Rejected(ErrorType.AUTH_MISSING, "Send the secret key as api_key."))
    return caller_of_key(key, directory)


def parse(arrival: Arrival, tenant: Tenant) -> Parsed | Rejected:
    """Return the events of a body, each as the table of docs/migrate.md says."""
    opened = _open(arrival)
    if isinstance(opened, Rejected):
        return opened
    is_identify = arrival.path == IDENTIFY
    name = "identification" if is_identify else "events"
    kept, marked = member(opened, name)
    if is_identify and marked[:1] == b"{":
        kept, marked = b"[" + kept + b"]", b"[" + marked + b"]"
    terms = Terms(strict=tenant.strict_event_types)
    try:
        texts = elements(kept, marked, name=name)
        if isinstance(texts, Rejected):
            return texts
        if not texts:
            return Rejected(ErrorType.EVENTS_EMPTY, "Send at least one event.", field=name)
        given = {"event_type": b'"$identify"'} if is_identify else {}
        return judge_elements(
            texts, lambda text: _drafts(members(text) | given), terms, names=NAMES, scope=_scope
        )
    except RecursionError:
        return too_deep()


def _scope(candidate: Candidate) -> tuple[str, ...]:
    return scope_of(user_id=candidate.user_id, device_id=candidate.anonymous_id)


def scope_of(*, user_id: str, device_id: str) -> tuple[str, ...]:
    """Return within what an ``insert_id`` names one event: its device, else its user."""
    # Amplitude derives the device of an event without one from its user.
    return (SOURCE.name, f"device:{device_id}" if device_id else f"user:{user_id}")


def _open(arrival: Arrival) -> Opened | Rejected:
    body = arrival.body or b""
    if body and arrival.headers.get("Content-Type", "").lower().startswith(FORM):
        return _open_form(body)
    return open_body(body)


def _open_form(text: bytes) -> Opened | Rejected:
    """Return the JSON object that a form stands for."""
    try:
        form = parse_qs(text.decode(), max_num_fields=MAX_FORM_FIELDS, errors="strict")
    except ValueError:
        return Rejected(ErrorType.JSON_INVALID, "The form is not in UTF-8, or has too many fields.")
    key = _ENCODER.encode(form.get("api_key", [None])[-1])
    identification = form.get("identification", ["null"])[-1].encode().strip() or NULL
    return open_body(b'{"api_key":' + key + b',"identification":' + identification + b"}")


def _drafts(own: Mapping[str, bytes]) -> list[Draft]:
    event_type = read_value(own.get("event_type", NULL))
    traits = _traits(own.get(USER_PROPERTIES, NULL))
    if event_type == IDENTIFY_EVENT:
        return [Draft(_fields(own, "context_identified", traits), payload_name=USER_PROPERTIES)]
    payload = with_members(own.get("event_properties", NULL), _beside(own))
    if event_type == GROUP_EVENT:
        group = _fields(own, "group_identified", payload)
        if group.user_id in {None, ""} and group.anonymous_id in {None, ""}:
            group = group._replace(user_id=_group_name(own.get("groups", NULL)))
        return [Draft(group)]
    drafts = [Draft(_fields(own, event_type, payload))]
    if traits not in _NOTHING:
        named = read_value(own.get("insert_id", NULL))
        client_id = None
        if isinstance(named, str | int) and named != "" and len(str(named)) <= MAX_EVENT_ID_CHARS:
            client_id = f"{named}\nidentify"
        fields = _fields(own, "context_identified", traits)._replace(event_id=None)
        drafts.append(Draft(fields, client_id, USER_PROPERTIES))
    return drafts


def _fields(own: Mapping[str, bytes], event_type: Any, payload: bytes) -> Fields:
    return Fields(
        read_value(own.get("user_id", NULL)),
        event_type,
        read_value(own.get("time", NULL)),
        payload,
        read_value(own.get("insert_id", NULL)),
        read_value(own.get("device_id", NULL)),
    )


def _beside(own: Mapping[str, bytes]) -> dict[str, bytes]:
    beside: dict[str, bytes] = {}
    context: list[bytes] = []
    for name, value in own.items():
        if name in OWN or name == CREDENTIAL or value in _NOTHING:
            continue
        if name in BESIDE:
            beside[name] = value
        else:
            context.append(_ENCODER.encode(name) + b":" + value)
    if context:
        beside["context"] = b"{" + b",".join(context) + b"}"
    return beside


def _traits(properties: bytes) -> bytes:
    """Return the traits that user properties set, and null for each that they remove.

    Operations that depend on what was there before (``$add``, …) are kept under their own names.
    """
    own = members(properties)
    if SET not in own and UNSET not in own:
        return properties
    removed = dict.fromkeys(members(own.get(UNSET, NULL)), NULL)
    rest = {name: value for name, value in own.items() if name not in {SET, UNSET}}
    return with_members(own.get(SET, NULL), removed | rest)


def _group_name(groups: bytes) -> str | None:
    """Return who stands in for the user of a group that is described without one.

    Of a group type with several names it is the first.
    """
    for kind, text in members(groups).items():
        for one in _LIST.decode(text) if text[:1] == b"[" else (text,):
            name = read_value(one)
            if isinstance(name, Unfit):
                name = name.number
            if name is not None and name != "":
                return f"group:{kind}:{name}"
    return None


def taken(arrival: Arrival, done: Taken) -> Answer:
    """Answer as Amplitude does; name the events that were not taken in its own index maps."""
    invalid: dict[str, list[int]] = {}
    missing: dict[str, list[int]] = {}
    for one in done.rejected:
        maps = missing if one.error_type in _MISSING else invalid
        maps.setdefault(one.field or "event", []).append(one.index or 0)
    if not done.kept and done.rejected:
        error = (
            "Request missing required field"
            if missing and not invalid
            else "Invalid field values on some events"
        )
        body = _Answer(
            code=400,
            error=error,
            detail=done.rejected[0].detail,
            events_with_invalid_fields=invalid,
            events_with_missing_fields=missing,
        )
        return refusal(Refused(rejected=done.rejected[0]), _ENCODER.encode(body), status=400)
    if arrival.path == IDENTIFY:
        return Answer(200, b"success", "text/plain")
    body = _Answer(
        code=200,
        events_ingested=done.kept,
        payload_size_bytes=done.body_bytes,
        server_upload_time=done.received_ms,
        events_with_invalid_fields=invalid,
        events_with_missing_fields=missing,
    )
    return Answer(200, _ENCODER.encode(body))


def refused(why: Refused) -> Answer:
    """Answer with the code and words that Amplitude's libraries look for."""
    error_type, detail = why.rejected.error_type, why.rejected.detail
    status = _STATUSES.get(error_type, ERRORS[error_type].status)
    error = _WORDS.get(error_type, detail)
    if error_type in _BAD_KEY:
        error = f"Invalid API key: {detail}"
    body = _Answer(
        code=status,
        error=error,
        detail=detail,
        missing_field=_FIELDS.get(error_type) or _missing_list(why.rejected),
    )
    return refusal(why, _ENCODER.encode(body), status=status)


def _missing_list(rejected: Rejected) -> str:
    is_list = rejected.error_type in {ErrorType.EVENTS_MISSING, ErrorType.EVENTS_EMPTY}
    return (rejected.field or "events") if is_list else ""


_EVENT_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "user_id": {"type": ["string", "integer", "null"]},
        "device_id": {"type": ["string", "null"]},
        "event_type": {"type": "string"},
        "time": {"type": ["integer", "null"]},
        "insert_id": {"type": ["string", "null"]},
        "event_properties": {"type": ["object", "null"]},
        "user_properties": {"type": ["object", "null"]},
    },
    "required": ["event_type"],
}
_BODY_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "api_key": {"type": "string"},
        "events": {"type": "array", "minItems": 1, "items": _EVENT_SCHEMA},
    },
    "required": ["api_key", "events"],
}
_IDENTIFY_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": f"The same fields are taken as {FORM}, with identification as JSON text.",
    "properties": {
        "api_key": {"type": "string"},
        "identification": {"type": ["object", "array"]},
    },
    "required": ["api_key", "identification"],
}
_ANSWER_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "code": {"const": 200},
        "events_ingested": {"type": "integer"},
        "payload_size_bytes": {"type": "integer"},
        "server_upload_time": {"type": "integer"},
        "events_with_invalid_fields": {"type": "object"},
        "events_with_missing_fields": {"type": "object"},
    },
    "required": ["code", "events_ingested", "payload_size_bytes", "server_upload_time"],
}

SOURCE: Final = Source(
    name="amplitude_http",
    summary="Amplitude's HTTP V2, Batch and Identify APIs",
    credential="api_key in the body is a secret key.",
    routes=(
        SourceRoute(
            path="/2/httpapi",
            name="amplitude_httpapi",
            summary="Queue events",
            body=_BODY_SCHEMA,
            answer=_ANSWER_SCHEMA,
        ),
        SourceRoute(
            path="/batch",
            name="amplitude_batch",
            summary="Queue events",
            body=_BODY_SCHEMA,
            answer=_ANSWER_SCHEMA,
        ),
        SourceRoute(
            path=IDENTIFY,
            name="amplitude_identify",
            summary="Set properties of users",
            body=_IDENTIFY_SCHEMA,
            answer={"type": "string"},
        ),
    ),
    authenticate=authenticate,
    parse=parse,
    taken=taken,
    refused=refused,
    errors=(
        ErrorType.AUTH_MISSING,
        ErrorType.API_KEY_UNKNOWN,
        ErrorType.KEY_TYPE_NOT_ALLOWED,
        ErrorType.TENANT_DISABLED,
        ErrorType.BODY_EMPTY,
        ErrorType.JSON_INVALID,
        ErrorType.JSON_TOO_DEEP,
        ErrorType.BODY_NOT_OBJECT,
        ErrorType.EVENTS_MISSING,
        ErrorType.EVENTS_INVALID,
        ErrorType.EVENTS_EMPTY,
        ErrorType.BATCH_TOO_LARGE,
    ),
)
