"""The arithmetic of the ledger: pure. ``docs/ledger.md`` says what each term means."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from sluice.core.workflows import RECONCILE_DAYS

MODULUS: Final = 2**64
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
LONGEST: Final = timedelta(days=RECONCILE_DAYS)
KEYS_KNOWN: Final = timedelta(days=14)
"""Keys are kept 15 days after they were noted; a day less is certain."""
SETTLED_AFTER: Final = timedelta(minutes=2)
"""How long after its end an hour may still get events that were on their way."""
TERMS: Final = ("accepted", "stored", "duplicates", "dead", "erased")
"""Of which one that is not 0 shows that there was something to compare."""
FATES: Final = ("delivered", "parked", "dead", "filtered")
NAMED: Final = 10_000
"""How many differences are named."""
SHOWN: Final = 100
"""How many of those are in the outputs of a run."""


class Terms(msgspec.Struct, kw_only=True):
    """What one hour holds of each term; ``*_sum`` are sums of ids' lower halves."""

    hour: int
    accepted: int | None = None
    """None: nothing was written down yet when the hour was received."""
    envelopes: int = 0
    named: int = 0
    repeats: int = 0
    left_out: int = 0
    made: int = 0
    made_sum: int = 0
    stored: int = 0
    stored_named: int = 0
    stored_made_sum: int = 0
    stored_named_sum: int = 0
    dead: int = 0
    dead_made_sum: int = 0
    dead_named_sum: int = 0
    erased: int = 0
    erased_named: int = 0
    erased_made_sum: int = 0
    erased_named_sum: int = 0
    firsts: int = 0
    copies: int = 0
    firsts_sum: int = 0
    noted_copies: int = 0
    has_keys: bool = True
    """Whether the keys of what clients named are still known."""

    @property
    def duplicates(self) -> int:
        """Events that were accepted again and are counted once."""
        if not self.has_keys:
            return self.left_out + self.noted_copies
        known = self.copies + self.repeats
        # The same row in two envelopes has one key; the worker noted that it left one out.
        keyless = self.named - self.firsts - known - self.erased_named
        return known + max(0, min(keyless, self.left_out - known))

    @property
    def difference(self) -> int:
        """How many accepted events are nowhere; negative: how many nobody accepted."""
        if self.accepted is None:
            return self.firsts - self.stored_named if self.has_keys else 0
        return self.accepted - self.stored - self.duplicates - self.dead - self.erased

    @property
    def is_equal(self) -> bool:
        """Whether number and ids agree."""
        return self.difference == 0 and self._ids_agree()

    def _ids_agree(self) -> bool:
        gone = self.stored_made_sum + self.dead_made_sum + self.erased_made_sum
        if self.accepted is not None and (self.made_sum - gone) % MODULUS:
            return False
        if not self.has_keys:
            return True
        gone = self.stored_named_sum + self.dead_named_sum + self.erased_named_sum
        return (self.firsts_sum - gone) % MODULUS == 0


