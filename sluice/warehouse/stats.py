"""What a tenant may read: stats and error records (reference: "Stats", "Errors").

Stats are distinct events by ``received_at``. Hours come from rollups, and days that are up to date
with their hours come whole; an hour that was written to since its rollup, more than a moment ago,
is counted from events within the same answer. ``as_of`` is the moment up to which all is counted.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from sluice.core.errors import ErrorType, WarehouseError
from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import (
    ERRORS,
    PENDING_RUNS,
    STATS_COUNTED,
    STATS_LIVE,
    STATS_SPANS,
    STATS_USERS,
    STATS_WITH_LIVE_HOURS,
)

Window = Literal["24h", "7d"]

HOUR_S: Final = 3600
QUARTER_S: Final = 21_600
DAY_S: Final = 86_400
BUCKETS: Final[dict[Window, tuple[int, int]]] = {"24h": (HOUR_S, 24), "7d": (DAY_S, 7)}
"""Seconds of a bucket, and how many there are."""
MAX_EVENT_TYPES: Final = 100
UNKNOWN_TABLE: Final = 60
"""ClickHouse's number of that error."""
GRACE_US: Final = 1_500_000
"""How old the rollup of an hour that is being written to may be before it is counted live. Up to
then ``as_of`` says how old it is."""
MANY_EVENTS: Final = 250_000
"""An hour with as many is counted in slots of ten seconds. Counting fewer takes some 60 ms."""
MANY_GRACE_US: Final = 300_000_000
"""The same for an hour of so many events, or one that is summed up from slots. To count it live
takes seconds where the machine is busy, and from the very worker that would count it for all. One
that was counted as a whole has that moment as its version."""

_BY_BUCKET: Final = 1
_BY_EVENT_TYPE: Final = 2
_IN_ALL: Final = 3
_TOUCHED: Final = 0
_CLOCK: Final = 1


class Bucket(msgspec.Struct, frozen=True):
    """One bar of the time series."""

    bucket: str
    event_count: int
    unique_users: int


class EventTypeCount(msgspec.Struct, frozen=True):
    """How many events of one type."""

    event_type: str
    count: int


class Stats(msgspec.Struct, frozen=True):
    """The answer of the stats endpoint, field by field."""

    window: Window
    total_events: int
    unique_users: int
    timeseries: list[Bucket]
    event_types: list[EventTypeCount]
    as_of: str


