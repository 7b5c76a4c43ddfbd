"""The SegOps ingestion dialect: bodies of ``track`` and ``track/batch`` to candidates.

A body is decoded once, by msgspec into typed fields, with the payload left as the client's own
text. Only a body in which some field is not what nearly all clients send is read again, event by
event, so that one odd event costs nobody else anything (reference, 4 and 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.core.columns import (
    are_event_types,
    are_plain_ids,
    are_plain_or_missing,
    are_shallow_objects,
    are_times,
    is_on_one_line,
    joined,
)
from gateway.core.event_rules import (
    EMPTY_PAYLOAD,
    Fields,
    Terms,
    judge,
    kind_of,
    read_id,
    read_value,
)
from gateway.core.json_repair import reasons
from gateway.core.json_text import Opened, open_json, too_deep, without_bom
from sluice.core.errors import ErrorType, Rejected
from sluice.core.event import (
    MAX_BATCH_EVENTS,
    MAX_EVENT_BYTES,
    MAX_EVENT_ID_CHARS,
    MAX_USER_ID_CHARS,
    Candidate,
    Candidates,
)
from sluice.core.times import parse_all_occurred_at

_NULL: Final = msgspec.Raw(b"null")
_OPEN: Final = ord("{")
MANY_BYTES: Final = 262_144
MANY_COMMAS: Final = 32_768
"""What is longer and has more may hold a million elements, each of which would be an object."""
MAX_SPAN_JUDGED: Final = 8
"""So few events are judged one by one when something in them is not plainly good."""


class _Event(msgspec.Struct, gc=False):
    """An event in which every field has a type that is easily judged."""

    user_id: str | int | None = None
    event_type: str | None = None
    occurred_at: str | int | None = None
    payload: msgspec.Raw = msgspec.Raw(EMPTY_PAYLOAD)
    event_id: str | int | None = None
    anonymous_id: str | None = None


TypedEvent = _Event


class _RawEvent(msgspec.Struct, gc=False):
    """Any event at all."""

    user_id: msgspec.Raw = _NULL
    event_type: msgspec.Raw = _NULL
    occurred_at: msgspec.Raw = _NULL
    payload: msgspec.Raw = _NULL
    event_id: msgspec.Raw = _NULL
    anonymous_id: msgspec.Raw = _NULL


class _Batch(msgspec.Struct, gc=False):
    events: list[_Event] | None = None


_AtMost: Final = msgspec.defstruct(
    "_AtMost",
    [(f"e{number}", msgspec.Raw, _NULL) for number in range(MAX_BATCH_EVENTS)],
    array_like=True,
    forbid_unknown_fields=True,
)
"""A list that is given up at the first element too many, before the rest is read."""


class _RawBatch(msgspec.Struct, gc=False):
    events: msgspec.Raw = _NULL


class _Many(msgspec.Struct, gc=False):
    events: _AtMost | None = None  # type: ignore[valid-type]  # made here


_EVENT: Final = msgspec.json.Decoder(_Event)
_RAW_EVENT: Final = msgspec.json.Decoder(_RawEvent)
_BATCH: Final = msgspec.json.Decoder(_Batch)
_RAW_BATCH: Final = msgspec.json.Decoder(_RawBatch)
_MANY: Final = msgspec.json.Decoder(_Many)
_RAW_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch holds: every element is a candidate or refused."""

    candidates: Candidates
    rejected: list[Rejected]
    """One for each refused element, with its index, ascending."""
    total: int
    normalised: dict[str, int]
    """Accepted events whose payload was repaired, by reason."""


