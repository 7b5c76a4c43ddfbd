"""Event segmentation: ``GET /api/2/events/segmentation`` over the events that a project took.

Metrics: ``uniques``, ``totals``, ``average``, ``pct_dau``, ``sums`` and ``value_avg`` (of the first
``group_by``, or of the revenue). ``histogram``, ``formula`` and the rolling windows are refused.
User properties are those of now, not of the time of the event.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from tests.simulators.amplitude.answers import Answer, json_answer, refused
from tests.simulators.amplitude.rest import read_day, start_of
from tests.simulators.amplitude.rules import GROUP_IDENTIFY, IDENTIFY
from tests.simulators.amplitude.store import Store

T = TypeVar("T")
METRICS: Final = frozenset({"uniques", "totals", "average", "pct_dau", "sums", "value_avg"})
LONGEST_DAYS: Final = {-300_000: 2, -3_600_000: 7, 1: 365, 7: 3650, 30: 3650}
"""By interval."""
ANY_EVENT: Final = frozenset({"_all", "_active"})
REVENUE_EVENTS: Final = frozenset({"revenue_amount", "verified_revenue", "unverified_revenue"})
NOT_EVENTS: Final = frozenset({IDENTIFY, GROUP_IDENTIFY})
GROUP_COST: Final = 4
MAX_LIMIT: Final = 1000
NONE: Final = "(none)"
COHORT: Final = "userdata_cohort"


class Filter(msgspec.Struct):
    """One condition on an event or its user."""

    subprop_type: str
    subprop_key: str
    subprop_op: str
    subprop_value: list[Any]


class GroupBy(msgspec.Struct):
    """One property that splits the result."""

    type: str
    value: str


class Event(msgspec.Struct):
    """Which events are counted."""

    event_type: str
    filters: list[Filter] = msgspec.field(default_factory=list)
    group_by: list[GroupBy] = msgspec.field(default_factory=list)


class Segment(msgspec.Struct):
    """One condition on users."""

    prop: str
    op: str
    values: list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question that can be answered."""

    events: Sequence[Event]
    start: date
    end: date
    metric: str
    interval: int
    segments: Sequence[Segment]
    group_user_by: Sequence[str]
    limit: int

    @property
    def cost(self) -> int:
        """Days x conditions x events (and 4 for each group-by)."""
        days = (self.end - self.start).days + 1
        conditions = max(len(self.segments), 1) + GROUP_COST * len(self.group_user_by)
        events = sum(1 + GROUP_COST * len(event.group_by) for event in self.events)
        return days * conditions * events


Members = Callable[[str], frozenset[str]]
"""The users of a cohort, by its id."""


def read_query(given: Mapping[str, str]) -> Query | Answer:
    """Return the question in a query string, or what refuses it."""
    try:
        events = [_decode(given["e"], Event)]
        if "e2" in given:
            events.append(_decode(given["e2"], Event))
        segments = _decode(given.get("s", "[]"), list[Segment])
        interval, limit = int(given.get("i", "1")), int(given.get("limit", "100"))
    except (KeyError, ValueError) as error:
        return refused(400, f"Invalid parameter: {error}")
    start, end = (read_day(given.get(name), "%Y%m%d") for name in ("start", "end"))
    metric = given.get("m", "uniques")
    operators = [one.subprop_op for event in events for one in event.filters]
    operators += [one.op for one in segments if one.prop != COHORT]
    if start is None or end is None or end < start:
        return refused(400, "start and end must be days (YYYYMMDD), the first not after the last")
    if interval not in LONGEST_DAYS or (end - start).days + 1 > LONGEST_DAYS[interval]:
        return refused(400, "Invalid interval for this range of days")
    if metric not in METRICS or not set(operators) <= OPERATORS.keys():
        return refused(400, "Invalid metric or operator")
    if not 1 <= limit <= MAX_LIMIT or any(len(event.group_by) > 2 for event in events):
        return refused(400, "Invalid limit, or more than two properties to group by")
    return Query(
        events=events,
        start=start,
        end=end,
        metric=metric,
        interval=interval,
        segments=segments,
        group_user_by=[given[name] for name in ("g", "g2") if name in given],
        limit=limit,
    )


