"""What a replay is asked to do, how far it is, and what is said about it: pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

import msgspec

from sluice.core.errors import ConfigError
from sluice.core.event import Event, format_ts
from sluice.core.times import parse_moment

START: Final = "00000000-0000-0000-0000-000000000000"
"""The key before all others of its moment."""
HOUR: Final = timedelta(hours=1)
PAGE_S: Final = 2
"""A page is about what is sent in this time, so that progress is noted as often."""
PAGE_EVENTS: Final = (100, 40_000)
"""Least and most events of a page."""
MAX_REASONS: Final = 20
"""How many different reasons are kept apart; what comes then is only counted."""

_encode: Final = msgspec.json.Encoder().encode


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of a replay, as they were typed."""

    tenant: str
    destination: str
    since: str
    until: str
    event_types: tuple[str, ...]
    dead_letters: bool

    @property
    def digest(self) -> str:
        """The name of its files: the same command finds them again."""
        return sha256(_encode(self)).hexdigest()[:16]


class Reached(msgspec.Struct, kw_only=True):
    """How far a replay is: what its progress file holds."""

    asked: Asked
    since: str
    """``since`` and ``until`` as moments: ``7d`` means the same after a restart."""
    until: str
    started_at: str
    after_at: str
    """Everything up to this key was sent, or waits beside this file."""
    after_id: str = START
    read: int = 0
    delivered: int = 0
    filtered: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """The events that were received from ``since`` on and before ``until``."""

    since: datetime
    until: datetime

    @property
    def texts(self) -> tuple[str, str]:
        """Both moments as rows carry them."""
        return format_ts(self.since), format_ts(self.until)


def window_of(since: str, until: str, *, now: datetime) -> Window:
    """Return the window between two moments that a person named; it ends now at the latest.

    Raises:
        ConfigError: One cannot be read, or nothing lies between them.
    """
    first = parse_moment(since, now=now, name="--since")
    last = min(parse_moment(until, now=now, name="--until"), now)
    if first >= last:
        message = f"--since is {since!r} and --until is {until!r}: nothing lies between them."
        raise ConfigError(message)
    return Window(first, last)


def slices(since: str, until: str, hours: Iterable[int], *, after: str) -> list[tuple[str, str]]:
    """Return the parts of a window, an hour each, that hold events and are not done.

    An hour is what the table's sorting key tells apart: no page reads more than one.

    Args:
        since: The window's beginning, as rows carry times.
        until: Its end.
        hours: Unix seconds of the hours that hold events.
        after: Everything before this moment is done.
    """
    found: list[tuple[str, str]] = []
    for hour in sorted(hours):
        start = datetime.fromtimestamp(hour, UTC)
        part = max(since, format_ts(start)), min(until, format_ts(start + HOUR))
        if part[0] < part[1] and part[1] > after:
            found.append(part)
    return found


def page_events(rate: float, page_s: float = PAGE_S) -> int:
    """Return how many events a page has that are sent at this rate."""
    least, most = PAGE_EVENTS
    return int(min(most, max(least, rate * page_s)))


class Count(msgspec.Struct, frozen=True):
    """One group of what a replay would send."""

    hour: int
    outcome: str
    """The last at the destination; empty where there is none."""
    events: int
    forgotten: int
    """Of the delivered: so long ago that the destination would count them again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a replay would send."""

    counts: Sequence[Count]

    @property
    def matching(self) -> int:
        """How many events in all."""
        return sum(count.events for count in self.counts)

    @property
    def forgotten(self) -> int:
        """How many would be counted again."""
        return sum(count.forgotten for count in self.counts)

    @property
    def hours(self) -> set[int]:
        """The hours that hold some, in Unix seconds."""
        return {count.hour for count in self.counts}

    def of(self, outcome: str) -> int:
        """Return how many have this outcome; ``""``: none, they were never forwarded."""
        return sum(count.events for count in self.counts if count.outcome == outcome)


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """A row of a page of events."""

    id: str
    user_id: str
    anonymous_id: str
    event_type: str
    occurred: str
    received: str
    source: str
    payload: str


class StoredLetter(msgspec.Struct, frozen=True, gc=False):
    """A row of a page of dead letters."""

    id: str
    received: str
    row: str


def row_of(tenant: str, stored: StoredEvent | StoredLetter) -> bytes:
    """Return an event as it travelled through the queue."""
    if isinstance(stored, StoredLetter):
        return stored.row.encode()
    return _encode(
        Event(
            tenant=tenant,
            event_id=stored.id,
            user_id=stored.user_id,
            anonymous_id=stored.anonymous_id,
            event_type=stored.event_type,
            # The column has nine digits of which most clients sent none.
            occurred_at=stored.occurred.rstrip("0").rstrip("."),
            received_at=stored.received,
            source=stored.source,
            payload=msgspec.Raw(stored.payload.encode()),
        )
    )


@dataclass(slots=True)
class Reasons:
    """Why events were refused or wait, each reason once."""

    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, reason: str, detail: str, events: int = 1) -> None:
        """Count events under a reason."""
        key = (reason, detail)
        if key not in self.counts and len(self.counts) >= MAX_REASONS:
            key = ("other", "")
        self.counts[key] = self.counts.get(key, 0) + events

    def as_json(self) -> list[dict[str, object]]:
        """Return them for programs, the most frequent first."""
        ordered = sorted(self.counts.items(), key=lambda one: -one[1])
        return [
            {"reason": reason, "detail": detail, "events": events}
            for (reason, detail), events in ordered
        ]

    def lines(self) -> list[str]:
        """Return them for people."""
        ordered = sorted(self.counts.items(), key=lambda one: -one[1])
        return [
            f"  {events:,} {reason}{f': {detail}' if detail else ''}"
            for (reason, detail), events in ordered
        ]


def plan_lines(plan: Plan, reached: Reached, *, is_resumed: bool) -> list[str]:
    """Return what a replay will do, in sentences."""
    asked = reached.asked
    plural = "" if plan.matching == 1 else "s"
    what = f"event{plural}"
    if asked.dead_letters:
        what = f"dead letter{plural} of {asked.destination}"
    types = f" of type {', '.join(asked.event_types)}" if asked.event_types else ""
    lines = [
        f"{asked.tenant}: {plan.matching:,} {what}{types} received from {reached.since}Z to just"
        f" before {reached.until}Z",
        f"  at {asked.destination} so far: {plan.of('delivered'):,} delivered,"
        f" {plan.of('parked'):,} parked, {plan.of('dead'):,} dead,"
        f" {plan.of('filtered'):,} filtered, {plan.of(''):,} never forwarded",
    ]
    if plan.forgotten:
        lines.append(
            f"  {plan.forgotten:,} were delivered over 7 days ago: Amplitude knows an insert_id for"
            " 7 days and counts them again"
        )
    if is_resumed:
        lines.append(
            f"  begun at {reached.started_at}Z, {reached.read:,} read so far; it goes on there"
            " (--restart begins anew)"
        )
    return lines
