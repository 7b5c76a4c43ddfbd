"""Which copy of an event counts, when a client sent it more than once.

A client that gets no answer sends the event again, with the same ``event_id`` and a later
``received_at``, perhaps as another type. The rule, a pure function of all accepted copies:

    A copy is a duplicate if another one of the same event was accepted before it, at most
    seven days earlier. Of two accepted in the same microsecond the lower event type is first.

Copies are only ever added, so a duplicate stays one: naming it exactly (type and ``received_at``)
is never wrong later, in whatever order and by however many workers copies are seen.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from sluice.core.event import REPEAT_WINDOW
from worker.core.rows import Key

REACH: Final = REPEAT_WINDOW + timedelta(hours=1)
"""How far around a copy others are looked for: the window, and the hour that collapses with it."""

Event = tuple[str, str]
"""Tenant and event_id."""
Copy = tuple[str, str]
"""received_at and event_type of one accepted copy: compares as accepted."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about the copies of one batch."""

    dropped: frozenset[int]
    """Positions, in the order given, of candidates that are not to be stored."""
    stored_before: tuple[Key, ...]
    """Later copies that may have been stored already, by a worker that could not know."""


def judge(candidates: Sequence[Key], known: Iterable[Key]) -> Verdict:
    """Decide about the candidates of a batch, given all copies that are known of them.

    Args:
        candidates: Events that clients named; redelivered ones and copies may be among them.
        known: Copies noted in the warehouse within ``REACH`` of the candidates; candidates too.
    """
    copies: defaultdict[Event, set[Copy]] = defaultdict(set)
    for key in known:
        copies[key.tenant, key.event_id].add((key.received_at, key.event_type))
    if not copies and len({key.event_id for key in candidates}) == len(candidates):
        return Verdict(frozenset(), ())
    seen: set[Key] = set()
    repeated: list[int] = []
    for position, key in enumerate(candidates):
        if key in seen:
            repeated.append(position)
        else:
            seen.add(key)
            copies[key.tenant, key.event_id].add((key.received_at, key.event_type))
    duplicates = {
        Key(tenant, event_id, event_type, received_at)
        for (tenant, event_id), accepted in copies.items()
        if len(accepted) > 1
        for received_at, event_type in _duplicates(accepted)
    }
    dropped = frozenset(repeated).union(
        position for position, key in enumerate(candidates) if key in duplicates
    )
    return Verdict(dropped, tuple(_stored_before(duplicates, seen, copies)))


def _duplicates(accepted: set[Copy]) -> Iterable[Copy]:
    ordered = sorted(accepted)
    for before, copy in pairwise(ordered):
        if datetime.fromisoformat(copy[0]) - datetime.fromisoformat(before[0]) <= REPEAT_WINDOW:
            yield copy


def _stored_before(
    duplicates: set[Key], candidates: set[Key], copies: dict[Event, set[Copy]]
) -> Iterable[Key]:
    """Yield later copies that a worker stored because it could not see a candidate of this batch.

    Of two workers, the one that wrote its key later sees the other's, so each only answers for what
    one of its own candidates comes before. Copies that share hour and type with a first one are
    named too: they collapse into it in the table, but it may be in another slot of the hour, and
    slots are counted each by itself.
    """
    for key in sorted(duplicates - candidates, key=lambda key: (key.tenant, key.event_id)):
        accepted = copies[key.tenant, key.event_id]
        own_before = any(
            Key(key.tenant, key.event_id, event_type, received_at) in candidates
            for received_at, event_type in accepted
            if (received_at, event_type) < (key.received_at, key.event_type)
        )
        if own_before:
            yield key


@dataclass(frozen=True, slots=True)
class Other:
    """Another worker's last sign of life, by the warehouse's clock."""

    worker_id: str
    age_s: float
    is_stopped: bool


LIVE_S: Final = 60.0
"""A worker that said nothing for so long writes nothing more (its statements end by then)."""


def is_alone(others: Iterable[Other]) -> bool:
    """Whether no other worker can be writing keys."""
    return all(other.is_stopped or other.age_s >= LIVE_S for other in others)


def is_complete(others: Sequence[Other], *, loaded_age_s: float) -> bool:
    """Whether a filter whose loading began so long ago holds every key there is.

    It does when no other worker lives, and none has given a sign since the loading began.
    """
    return is_alone(others) and all(other.age_s > loaded_age_s for other in others)