def _decode(text: str, form: type[T]) -> T:
    return msgspec.json.decode(text, type=form)


class Tally:
    """Counts events, part after part, so that others are served in between."""

    def __init__(self, query: Query, store: Store, members: Members) -> None:
        """Prepare to count; ``members`` knows the users of a cohort."""
        self._query = query
        self._store = store
        self._members = members
        self._starts = _bucket_starts(query)
        self._first_ms = int(start_of(query.start) * 1000)
        self._end_ms = int(start_of(query.end + timedelta(days=1)) * 1000)
        self._buckets: dict[int, int] = {}
        self._found: dict[tuple[int, tuple[str, ...]], dict[int, list[tuple[str, float]]]] = (
            defaultdict(lambda: defaultdict(list))
        )
        self._active: dict[int, set[str]] = defaultdict(set)

    def add(self, first: int, end: int) -> None:
        """Count the events at these places."""
        store = self._store
        for place in range(first, end):
            time_ms = store.times_ms[place]
            if not self._first_ms <= time_ms < self._end_ms or place in store.gone:
                continue
            kind = store.types[place]
            user = store.users[place] or store.devices[place] or ""
            if kind in NOT_EVENTS or not self._is_in_segment(user):
                continue
            bucket = self._bucket(time_ms)
            self._active[bucket].add(user)
            for number, event in enumerate(self._query.events):
                if self._is_meant(event, kind, place) and self._passes(event, place, user):
                    found = self._found[number, self._group(event, place, user)]
                    found[bucket].append((user, self._value(event, place)))

    def answer(self) -> Answer:
        """Return the result."""
        groups = sorted(self._found.items(), key=lambda one: -_size(one[1]))[: self._query.limit]
        if not any(event.group_by for event in self._query.events) and not self._groups_users:
            groups = [
                ((number, ()), self._found.get((number, ()), {}))
                for number in range(len(self._query.events))
            ]
        buckets = range(len(self._starts))
        everything = [[one for part in found.values() for one in part] for _, found in groups]
        all_active = set().union(*self._active.values()) if self._active else set()
        return json_answer(
            200,
            {
                "data": {
                    "series": [
                        [self._measure(found.get(at, []), self._active[at]) for at in buckets]
                        for _, found in groups
                    ],
                    "seriesLabels": [
                        [number, "; ".join(group)] if group else number
                        for (number, group), _ in groups
                    ],
                    "seriesCollapsed": [
                        [{"value": self._measure(found, all_active)}] for found in everything
                    ],
                    "xValues": self._labels(),
                }
            },
        )

    @property
    def _groups_users(self) -> bool:
        return bool(self._query.group_user_by)

    def _measure(self, found: Sequence[tuple[str, float]], active: set[str]) -> float:
        users = len({user for user, _ in found})
        total = sum(value for _, value in found)
        match self._query.metric:
            case "uniques":
                return users
            case "average":
                return len(found) / users if users else 0
            case "pct_dau":
                return 100 * users / len(active) if active else 0
            case "value_avg":
                return total / len(found) if found else 0
            case "sums":
                return total
            case _:
                is_revenue = self._query.events[0].event_type in REVENUE_EVENTS
                return total if is_revenue else len(found)

    def _labels(self) -> list[str]:
        form = "%Y-%m-%d" if self._query.interval > 0 else "%Y-%m-%dT%H:%M:%S"
        return [one.strftime(form) for one in self._starts]

    def _bucket(self, time_ms: int) -> int:
        interval = self._query.interval
        if interval in {1, 7}:
            return (time_ms - self._first_ms) // (86_400_000 * interval)
        if interval < 0:
            return (time_ms - self._first_ms) // -interval
        at = datetime.fromtimestamp(time_ms / 1000, UTC)
        first = self._query.start
        return (at.year - first.year) * 12 + at.month - first.month

    def _is_meant(self, event: Event, kind: str, place: int) -> bool:
        name = event.event_type.removeprefix("ce:")
        if name in REVENUE_EVENTS:
            return place in self._store.revenue
        return name in ANY_EVENT or name == kind

    def _passes(self, event: Event, place: int, user: str) -> bool:
        return all(
            OPERATORS[one.subprop_op](
                self._property(one.subprop_type, one.subprop_key, place, user), one.subprop_value
            )
            for one in event.filters
        )

    def _property(self, kind: str, name: str, place: int, user: str) -> Any:
        if kind == "user":
            return self._user_property(name, user)
        return self._store.event_properties(place).get(name)

    def _user_property(self, name: str, user: str) -> Any:
        if name == "user_id":
            return user
        return self._store.user_properties.get(user, {}).get(name.removeprefix("gp:"))

    def _is_in_segment(self, user: str) -> bool:
        for one in self._query.segments:
            if one.prop == COHORT:
                is_member = any(user in self._members(str(cohort)) for cohort in one.values)
                if is_member != (one.op != "is not"):
                    return False
            elif not OPERATORS[one.op](self._user_property(one.prop, user), one.values):
                return False
        return True

    def _group(self, event: Event, place: int, user: str) -> tuple[str, ...]:
        values = [self._property(one.type, one.value, place, user) for one in event.group_by]
        values += [self._user_property(name, user) for name in self._query.group_user_by]
        return tuple(NONE if value is None else _text(value) for value in values)

    def _value(self, event: Event, place: int) -> float:
        if self._query.metric not in {"sums", "value_avg"} or not event.group_by:
            return self._store.revenue.get(place, 0.0)
        value = self._store.event_properties(place).get(event.group_by[0].value)
        return value if isinstance(value, int | float) else 0.0


