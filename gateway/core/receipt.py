"""A receipt: the trace of one event, from what was found of it.

Pure: rows in, receipt out. It is read by somebody who asks at night where an event is, so every
step says in plain words what happened, and what nobody wrote down is not made up.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final, Literal, get_args
from uuid import UUID

import msgspec

from gateway.core.event_rules import read_id
from sluice.core.errors import ErrorType
from sluice.core.event import MAX_USER_ID_CHARS, REPEAT_WINDOW, derive_event_id
from sluice.core.outcomes import Fate, Outcome
from sluice.core.receipts import DeadEvent, Findings, StoredEvent
from sluice.core.tenant import Tenant

MAX_NAME_CHARS: Final = 300
"""Longer than any id that is accepted, of whatever source."""
MAX_LISTED_DUPLICATES: Final = 20
WAREHOUSE: Final = "warehouse"
FORWARDED_TO: Final = ("amplitude",)
"""Destinations that a receipt always speaks of, also where nothing goes there."""

State = Literal["dead", "parked", "pending", "delivered", "filtered", "stored"]
STATES: Final[tuple[State, ...]] = get_args(State)
"""In the order in which they matter to who looks: an event is in the first that holds for it."""
OutcomeName = Literal["stored", "delivered", "parked", "dead", "filtered", "pending", "off"]
StepName = Literal[
    "received", "queued", "duplicate", "stored", "delivered", "parked", "dead", "filtered"
]

_QUEUED: Final = "On disk or with Pub/Sub before the client was answered; when is not noted."
_STORED: Final = "Written to the warehouse."
_STORED_EARLY: Final = "Written to the warehouse; when was not noted in those days."
_DUPLICATE: Final = "The client sent the same event again; it is counted once."
_NOT_STORED: Final = (
    "Not in the table. A moment ago received, it is still on its way; long ago, it was erased."
)
_LONE_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_KEPT: Final = "Row and whole reason are in dead_letters."
_CLICKHOUSE_CODE: Final = re.compile(r"DB::Exception: .*\(([A-Z_]+)\) \(version", re.DOTALL)
_CLICKHOUSE_COLUMN: Final = re.compile(r"while reading the value of key (\w{1,64})\)", re.ASCII)
_OFF: Final = "This tenant's events are not forwarded there: stored only."
_PENDING: Final = "No word from there yet: it waits in the queue, or is older than forwarding."
_SAID: Final[dict[Fate, str]] = {
    Fate.DELIVERED: "{name} took it.",
    Fate.PARKED: "It waits, in order, until {name} takes it.",
    Fate.DEAD: "{name} refuses it; it is kept in dead_letters.",
    Fate.FILTERED: "It is not sent to {name}.",
}
_SUMMARIES: Final[dict[OutcomeName, str]] = {
    "delivered": "{name} has it",
    "parked": "waits for {name}",
    "dead": "refused by {name}",
    "filtered": "not meant for {name}",
    "pending": "{name} has not spoken yet",
}


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of the trace."""

    at: str | None
    """UTC; null where nobody noted it."""
    step: StepName
    detail: str
    destination: str | None = None


