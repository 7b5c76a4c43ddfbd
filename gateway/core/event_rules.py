"""The rules for one event (reference, 5), on decoded fields: a candidate, or all that is wrong.

The sentences never hold what the client sent, only its type or length.
"""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from sluice.core.depth import depth_of, may_be_deeper
from sluice.core.errors import ErrorType, Rejected
from sluice.core.event import (
    MAX_EVENT_ID_CHARS,
    MAX_EVENT_TYPE_CHARS,
    MAX_PAYLOAD_DEPTH,
    MAX_USER_ID_CHARS,
    Candidate,
)
from sluice.core.times import parse_epoch, parse_occurred_at

EMPTY_PAYLOAD: Final = b"{}"
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**64 - 1

VISITOR: Final = "anon_"
"""Before an anonymous_id that stands in for a user_id."""
MAX_VISITOR_CHARS: Final = MAX_USER_ID_CHARS - len(VISITOR)
"""Of an anonymous_id that may stand in: what it makes is a user_id like any other."""

_MAX_INTEGER_DIGITS: Final = len(str(MAX_INTEGER))
_STRING: Final = msgspec.json.Decoder(str)
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_STRICT: Final = re.compile(r"[a-z][a-z0-9_]{0,127}", re.ASCII)
_KINDS: Final = {
    ord('"'): "a string",
    ord("{"): "an object",
    ord("["): "a list",
    ord("t"): "a boolean",
    ord("f"): "a boolean",
    ord("n"): "null",
}


class Unfit(NamedTuple):
    """A JSON value that no field takes as it is: its type, and its text if it is a number."""

    kind: str
    number: str = ""


class Fields(NamedTuple):
    """The fields of one event as decoded; None where missing or null."""

    user_id: str | int | Unfit | None
    event_type: str | int | Unfit | None
    occurred_at: str | int | Unfit | None
    payload: bytes
    """The JSON text, whatever it is."""
    event_id: str | int | Unfit | None
    anonymous_id: str | int | Unfit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for every event of one request."""

    strict: bool
    """Whether the tenant takes snake_case event types only."""
    idempotency_key: str | None = None
    uid: str | None = None
    """The user of a session token; every event is this user's, whatever it says."""

    def client_id(self, index: int) -> str | None:
        """Return what the Idempotency-Key makes of an event of a batch that has no event_id."""
        return None if self.idempotency_key is None else f"{self.idempotency_key}:{index}"


class Fault(NamedTuple):
    """One broken rule."""

    error_type: ErrorType
    detail: str


def kind_of(text: bytes) -> str:
    """Return the type of a JSON text with its article, for a sentence."""
    return _KINDS.get(text[0], "a number")


def read_value(raw: bytes | msgspec.Raw) -> str | int | Unfit | None:
    """Return what a JSON text says, without a detour through floats."""
    text = bytes(raw)
    kind = kind_of(text)
    if kind == "a string":
        return _STRING.decode(text)
    if kind == "null":
        return None
    if kind != "a number":
        return Unfit(kind)
    digits = text.removeprefix(b"-")
    if digits.isdigit() and len(digits) <= _MAX_INTEGER_DIGITS:
        return int(text)
    return Unfit(kind, text.decode())


def judge(
    fields: Fields, terms: Terms, *, client_id: str | None, index: int | None
) -> Candidate | list[Rejected]:
    """Return the candidate, or one refusal per broken field in the order of the rules.

    Args:
        fields: What the event says.
        terms: What the request and its tenant say.
        client_id: What the Idempotency-Key makes of the event, for one without an event_id.
        index: Position in the batch.
    """
    anonymous_id = read_id(fields.anonymous_id, name="anonymous_id", limit=MAX_USER_ID_CHARS)
    if anonymous_id is None or isinstance(anonymous_id, Fault):
        anonymous_id = ""  # never an error
    user_id = terms.uid or read_user_id(fields.user_id, anonymous_id)
    event_type = read_event_type(fields.event_type, strict=terms.strict)
    occurred_at = read_occurred_at(fields.occurred_at)
    payload = read_payload(fields.payload)
    event_id = read_id(fields.event_id, name="event_id", limit=MAX_EVENT_ID_CHARS)
    if not (
        isinstance(user_id, Fault)
        or isinstance(event_type, Fault)
        or isinstance(occurred_at, Fault)
        or isinstance(payload, Fault)
        or isinstance(event_id, Fault)
    ):
        return Candidate(
            user_id, event_type, occurred_at, payload, event_id or client_id, anonymous_id
        )
    read = {
        "user_id": user_id,
        "event_type": event_type,
        "occurred_at": occurred_at,
        "payload": payload,
        "event_id": event_id,
    }
    return [
        Rejected(
            fault.error_type,
            fault.detail,
            field=name,
            index=index,
            event_id=event_id if isinstance(event_id, str) else None,
            event_type=event_type if isinstance(event_type, str) else None,
            user_id=user_id if isinstance(user_id, str) else None,
        )
        for name, fault in read.items()
        if isinstance(fault, Fault)
    ]