@dataclass(slots=True)
class Balance:
    """The ledger of a window."""

    hours: dict[int, Terms] = field(default_factory=dict)

    def of(self, hour: int) -> Terms:
        """Return an hour's terms, made if there are none."""
        return self.hours.setdefault(hour, Terms(hour=hour))

    def take(self, rows: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> None:
        """Add what a query said, by hour: each of its columns to the term of that name."""
        for row in rows:
            terms = self.of(int(row["hour"]))
            for column, name in names.items():
                setattr(terms, name, (getattr(terms, name) or 0) + int(row[column]))

    def total(self, name: str) -> int:
        """Return the sum of a term over all hours."""
        return sum(getattr(terms, name) or 0 for terms in self.hours.values())

    @property
    def unequal(self) -> list[Terms]:
        """The hours that do not agree, in order."""
        return [self.hours[hour] for hour in sorted(self.hours) if not self.hours[hour].is_equal]


@dataclass(frozen=True, slots=True)
class Span:
    """Whole hours in UTC."""

    since: datetime
    until: datetime

    @property
    def texts(self) -> dict[str, str]:
        """As the queries take it."""
        return {"since": _text(self.since), "until": _text(self.until)}

    @property
    def hours(self) -> list[int]:
        """Unix seconds of each hour."""
        first, end = int(self.since.timestamp()), int(self.until.timestamp())
        return list(range(first, end, 3600))

    @property
    def days(self) -> list["Span"]:
        """The UTC days that it touches, each whole."""
        start = self.since.replace(hour=0)
        found = []
        while start < self.until:
            found.append(Span(start, start + DAY))
            start += DAY
        return found


def span_of(range_from: str | None, range_to: str | None, *, started_at: float) -> Span:
    """Return the window of a run: whole hours around its range, the UTC day before if it has none.

    Raises:
        ValueError: It is empty or too long; the text says so.
    """
    started = datetime.fromtimestamp(started_at, UTC)
    if range_from is None and range_to is None:
        today = started.replace(hour=0, minute=0, second=0, microsecond=0)
        return Span(today - DAY, today)
    if range_from is None or range_to is None:
        message = "the range needs a beginning and an end"
        raise ValueError(message)
    since = _floor(datetime.fromisoformat(range_from).replace(tzinfo=UTC))
    until = datetime.fromisoformat(range_to).replace(tzinfo=UTC)
    if _floor(until) != until:
        until = _floor(until) + HOUR
    if since >= until:
        message = "the range is empty"
        raise ValueError(message)
    if until - since > LONGEST:
        message = f"the range is longer than {LONGEST.days} days"
        raise ValueError(message)
    return Span(since, until)


def hour_span(hour: int) -> Span:
    """Return the window of one hour."""
    since = datetime.fromtimestamp(hour, UTC)
    return Span(since, since + HOUR)


def hour_text(hour: int) -> str:
    """Return an hour for people and programs."""
    return datetime.fromtimestamp(hour, UTC).strftime("%Y-%m-%dT%H:00:00Z")


def _floor(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


class Difference(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One event that is not where it should be, or twice where it should be once."""

    kind: str
    hour: str
    """Of ``received_at``; of the event's own time where only Amplitude has it."""
    event_id: str = ""
    event_type: str = ""
    received_at: str = ""
    destination: str = ""
    seen_in: list[str] = msgspec.field(default_factory=list)
    """Where it is."""
    envelope_id: str = ""
    envelopes: list[str] = msgspec.field(default_factory=list)
    """Where the event cannot be named: those that it may have come with."""
    events: int = 1
    detail: str = ""


@dataclass(slots=True)
class Differences:
    """All that was found, named up to a bound, counted without one."""

    named: list[Difference] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    _places: dict[tuple[str, str], Difference] = field(default_factory=dict)

    def add(self, one: Difference) -> None:
        """Add one; the same event of the same kind only gets what is new of it."""
        known = self._places.get((one.kind, one.event_id)) if one.event_id else None
        if known is not None:
            known.seen_in += [place for place in one.seen_in if place not in known.seen_in]
            known.event_type = known.event_type or one.event_type
            known.received_at = known.received_at or one.received_at
            known.detail = known.detail or one.detail
            return
        self.counts[one.kind] = self.counts.get(one.kind, 0) + one.events
        if len(self.named) < NAMED:
            self.named.append(one)
            if one.event_id:
                self._places[one.kind, one.event_id] = one

    def knows(self, kind: str, event_id: str) -> bool:
        """Whether an event was named so."""
        return (kind, event_id) in self._places

    @property
    def total(self) -> int:
        """How many there are, named or not."""
        return sum(self.counts.values())


def _seen_at_amplitude(outputs: Mapping[str, Any]) -> str:
    """Say how many events the other side was asked about, so that silence is not taken for yes."""
    asked, delivered = outputs["amplitude"], outputs["destinations"]["amplitude"]["delivered"]
    if not delivered:
        return ""
    if not asked["asked"]:
        return f" Amplitude was not asked: {asked['reason']}."
    return f" Amplitude was asked about {asked['delivered']:,} of {delivered:,} delivered events."


def _nothing_known(outputs: Mapping[str, Any]) -> str:
    """Say that a range has no event, so that silence is not taken for proof; empty: it has some."""
    ledger = outputs["ledger"]
    if any(ledger[name] for name in TERMS):
        return ""
    is_sure = outputs["is_final"] and not ledger["hours_unknown"]
    said = (
        f" no event {'was' if is_sure else 'is known to have been'} accepted in this range, so"
        " there was nothing to compare."
    )
    if ledger["hours_unknown"]:
        said += (
            f" What was accepted before the ledger began ({ledger['began_at']}) is not written"
            " down."
        )
    return said


def summary(*, tenant: str, span: Span, outputs: Mapping[str, Any]) -> str:
    """Return the result in a sentence or two."""
    since, until = hour_text(int(span.since.timestamp())), hour_text(int(span.until.timestamp()))
    ledger = outputs["ledger"]
    stored = f"{ledger['stored']:,}"
    between = f"{tenant}, {since} to {until}:"
    notes: Sequence[str] = outputs["notes"]
    late = f" Not final: {'; '.join(notes)}." if notes and not outputs["is_final"] else ""
    if outputs["is_balanced"]:
        if nothing := _nothing_known(outputs):
            return f"{between}{nothing}{late}"
        accepted = ledger["accepted"]
        said = "an unknown number of" if accepted is None else f"{accepted:,}"
        return (
            f"{between} everything adds up: {said} events accepted, {stored} stored,"
            f" {ledger['duplicates']:,} duplicates, {ledger['dead']:,} dead,"
            f" {ledger['erased']:,} erased.{late}{_seen_at_amplitude(outputs)}"
        )
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in outputs["difference_counts"].items())
    return f"{between} it does not add up: {kinds or 'numbers differ'}.{late}"