class AtDestination(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of the event at one destination; what is not known is left out."""

    outcome: OutcomeName
    reason: str | None = None
    """A stable name, such as ``throttled_user``."""
    detail: str | None = None
    at: str | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of the receipt endpoint."""

    event_id: str
    event_type: str | None
    user_id: str | None
    source: str | None
    occurred_at: str | None
    received_at: str | None
    state: State
    summary: str
    duplicates: int
    trace: list[Step]
    destinations: dict[str, AtDestination]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """The event itself, from whichever table knows most of it; empty text is not known."""

    event_id: str
    event_type: str = ""
    user_id: str = ""
    source: str = ""
    occurred_at: str = ""
    received_at: str = ""


def forwarded_to(tenant: Tenant) -> tuple[str, ...]:
    """Return where a tenant's events go beside the warehouse."""
    return () if tenant.amplitude is None else ("amplitude",)


def possible_ids(tenant: str, names: Sequence[str], *, user_id: str | None = None) -> list[str]:
    """Return every id that a name may stand for, the likeliest first; none for what is no name.

    Args:
        tenant: Whose events.
        names: The name as it was asked for, then as sources write it.
        user_id: Of a session: what its user names is that user's own.
    """
    if not names or not _is_name(names[0], MAX_NAME_CHARS):
        return []
    own = _as_uuid(names[0])
    derived = [
        derive_event_id(tenant, name) for name in names if _LONE_SURROGATES.search(name) is None
    ]
    if user_id is not None and _is_name(user_id, MAX_USER_ID_CHARS):
        derived.insert(0, derive_event_id(tenant, names[0], user_id))
    return list(dict.fromkeys([*([own] if own else []), *derived]))


def _is_name(text: str, limit: int) -> bool:
    # By the rules of what is accepted: least of all a zero byte, which would end the name within
    # what an id is derived from. Bytes of a path that are no UTF-8 arrive as lone surrogates.
    is_text = _LONE_SURROGATES.search(text) is None
    return is_text and isinstance(read_id(text, name="event_id", limit=limit), str)


def _as_uuid(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None


def receipt_of(
    findings: Findings, ids: Sequence[str], *, forwards_to: Sequence[str]
) -> Receipt | None:
    """Return the receipt of the first of ``ids`` that anything is known of; None if none is.

    Args:
        findings: What was found of all of them.
        ids: As ``possible_ids`` returns them.
        forwards_to: The destinations that the tenant's events go to, beside the warehouse.
    """
    for event_id in ids:
        found = _only(findings, event_id)
        if found != Findings():
            return _receipt(event_id, found, forwards_to)
    return None


def _only(findings: Findings, event_id: str) -> Findings:
    return Findings(
        copies=tuple(one for one in findings.copies if one.event_id == event_id),
        stored=tuple(one for one in findings.stored if one.event_id == event_id),
        dead=tuple(one for one in findings.dead if one.event_id == event_id),
        outcomes=tuple(one for one in findings.outcomes if one.event_id == event_id),
    )


def _receipt(event_id: str, found: Findings, forwards_to: Sequence[str]) -> Receipt:
    accepted = _latest_acceptance(found)
    subject, stored, dead = _subject(event_id, found, accepted)
    duplicates = [received_at for received_at, _ in accepted[1:]]
    destinations = {WAREHOUSE: _at_warehouse(stored, dead)}
    for name in dict.fromkeys([*FORWARDED_TO, *(one.destination for one in found.outcomes)]):
        outcome = next((one for one in found.outcomes if one.destination == name), None)
        destinations[name] = _at_destination(outcome, is_on=name in forwards_to)
    return Receipt(
        event_id=event_id,
        event_type=subject.event_type or None,
        user_id=subject.user_id or None,
        source=subject.source or None,
        occurred_at=_utc(subject.occurred_at),
        received_at=_utc(subject.received_at),
        state=_state(destinations),
        summary=_summary(destinations),
        duplicates=len(duplicates),
        trace=_trace(subject, duplicates, destinations),
        destinations=destinations,
    )


def _latest_acceptance(found: Findings) -> list[tuple[str, str]]:
    """Return (received_at, event type) of the copies that count as one, the first accepted first.

    After the window the same id is a new event; the receipt is that of the latest.
    """
    copies = sorted(
        {(copy.received_at, copy.event_type) for copy in found.copies}
        | {(row.received_at, row.event_type) for row in found.stored}
    )
    start = 0
    for place, (before, copy) in enumerate(pairwise(copies), start=1):
        if datetime.fromisoformat(copy[0]) - datetime.fromisoformat(before[0]) > REPEAT_WINDOW:
            start = place
    return copies[start:]


def _subject(
    event_id: str, found: Findings, accepted: Sequence[tuple[str, str]]
) -> tuple[_Subject, StoredEvent | None, DeadEvent | None]:
    # Of rows that are still there twice the first accepted one counts, as in every total.
    stored = next(
        (one for one in found.stored if (one.received_at, one.event_type) in accepted), None
    )
    if stored is not None:
        return _of_row(stored), stored, None
    if found.dead:
        return _of_row(found.dead[0]), None, found.dead[0]
    if accepted:
        received_at, event_type = accepted[0]
        noted = _Subject(event_id=event_id, event_type=event_type, received_at=received_at)
        return noted, None, None
    received_at = found.outcomes[0].received_at
    return _Subject(event_id=event_id, received_at=received_at), None, None


def _of_row(row: StoredEvent | DeadEvent) -> _Subject:
    return _Subject(
        event_id=row.event_id,
        event_type=row.event_type,
        user_id=row.user_id,
        source=row.source,
        occurred_at=row.occurred_at,
        received_at=row.received_at,
    )


def _at_warehouse(stored: StoredEvent | None, dead: DeadEvent | None) -> AtDestination:
    if stored is not None:
        return AtDestination(outcome="stored", at=_utc(stored.stored_at))
    if dead is not None:
        return AtDestination(
            outcome="dead",
            reason=ErrorType.DEAD_LETTER.value,
            detail=_why(dead.reason),
            at=_utc(dead.dead_at),
        )
    return AtDestination(outcome="pending", detail=_NOT_STORED)


def _why(reason: str) -> str:
    """Return the reason of a dead letter without what ClickHouse quotes: values, its address."""
    code = _CLICKHOUSE_CODE.findall(reason)
    if not code:
        return f"{reason}. {_KEPT}"
    column = _CLICKHOUSE_COLUMN.search(reason)
    where = f" at {column[1]}" if column else ""
    return f"ClickHouse refused it with {code[-1]}{where}. {_KEPT}"


def _at_destination(outcome: Outcome | None, *, is_on: bool) -> AtDestination:
    if outcome is not None:
        return AtDestination(
            outcome=outcome.outcome.value,
            reason=outcome.reason or None,
            detail=outcome.detail or None,
            at=_utc(outcome.at),
        )
    if is_on:
        return AtDestination(outcome="pending", detail=_PENDING)
    return AtDestination(outcome="off", detail=_OFF)


def _state(destinations: dict[str, AtDestination]) -> State:
    outcomes = {one.outcome for one in destinations.values()}
    return next(state for state in STATES if state in outcomes)


def _summary(destinations: dict[str, AtDestination]) -> str:
    said = {"stored": "Stored", "pending": "Accepted, not in the warehouse", "dead": "Not stored"}
    parts = [said[destinations[WAREHOUSE].outcome]]
    for name, there in destinations.items():
        if name != WAREHOUSE and there.outcome in _SUMMARIES:
            reason = f" ({there.reason})" if there.reason else ""
            parts.append(_SUMMARIES[there.outcome].format(name=name.title()) + reason)
    if len(parts) == 1 and destinations[WAREHOUSE].outcome == "stored":
        parts = ["Stored; forwarded nowhere"]
    return "; ".join(parts) + "."


def _trace(
    subject: _Subject, duplicates: Sequence[str], destinations: dict[str, AtDestination]
) -> list[Step]:
    received_at = _utc(subject.received_at)
    by = f" by way of {subject.source}" if subject.source else ""
    first = [
        Step(at=received_at, step="received", detail=f"Accepted{by}."),
        Step(at=None, step="queued", detail=_QUEUED),
    ]
    later = [*_repeats(duplicates), *_last_words(destinations)]
    # What has no time stands where it happened: before what came after it.
    later.sort(key=lambda step: (step.at or "").removesuffix("Z"))
    return [*first, *later]


def _repeats(duplicates: Sequence[str]) -> Iterable[Step]:
    for number, received_at in enumerate(duplicates, start=1):
        if number == MAX_LISTED_DUPLICATES and len(duplicates) > number:
            left = len(duplicates) - number
            yield Step(
                at=_utc(received_at),
                step="duplicate",
                detail=f"{_DUPLICATE} {left} more followed.",
            )
            return
        yield Step(at=_utc(received_at), step="duplicate", detail=_DUPLICATE)


def _last_words(destinations: dict[str, AtDestination]) -> Iterable[Step]:
    for name, there in destinations.items():
        if there.outcome in {"pending", "off"}:
            continue
        if there.outcome == "stored":
            said = _STORED if there.at else _STORED_EARLY
            yield Step(at=there.at, step="stored", destination=name, detail=said)
            continue
        fate = Fate(there.outcome)
        said = _SAID[fate].format(name="The warehouse" if name == WAREHOUSE else name.title())
        why = ": ".join(part for part in (there.reason, there.detail) if part)
        detail = f"{said} {why}" if why else said
        yield Step(at=there.at, step=fate.value, destination=name, detail=detail)


def _utc(text: str) -> str | None:
    """Return a time with its zone; None for what is none, as in an event that was dead for it."""
    try:
        datetime.fromisoformat(text[:26])
    except ValueError:
        return None
    return f"{text}Z"
