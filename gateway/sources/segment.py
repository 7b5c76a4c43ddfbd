"""Segment's HTTP tracking API, as its own libraries and those of RudderStack and Jitsu speak it.

The mapping, field by field, stands in docs/migrate.md. Decisions that it follows:

* ``timestamp`` is kept as the client meant it. Segment shifts it by the difference of ``sentAt``
  and its own clock, which moves an event at each retry by what the network took.
* The payload is the text of ``properties`` (or ``traits``) as sent, with the few members of the
  message that belong to the event behind it. The payload of ``identify`` is the traits alone,
  because each key of it is a trait.
* 200, never 202, and never 400 while anything of a batch was kept: several libraries post again
  after the one and throw the whole batch away after the other (measured).
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.core.answers import MAX_LISTED_ERRORS, Answer, SkippedEvent
from gateway.core.auth import Denied
from gateway.core.event_rules import Fields, Terms, read_value
from gateway.core.json_text import too_deep
from gateway.core.mapped import (
    NULL,
    Draft,
    elements,
    judge_elements,
    member,
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
from sluice.core.event import Candidate
from sluice.core.tenant import Directory, Tenant

_RAW_NULL: Final = msgspec.Raw(NULL)
BATCHES: Final = ("batch", "import", "b")
"""Last segments of the paths that take many messages; ``b`` is what the mobile libraries call."""
KINDS: Final = ("track", "identify", "page", "screen", "group", "alias")


class _Message(msgspec.Struct, gc=False, rename="camel"):
    """A message; what is not named here says how Segment should route it."""

    type: msgspec.Raw = _RAW_NULL
    event: msgspec.Raw = _RAW_NULL
    name: msgspec.Raw = _RAW_NULL
    category: msgspec.Raw = _RAW_NULL
    user_id: msgspec.Raw = _RAW_NULL
    anonymous_id: msgspec.Raw = _RAW_NULL
    previous_id: msgspec.Raw = _RAW_NULL
    group_id: msgspec.Raw = _RAW_NULL
    message_id: msgspec.Raw = _RAW_NULL
    timestamp: msgspec.Raw = _RAW_NULL
    original_timestamp: msgspec.Raw = _RAW_NULL
    properties: msgspec.Raw = _RAW_NULL
    traits: msgspec.Raw = _RAW_NULL
    context: msgspec.Raw = _RAW_NULL


class _Rule(msgspec.Struct, frozen=True):
    """How one type of message becomes an event."""

    event_type: str | None
    """None: the message names it."""
    payload: str
    """The member that the payload is."""
    members: Mapping[str, str]
    """Members of the message that are kept behind it: our attribute by Segment's name."""


_CONTEXT: Final = {"context": "context"}
_NAMED: Final = {"name": "name", "category": "category"} | _CONTEXT
RULES: Final[Mapping[str, _Rule]] = {
    "track": _Rule(None, "properties", _CONTEXT),
    "identify": _Rule("context_identified", "traits", {}),
    "page": _Rule("page_viewed", "properties", _NAMED),
    "screen": _Rule("screen_viewed", "properties", _NAMED),
    "group": _Rule("group_identified", "traits", {"groupId": "group_id"} | _CONTEXT),
    "alias": _Rule("user_aliased", "properties", {"previousId": "previous_id"} | _CONTEXT),
}
NAMES: Final = {
    "user_id": "userId",
    "event_type": "event",
    "occurred_at": "timestamp",
    "payload": "properties",
    "event_id": "messageId",
}

_MESSAGE: Final = msgspec.json.Decoder(_Message)
_ENCODER: Final = msgspec.json.Encoder()
_SUCCESS: Final = b'{"success":true}'


class _WithKey(msgspec.Struct, gc=False):
    key: msgspec.Raw = msgspec.field(default=_RAW_NULL, name="writeKey")


_WITH_KEY: Final = msgspec.json.Decoder(_WithKey)


class _Partly(msgspec.Struct, frozen=True):
    """The answer where some messages were skipped."""

    success: bool
    skipped: int
    errors: tuple[SkippedEvent, ...]