def read_user_id(value: object, anonymous_id: str) -> str | Fault:
    """Return the user_id to store (reference, 5.1)."""
    user_id = read_id(value, name="user_id", limit=MAX_USER_ID_CHARS)
    if user_id is not None:
        return user_id
    if not anonymous_id:
        return Fault(ErrorType.USER_ID_MISSING, "user_id is required.")
    if len(anonymous_id) > MAX_VISITOR_CHARS:
        return Fault(
            ErrorType.USER_ID_MISSING,
            "user_id is required: an anonymous_id stands in for it with at most"
            f" {MAX_VISITOR_CHARS} characters; this has {len(anonymous_id)}.",
        )
    return f"{VISITOR}{anonymous_id}"


def read_id(value: object, *, name: str, limit: int) -> str | Fault | None:
    """Return an id as text; None where it is missing, null or empty."""
    if value is None or value == "":
        return None
    wrong = ErrorType.EVENT_ID_INVALID if name == "event_id" else ErrorType.USER_ID_INVALID
    if isinstance(value, int):
        if MIN_INTEGER <= value <= MAX_INTEGER:
            return str(value)
        return Fault(wrong, f"{name} as an integer must fit 64 bits; send it as a string.")
    if isinstance(value, str):
        problem = _id_problem(value, limit, may_be_blank=name == "event_id")
        return value if problem is None else Fault(wrong, f"{name} {problem}")
    if isinstance(value, Unfit) and value.number.lstrip("-").isdigit():
        return Fault(wrong, f"{name} as an integer must fit 64 bits; send it as a string.")
    kind = _kind(value).replace("a number", "another number")
    return Fault(wrong, f"{name} must be a string or an integer, not {kind}.")


def _id_problem(value: str, limit: int, *, may_be_blank: bool) -> str | None:
    if len(value) > limit:
        return f"must have 1 to {limit} characters; this has {len(value)}."
    if _CONTROL.search(value):
        return "may not contain control characters or lone surrogates."
    if value.isspace() and not may_be_blank:
        return "may not be blank."
    return None


def is_event_type(value: str, *, strict: bool) -> bool:
    """Whether an event type is taken as it is (reference, 5.2)."""
    if strict:
        return _STRICT.fullmatch(value) is not None
    return (
        0 < len(value) <= MAX_EVENT_TYPE_CHARS
        and value.isprintable()
        and value[0] != " "
        and value[-1] != " "
    )


def read_event_type(value: object, *, strict: bool) -> str | Fault:
    """Return the event type, which is stored as it was sent."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return Fault(ErrorType.EVENT_TYPE_MISSING, "event_type is required.")
    if not isinstance(value, str):
        problem = f"must be a string, not {_kind(value)}."
    elif is_event_type(value, strict=strict):
        return value
    elif len(value) > MAX_EVENT_TYPE_CHARS:
        problem = f"must have 1 to {MAX_EVENT_TYPE_CHARS} characters; this has {len(value)}."
    elif not value.isprintable():
        problem = "may not contain control characters or others that cannot be printed."
    elif not strict:
        problem = "may not start or end with a space."
    else:
        problem = (
            "must be snake_case here: a lower-case letter, then at most 127 lower-case letters, "
            "digits and underscores."
        )
    return Fault(ErrorType.EVENT_TYPE_INVALID, f"event_type {problem}")


def read_occurred_at(value: object) -> str | Fault | None:
    """Return the canonical time; None for the receive time (reference, 5.3)."""
    if isinstance(value, Unfit) and value.number:
        moment: str | ErrorType | None = parse_epoch(value.number)
    else:
        moment = parse_occurred_at(value)
    if moment is ErrorType.OCCURRED_AT_OUT_OF_RANGE:
        return Fault(moment, "occurred_at must lie in the years 1970 to 2261.")
    if moment is ErrorType.OCCURRED_AT_INVALID:
        if isinstance(value, Unfit) and not value.number:
            return Fault(moment, f"occurred_at must be a string or a number, not {value.kind}.")
        if isinstance(value, str):
            return Fault(moment, "occurred_at is not an ISO 8601 time.")
        return Fault(moment, "occurred_at as a number must have 10, 13, 16 or 19 digits.")
    return moment


def read_payload(text: bytes) -> bytes | Fault:
    """Return the payload as it was sent; ``{}`` where it is missing or null (reference, 5.4)."""
    if text[0] != ord("{"):
        if text == b"null":
            return EMPTY_PAYLOAD
        return Fault(ErrorType.PAYLOAD_INVALID, f"payload must be an object, not {kind_of(text)}.")
    if may_be_deeper(text, MAX_PAYLOAD_DEPTH):
        depth = depth_of(text)
        if depth > MAX_PAYLOAD_DEPTH:
            return Fault(
                ErrorType.PAYLOAD_TOO_DEEP,
                f"payload is nested {depth} levels deep; {MAX_PAYLOAD_DEPTH} are allowed.",
            )
    return text


def _kind(value: object) -> str:
    return value.kind if isinstance(value, Unfit) else "a number"