def _size(found: Mapping[int, Sequence[object]]) -> int:
    return sum(map(len, found.values()))


def _bucket_starts(query: Query) -> list[datetime]:
    at = datetime(query.start.year, query.start.month, query.start.day, tzinfo=UTC)
    end = datetime(query.end.year, query.end.month, query.end.day, tzinfo=UTC) + timedelta(days=1)
    starts = []
    while at < end:
        starts.append(at)
        if query.interval == 30:
            at = (at.replace(day=1) + timedelta(days=32)).replace(day=1)
        elif query.interval > 0:
            at += timedelta(days=query.interval)
        else:
            at += timedelta(milliseconds=-query.interval)
    return starts


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _is(value: Any, wanted: Sequence[Any]) -> bool:
    return (NONE if value is None else _text(value)) in {_text(one) for one in wanted}


def _contains(value: Any, wanted: Sequence[Any]) -> bool:
    return value is not None and any(_text(one) in _text(value) for one in wanted)


def _compares(value: Any, wanted: Sequence[Any], is_so: Callable[[float, float], bool]) -> bool:
    try:
        return any(is_so(float(value), float(one)) for one in wanted)
    except (TypeError, ValueError):
        return False


OPERATORS: Final[Mapping[str, Callable[[Any, Sequence[Any]], bool]]] = {
    "is": _is,
    "is not": lambda value, wanted: not _is(value, wanted),
    "contains": _contains,
    "does not contain": lambda value, wanted: not _contains(value, wanted),
    "less": lambda value, wanted: _compares(value, wanted, lambda a, b: a < b),
    "less or equal": lambda value, wanted: _compares(value, wanted, lambda a, b: a <= b),
    "greater": lambda value, wanted: _compares(value, wanted, lambda a, b: a > b),
    "greater or equal": lambda value, wanted: _compares(value, wanted, lambda a, b: a >= b),
}