def parse_track(
    body: bytes, *, strict: bool, idempotency_key: str | None = None, uid: str | None = None
) -> Candidate | list[Rejected]:
    """Read the body of ``track``.

    Args:
        body: As it arrived, decompressed.
        strict: Whether the tenant takes snake_case event types only.
        idempotency_key: The header, already checked; names an event that has no event_id.
        uid: The user of a session token; takes the place of whatever the event says.

    Returns:
        The candidate (its ``normalised`` says what was repaired), or one refusal per broken field.
    """
    try:
        return _parse_track(body, Terms(strict=strict, idempotency_key=idempotency_key, uid=uid))
    except RecursionError:
        return [too_deep()]


def parse_batch(
    body: bytes, *, strict: bool, idempotency_key: str | None = None, uid: str | None = None
) -> Batch | Rejected:
    """Read the body of ``track/batch``.

    Args:
        body: As it arrived, decompressed.
        strict: Whether the tenant takes snake_case event types only.
        idempotency_key: The header, already checked; with the index it names an event that has no
            event_id.
        uid: The user of a session token; takes the place of whatever an event says.

    Returns:
        The events, good and bad, or the refusal of the whole.
    """
    try:
        return _parse_batch(body, Terms(strict=strict, idempotency_key=idempotency_key, uid=uid))
    except RecursionError:
        return too_deep()


def read_plain(body: bytes) -> TypedEvent | None:
    """Return the fields of a body of ``track`` that is read at first sight, for ``judge_plain``."""
    text = without_bom(body)
    if isinstance(text, Rejected):
        return None
    try:
        event = _EVENT.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if isinstance(event.user_id, int):  # many clients send a number
        user_id = read_id(event.user_id, name="user_id", limit=MAX_USER_ID_CHARS)
        event.user_id = user_id if isinstance(user_id, str) else None
    return event


def judge_plain(events: Sequence[TypedEvent], *, strict: bool) -> Candidates | None:
    """Return what ``parse_track`` makes of the bodies of these events, if all are plainly good.

    None where one may not be; then each is to be parsed alone.
    """
    candidates = Candidates()
    terms = Terms(strict=strict, idempotency_key=None, uid=None)
    return candidates if _take_columns(candidates, events, terms, 0) else None


def _parse_track(body: bytes, terms: Terms) -> Candidate | list[Rejected]:
    text = without_bom(body)
    if isinstance(text, Rejected):
        return [text]
    if len(text) > MAX_EVENT_BYTES:
        return _parse_odd_track(text, terms)
    try:
        event = _EVENT.decode(text)
    except msgspec.DecodeError:
        return _parse_odd_track(text, terms)
    return judge(
        _typed_fields(event),
        terms,
        client_id=terms.idempotency_key,
        index=None,
    )


def _parse_odd_track(text: bytes, terms: Terms) -> Candidate | list[Rejected]:
    opened = open_json(text)
    if isinstance(opened, Rejected):
        return [opened]
    kept = opened.text.strip()
    if kept[0] != _OPEN:
        return [_not_an_object('for several events send {"events": […]} to /track/batch/')]
    oversized = _oversized(text.strip(), index=None)
    if oversized is not None:
        return [oversized]
    return _judge_raw(
        kept, opened.marked.strip(), terms, client_id=terms.idempotency_key, index=None
    )


def _parse_batch(body: bytes, terms: Terms) -> Batch | Rejected:
    text = without_bom(body)
    if isinstance(text, Rejected):
        return text
    if len(text) > MANY_BYTES and text.count(b",") > MANY_COMMAS and _holds_too_many(text):
        detail = f"At most {MAX_BATCH_EVENTS} events per request; this has more."
        return Rejected(ErrorType.BATCH_TOO_LARGE, detail, field="events")
    try:
        events = _BATCH.decode(text).events
    except msgspec.DecodeError:
        return _parse_odd_batch(text, terms)
    if events is None:
        return _events_missing()
    wrong = _wrong_count(len(events))
    if wrong is not None:
        return wrong
    if _may_hold_oversized(text, events):
        return _parse_odd_batch(text, terms)
    return _judge_typed(events, terms)