class StoredError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of the errors endpoint; what is not known is left out."""

    ts: str
    error_type: str
    detail: str
    source: str | None = None
    event_index: int | None = None
    event_id: str | None = None
    event_type: str | None = None
    user_id: str | None = None
    request_id: str | None = None
    occurrences: int


def bucket_starts(window: Window, now: datetime) -> list[int]:
    """Return the unix seconds at which the buckets start, oldest first; the last one holds now."""
    size, count = BUCKETS[window]
    last = int(now.timestamp()) // size * size
    return [last - size * back for back in reversed(range(count))]


class Pieces(msgspec.Struct, frozen=True, kw_only=True):
    """What a window is put together from."""

    days: list[int]
    hours: list[int]
    quarters: list[int]
    """Of the hours, six together each, to know all users of a window by few sets of them."""
    other_hours: list[int]
    live_hours: list[int]
    """To be counted from events."""
    age_us: int
    """How old the oldest count is of those that miss something."""


def pieces_of(rows: Iterable[tuple[int, int, int, int, int]], window: Window) -> Pieces:
    """Return what to put an answer together from, given what is known of its window.

    Args:
        rows: Seconds of the span (or ``_TOUCHED``, or ``_CLOCK``), its start, the moment it was
            counted (or touched, or now) in microseconds, the version of the count, and the events
            of an hour.
        window: Days are of use only where a bucket is one.
    """
    known: dict[int, dict[int, tuple[int, int]]] = {
        span_s: {} for span_s in (_TOUCHED, _CLOCK, HOUR_S, QUARTER_S, DAY_S)
    }
    large: set[int] = set()
    for span_s, start, at, version, events in rows:
        known[span_s][start] = (at, version)
        if span_s == HOUR_S and (events >= MANY_EVENTS or version != at):
            large.add(start)
    now, _ = known[_CLOCK][0]
    hours = known[HOUR_S]
    live: list[int] = []
    oldest = now
    for hour, (touched_at, _) in known[_TOUCHED].items():
        computed_at, _ = hours.get(hour, (0, 0))
        if touched_at >= computed_at:
            grace_us = MANY_GRACE_US if hour in large else GRACE_US
            if computed_at >= now - grace_us:
                oldest = min(oldest, computed_at)
            else:
                live.append(hour)
                hours.pop(hour, None)
    days = _summed(hours, known[DAY_S], DAY_S) if BUCKETS[window][0] == DAY_S else []
    hours = {hour: count for hour, count in hours.items() if hour // DAY_S * DAY_S not in set(days)}
    quarters = _summed(hours, known[QUARTER_S], QUARTER_S)
    others = [hour for hour in hours if hour // QUARTER_S * QUARTER_S not in set(quarters)]
    return Pieces(
        days=days,
        hours=list(hours),
        quarters=quarters,
        other_hours=others,
        live_hours=live,
        age_us=now - oldest,
    )


def _summed(
    hours: dict[int, tuple[int, int]], sums: dict[int, tuple[int, int]], span_s: int
) -> list[int]:
    """Return the starts of the sums that are made of these hours as they are now."""
    versions: dict[int, int] = {}
    for hour, (_, version) in hours.items():
        start = hour // span_s * span_s
        versions[start] = versions.get(start, 0) + version
    return [start for start, (_, version) in sums.items() if version == versions.get(start)]


def shape_stats(
    rows: Iterable[tuple[int, int, str, int, int]],
    *,
    window: Window,
    now: datetime,
    age: timedelta = timedelta(0),
) -> Stats:
    """Return the answer that rows of (level, bucket, event type, events, users) add up to."""
    buckets: dict[int, tuple[int, int]] = {}
    types: list[EventTypeCount] = []
    total = users = 0
    for level, bucket, event_type, events, distinct in rows:
        if level == _BY_BUCKET:
            buckets[bucket] = (events, distinct)
        elif level == _BY_EVENT_TYPE:
            types.append(EventTypeCount(event_type, events))
        else:
            total, users = events, distinct
    types.sort(key=lambda counted: (-counted.count, counted.event_type))
    return Stats(
        window=window,
        total_events=total,
        unique_users=users,
        timeseries=[
            Bucket(_iso(start), *buckets.get(start, (0, 0))) for start in bucket_starts(window, now)
        ],
        event_types=types[:MAX_EVENT_TYPES],
        as_of=_iso(int((now - age).timestamp())),
    )


def _levels(
    is_all: int, bucket: int, counts: tuple[Sequence[str], Sequence[int]], users: int
) -> Iterator[tuple[int, int, str, int, int]]:
    """Yield the rows that one row of the warehouse stands for."""
    types, events = counts
    yield (_IN_ALL if is_all else _BY_BUCKET), bucket, "", sum(events), users
    if is_all:
        yield from (
            (_BY_EVENT_TYPE, 0, event_type, count, 0)
            for event_type, count in zip(types, events, strict=True)
        )


async def read_stats(warehouse: Warehouse, tenant: str, window: Window, now: datetime) -> Stats:
    """Return a tenant's stats.

    Raises:
        WarehouseError: The warehouse refused or did not answer.
    """
    size, _ = BUCKETS[window]
    starts = bucket_starts(window, now)
    asked: dict[str, Any] = {"tenant": tenant, "start": starts[0], "end": starts[-1] + size}
    try:
        known = await warehouse.fetch(STATS_SPANS, bucket_s=size, **asked)
    except WarehouseError as error:
        if error.code != UNKNOWN_TABLE:
            raise
        # In an upgrade gateways may come before the schema: no request is to fail for that.
        rows = await warehouse.fetch(STATS_LIVE, bucket_s=size, **asked)
        live = itertools.chain.from_iterable(_levels(*row) for row in rows)
        return shape_stats(live, window=window, now=now)
    pieces = pieces_of((row[:5] for row in known), window)
    is_in_buckets = not pieces.live_hours and not (size == DAY_S and pieces.hours)
    if is_in_buckets:  # then only who was there in all has to be put together
        quarters, hours = pieces.quarters, pieces.other_hours
        found = await warehouse.fetch(
            STATS_USERS, tenant=tenant, days=pieces.days, quarters=quarters, hours=hours
        )
        buckets = {(size, start) for start in (pieces.days if size == DAY_S else pieces.hours)}
        spans = [row for row in known if tuple(row[:2]) in buckets]
        levels = _levels_of_spans(spans, int(found[0][0]))
    else:
        given: dict[str, Any] = {"days": pieces.days, "hours": pieces.hours, "bucket_s": size}
        if pieces.live_hours:
            query, given["live_hours"] = STATS_WITH_LIVE_HOURS, pieces.live_hours
        else:
            query = STATS_COUNTED
        rows = await warehouse.fetch(query, **given, **asked)
        levels = itertools.chain.from_iterable(_levels(*row) for row in rows)
    age = timedelta(microseconds=pieces.age_us)
    return shape_stats(levels, window=window, now=now, age=age)


def _levels_of_spans(
    spans: Iterable[tuple[Any, ...]], users: int
) -> Iterator[tuple[int, int, str, int, int]]:
    """Yield the rows that spans as long as a bucket stand for, with all their users together."""
    in_all: Counter[str] = Counter()
    for _, start, _, _, _, distinct, types, events in spans:
        yield _BY_BUCKET, start, "", sum(events), distinct
        in_all.update(dict(zip(types, events, strict=True)))
    yield _IN_ALL, 0, "", in_all.total(), users
    yield from ((_BY_EVENT_TYPE, 0, event_type, count, 0) for event_type, count in in_all.items())


async def read_errors(warehouse: Warehouse, tenant: str, limit: int) -> list[StoredError]:
    """Return a tenant's newest error records; before them what must not be forgotten.

    Runs with a legal date stand there until they are done, one entry for each type of run.

    Raises:
        WarehouseError: The warehouse refused or did not answer.
    """
    waiting = await warehouse.fetch(PENDING_RUNS, tenant=tenant)
    pending = [_pending_run(row) for row in waiting]
    rows = await warehouse.fetch(ERRORS, tenant=tenant, limit=limit)
    return [*pending, *(_stored_error(row) for row in rows)][:limit]


def _pending_run(row: tuple[Any, ...]) -> StoredError:
    run_type, source, count, newest, due_at = row
    requests = "1 request" if count == 1 else f"{count} requests"
    return StoredError(
        ts=f"{newest}Z",
        error_type=ErrorType.PRIVACY_REQUEST_PENDING,
        detail=f"{requests} of type {run_type} not done yet; the first is due by {due_at[:10]}.",
        source=source,
        occurrences=count,
    )


def _stored_error(row: tuple[Any, ...]) -> StoredError:
    _, ts, source, error_type, detail, index, event_id, event_type, user_id, request_id, n = row
    return StoredError(
        ts=f"{ts}Z",
        error_type=error_type,
        detail=detail,
        source=source or None,
        event_index=index,
        event_id=event_id,
        event_type=event_type,
        user_id=user_id,
        request_id=request_id,
        occurrences=n,
    )


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