class _Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a refusal; without ``code`` and ``message`` some libraries fall over."""

    success: bool
    code: str
    message: str
    errors: tuple[SkippedEvent, ...] = ()


def authenticate(arrival: Arrival, directory: Directory) -> Caller | Denied | None:
    """Return whose write key the request carries: as the user name of Basic, or in the body."""
    given = arrival.authorizations
    if len(given) > 1:  # whose events these are must not hang on which of them is read
        return Denied(Rejected(ErrorType.AUTH_MALFORMED, "Send the Authorization header once."))
    scheme, _, credential = (given[0] if given else "").strip().partition(" ")
    if scheme.lower() == "basic":
        key = _user_name(credential)
        if key is None:
            detail = "Send the write key as the user name of Basic authentication."
            return Denied(Rejected(ErrorType.AUTH_MALFORMED, detail))
        return caller_of_key(key, directory)
    if arrival.body is None:
        return None
    opened = open_body(arrival.body)
    if isinstance(opened, Rejected):
        return Denied(opened)
    key_text = read_value(_WITH_KEY.decode(opened.marked).key)
    if not isinstance(key_text, str) or not key_text:
        detail = "Send a write key: as the user name of Basic authentication, or as writeKey."
        return Denied(Rejected(ErrorType.AUTH_MISSING, detail))
    return caller_of_key(key_text, directory)


def _user_name(credential: str) -> str | None:
    try:
        text = b64decode(credential.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return text.partition(":")[0] or None


def parse(arrival: Arrival, tenant: Tenant) -> Parsed | Rejected:
    """Return the events of a body, each as the table of docs/migrate.md says."""
    opened = open_body(arrival.body or b"")
    if isinstance(opened, Rejected):
        return opened
    terms = Terms(strict=tenant.strict_event_types)
    kind = arrival.path.rpartition("/")[2]
    try:
        if kind not in BATCHES:
            message = (opened.text.strip(), opened.marked.strip())
            return judge_elements(
                [message], lambda one: _drafts(one, kind), terms, names=NAMES, scope=_scope
            )
        texts = elements(*member(opened, "batch"), name="batch")
        if isinstance(texts, Rejected):
            return texts
        return judge_elements(
            texts, lambda one: _drafts(one, None), terms, names=NAMES, scope=_scope
        )
    except RecursionError:
        return too_deep()


def _scope(_candidate: Candidate) -> tuple[str, ...]:
    return (SOURCE.name,)


def _drafts(text: bytes, kind: str | None) -> list[Draft] | Rejected:
    message = _MESSAGE.decode(text)
    named = kind or read_value(message.type)
    rule = RULES.get(named) if isinstance(named, str) else None
    if rule is None:
        detail = f"type must be one of {', '.join(RULES)}."
        return Rejected(ErrorType.EVENT_TYPE_INVALID, detail, field="type")
    payload = bytes(getattr(message, rule.payload))
    beside = {name: bytes(getattr(message, own)) for name, own in rule.members.items()}
    occurred_at = read_value(message.timestamp)
    fields = Fields(
        read_value(message.user_id),
        rule.event_type or read_value(message.event),
        read_value(message.original_timestamp) if occurred_at is None else occurred_at,
        with_members(payload, {name: one for name, one in beside.items() if one != NULL}),
        read_value(message.message_id),
        read_value(message.anonymous_id),
    )
    return [Draft(fields)]


def taken(_arrival: Arrival, done: Taken) -> Answer:
    """Answer as Segment does; say what was skipped in members that its libraries ignore."""
    if not done.rejected:
        return Answer(200, _SUCCESS)
    if done.kept:
        partly = _Partly(success=True, skipped=len(done.rejected), errors=_listed(done))
        return Answer(200, _ENCODER.encode(partly))
    first = done.rejected[0]
    failure = _Failure(
        success=False, code=first.error_type, message=first.detail, errors=_listed(done)
    )
    return refusal(Refused(rejected=first), _ENCODER.encode(failure), status=400)


def _listed(done: Taken) -> tuple[SkippedEvent, ...]:
    return tuple(
        SkippedEvent(one.index or 0, one.error_type, one.detail)
        for one in done.rejected[:MAX_LISTED_ERRORS]
    )


def refused(why: Refused) -> Answer:
    """Answer with the status of the refusal: Segment's libraries go by it."""
    rejected = why.rejected
    status = 413 if rejected.error_type is ErrorType.BATCH_TOO_LARGE else None
    body = _Failure(success=False, code=rejected.error_type, message=rejected.detail)
    answer = refusal(why, _ENCODER.encode(body), status=status)
    if ERRORS[rejected.error_type].status != 401:
        return answer
    challenge = ("WWW-Authenticate", 'Basic realm="sluice"')
    return msgspec.structs.replace(answer, headers=(*answer.headers, challenge))


_MESSAGE_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "type": {"enum": list(KINDS)},
        "event": {"type": "string"},
        "userId": {"type": ["string", "integer", "null"]},
        "anonymousId": {"type": ["string", "null"]},
        "messageId": {"type": ["string", "null"]},
        "timestamp": {"type": ["string", "null"]},
        "properties": {"type": ["object", "null"]},
        "traits": {"type": ["object", "null"]},
        "context": {"type": ["object", "null"]},
        "writeKey": {"type": "string"},
    },
}
_BATCH_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "batch": {"type": "array", "items": _MESSAGE_SCHEMA},
        "writeKey": {"type": "string"},
        "sentAt": {"type": "string"},
    },
    "required": ["batch"],
}
_ANSWER_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "success": {"type": "boolean"},
        "skipped": {"type": "integer"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["success"],
}

SOURCE: Final = Source(
    name="segment",
    summary="Segment's HTTP tracking API",
    credential="The write key is a secret key: the user name of Basic authentication, or writeKey"
    " in the body.",
    routes=(
        *(
            SourceRoute(
                path=f"/v1/{kind}",
                name=f"segment_{kind}",
                summary=f"Queue one {kind} message",
                body=_MESSAGE_SCHEMA,
                answer=_ANSWER_SCHEMA,
            )
            for kind in KINDS
        ),
        *(
            SourceRoute(
                path=f"/v1/{name}",
                name=f"segment_{name}",
                summary="Queue many messages",
                body=_BATCH_SCHEMA,
                answer=_ANSWER_SCHEMA,
            )
            for name in BATCHES
        ),
    ),
    authenticate=authenticate,
    parse=parse,
    taken=taken,
    refused=refused,
    errors=(
        ErrorType.AUTH_MISSING,
        ErrorType.AUTH_MALFORMED,
        ErrorType.API_KEY_UNKNOWN,
        ErrorType.KEY_TYPE_NOT_ALLOWED,
        ErrorType.TENANT_DISABLED,
        ErrorType.BODY_EMPTY,
        ErrorType.JSON_INVALID,
        ErrorType.JSON_TOO_DEEP,
        ErrorType.BODY_NOT_OBJECT,
        ErrorType.EVENTS_MISSING,
        ErrorType.EVENTS_INVALID,
        ErrorType.BATCH_TOO_LARGE,
    ),
)