def _parse_odd_batch(text: bytes, terms: Terms) -> Batch | Rejected:
    opened = open_json(text)
    if isinstance(opened, Rejected):
        return opened
    elements = _elements(opened)
    if isinstance(elements, Rejected):
        return elements
    candidates = Candidates()
    rejected: list[Rejected] = []
    for index, (kept, marked) in enumerate(elements):
        verdict = _judge_element(kept, marked, terms, client_id=terms.client_id(index), index=index)
        if isinstance(verdict, list):
            rejected.append(verdict[0])
        else:
            candidates.append(verdict)
    return Batch(candidates, rejected, len(elements), candidates.count_normalised())


def _elements(opened: Opened) -> list[tuple[bytes, bytes]] | Rejected:
    """Return each element of ``events`` from both texts."""
    try:
        kept = _RAW_BATCH.decode(opened.text).events
        marked = _RAW_BATCH.decode(opened.marked).events if opened.is_repaired else kept
    except msgspec.ValidationError:
        return _not_an_object('a batch is {"events": […]}')
    start = bytes(marked)[:1]
    if start == b"n":
        return _events_missing()
    if start != b"[":
        return Rejected(ErrorType.EVENTS_INVALID, "Send a list of events.", field="events")
    kept_list = _RAW_LIST.decode(kept)
    wrong = _wrong_count(len(kept_list))
    if wrong is not None:
        return wrong
    if not opened.is_repaired:
        return [(text, text) for text in map(bytes, kept_list)]
    return list(zip(map(bytes, kept_list), map(bytes, _RAW_LIST.decode(marked)), strict=True))


def _judge_element(
    kept: bytes, marked: bytes, terms: Terms, *, client_id: str | None, index: int
) -> Candidate | list[Rejected]:
    if marked[0] != _OPEN:
        detail = f"Event {index} is {kind_of(marked)}, not an object."
        return [Rejected(ErrorType.EVENT_NOT_OBJECT, detail, index=index)]
    oversized = _oversized(kept, index=index)
    if oversized is not None:
        return [oversized]
    return _judge_raw(kept, marked, terms, client_id=client_id, index=index)


def _judge_raw(
    kept: bytes, marked: bytes, terms: Terms, *, client_id: str | None, index: int | None
) -> Candidate | list[Rejected]:
    event = _RAW_EVENT.decode(marked)
    payload = bytes(event.payload)
    fields = Fields(
        read_value(event.user_id),
        read_value(event.event_type),
        read_value(event.occurred_at),
        payload,
        read_value(event.event_id),
        read_value(event.anonymous_id),
    )
    verdict = judge(fields, terms, client_id=client_id, index=index)
    if kept == marked or isinstance(verdict, list):
        return verdict
    kept_payload = bytes(_RAW_EVENT.decode(kept).payload)
    why = reasons(kept_payload, payload)
    if not why:
        return verdict
    return msgspec.structs.replace(verdict, payload=kept_payload, normalised=why)


def _judge_typed(events: Sequence[_Event], terms: Terms) -> Batch:
    """Judge a batch whose every field has an easy type.

    This is what the edge spends its time in. All events are looked at together, column by column;
    where something is not plainly good, each half of them is, down to the few that the rules
    themselves must look at.
    """
    candidates = Candidates()
    rejected: list[Rejected] = []
    spans = [(0, len(events))]
    while spans:
        begin, end = spans.pop()
        if _take_columns(candidates, events[begin:end], terms, begin):
            continue
        if end - begin > MAX_SPAN_JUDGED:
            middle = (begin + end) // 2
            spans += [(middle, end), (begin, middle)]
            continue
        for index in range(begin, end):
            verdict = judge(
                _typed_fields(events[index]),
                terms,
                client_id=terms.client_id(index),
                index=index,
            )
            if isinstance(verdict, list):
                rejected.append(verdict[0])
            else:
                candidates.append(verdict)
    return Batch(candidates, rejected, len(events), {})


def _take_columns(
    candidates: Candidates,
    events: Sequence[_Event],
    terms: Terms,
    begin: int,
) -> bool:
    """Add the events, the first of which is number ``begin``, if all are plainly good."""
    user_ids: Sequence[str | int | None]
    if terms.uid is None:
        user_ids = [event.user_id for event in events]
    else:
        user_ids = [terms.uid] * len(events)
    event_types = [event.event_type for event in events]
    event_ids = [event.event_id for event in events]
    anonymous_ids = [event.anonymous_id or None for event in events]
    payloads = [event.payload for event in events]
    together = joined(payloads)
    if not (
        are_plain_ids(user_ids, limit=MAX_USER_ID_CHARS)
        and are_event_types(event_types, strict=terms.strict)
        and are_plain_or_missing(event_ids, limit=MAX_EVENT_ID_CHARS)
        and are_plain_or_missing(anonymous_ids, limit=MAX_USER_ID_CHARS)
        and are_shallow_objects(payloads, together)
    ):
        return False
    occurred_ats = parse_all_occurred_at([event.occurred_at for event in events])
    if not are_times(occurred_ats):
        return False
    client_ids: Sequence[str | None] = event_ids
    if terms.idempotency_key is not None:
        numbered = enumerate(event_ids, begin)
        client_ids = [terms.client_id(at) if one is None else one for at, one in numbered]
    candidates.extend_columns(
        user_ids=user_ids,
        event_types=event_types,
        occurred_ats=occurred_ats,
        payloads=payloads,
        client_ids=client_ids,
        anonymous_ids=_texts(anonymous_ids),
        are_on_one_line=is_on_one_line(together),
    )
    return True


def _texts(values: Sequence[str | None]) -> Sequence[str]:
    if values.count(None) == len(values):
        return [""] * len(values)
    return [value or "" for value in values]


def _typed_fields(event: _Event) -> Fields:
    return Fields(
        event.user_id,
        event.event_type,
        event.occurred_at,
        bytes(event.payload),
        event.event_id,
        event.anonymous_id,
    )


def _may_hold_oversized(text: bytes, events: Sequence[_Event]) -> bool:
    # An event cannot be longer than all that is not in the payloads of the others.
    if len(text) <= MAX_EVENT_BYTES:
        return False
    payloads = [bytes(event.payload) for event in events]
    # One that is ``{}`` may not have been sent at all.
    sizes = [0 if payload == EMPTY_PAYLOAD else len(payload) for payload in payloads]
    return len(text) - sum(sizes) + max(sizes) > MAX_EVENT_BYTES


def _oversized(text: bytes, *, index: int | None) -> Rejected | None:
    if len(text) <= MAX_EVENT_BYTES:
        return None
    detail = f"The event has {len(text)} bytes; {MAX_EVENT_BYTES} are allowed."
    return Rejected(ErrorType.EVENT_TOO_LARGE, detail, index=index)


def _holds_too_many(text: bytes) -> bool:
    try:
        _MANY.decode(text)
    except msgspec.ValidationError as error:
        return "length" in str(error)  # else it is of another type
    except msgspec.DecodeError:
        return False
    return False


def _wrong_count(count: int) -> Rejected | None:
    if count == 0:
        return Rejected(ErrorType.EVENTS_EMPTY, "Send at least one event.", field="events")
    if count > MAX_BATCH_EVENTS:
        detail = f"At most {MAX_BATCH_EVENTS} events per request; this has {count}."
        return Rejected(ErrorType.BATCH_TOO_LARGE, detail, field="events")
    return None


def _events_missing() -> Rejected:
    return Rejected(ErrorType.EVENTS_MISSING, "This list is required.", field="events")


def _not_an_object(hint: str) -> Rejected:
    return Rejected(ErrorType.BODY_NOT_OBJECT, f"Send one JSON object; {hint}.")
