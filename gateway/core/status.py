"""How the system is, as one tenant may see it: the answer of ``GET /api/ingestion/status``.

What is shared by all tenants (health, backlogs, the queue) is shown as it is; whose events wait at
a destination, and why, is the tenant's own alone.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec

Word = Literal["ok", "degraded", "error", "unknown"]
DestinationWord = Literal["ok", "waits", "degraded", "error", "unknown"]
"""As the worker says, and ``waits`` where it is ok but events of this tenant wait for it."""
BreakerWord = Literal["closed", "open", "half_open", "unknown"]
ConditionWord = Literal["ok", "degraded", "full", "unavailable"]
"""As the queue calls its condition."""

MAX_HEARTBEAT_AGE_S: Final = 30.0
MAX_BACKLOG_AGE_S: Final = 60.0
MAX_AGE_S: Final = 10**10
"""Some hundred years: no worker has seen anything that is older."""
MAX_COUNT: Final = 2**53 - 1
"""What every reader of JSON takes as it is written (RFC 8259, section 6)."""

Age = Annotated[float, msgspec.Meta(ge=0, le=MAX_AGE_S)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


class WorkerDestination(msgspec.Struct, frozen=True):
    """What the worker's ``/status`` says of one destination, as far as it is needed here."""

    backlog_age_s: Age = 0.0
    backlog_events: Count = 0
    breaker: BreakerWord = "closed"
    state: Word = "ok"
    detail: str = ""
    parked_events: Count = 0
    troubles: Sequence[str] = ()


class Freshness(msgspec.Struct, frozen=True):
    """Seconds from received to visible, of all events that became visible in the last minute."""

    p50: Age
    p99: Age


class WorkerStatus(msgspec.Struct, frozen=True):
    """What the worker's ``/status`` says, as far as it is needed here.

    Numbers that no worker can have are not shown to anybody: decoding refuses them.
    """

    heartbeat_age_s: Age
    destinations: Mapping[str, WorkerDestination] = {}
    freshness_s: Freshness | None = None


class Finding(msgspec.Struct, frozen=True):
    """What a probe found."""

    word: Word
    detail: str = ""
    """Why it is not ok, in a sentence that every tenant may read."""
    since: float | None = None
    """Unix seconds, where the part itself knows since when."""


class Counted(msgspec.Struct, frozen=True):
    """What the queue says of a subscription."""

    events: int
    oldest_age_s: float


class PartHealth(msgspec.Struct, frozen=True):
    """How one part is."""

    state: Word
    since: str
    """Since when it is so, as far as this gateway saw."""
    detail: str


class HealthReport(msgspec.Struct, frozen=True):
    """The three parts of health, each with since when and why."""

    pubsub_topic: PartHealth
    worker: PartHealth
    clickhouse: PartHealth


class DestinationView(msgspec.Struct, frozen=True, kw_only=True):
    """How one destination is doing."""

    name: str
    state: DestinationWord
    backlog_events: int | None
    """Of all tenants: a subscription is shared. None where it is not known."""
    oldest_age_s: float | None
    """How long the oldest of them waits; 0 where none does, None where it is not known."""
    breaker: BreakerWord
    parked_events: int
    """This tenant's events that wait on the worker's disk until the destination takes them."""
    detail: str
    """Why it is not ok; empty where it is."""
    troubles: Sequence[str] = ()
    """Why this tenant's parked events wait."""


class SpoolView(msgspec.Struct, frozen=True):
    """What waits on this gateway's disk for a queue that is away."""

    stored_bytes: int
    max_bytes: int
    oldest_age_s: float
    time_to_full_s: float | None
    """At the present rate; None while it does not grow."""
    is_in_use: bool


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the queue takes events, and how full it is."""

    condition: ConditionWord
    since: str
    detail: str
    stored_bytes: int
    max_bytes: int
    spool: SpoolView | None = None


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How the system is, for one tenant."""

    as_of: str
    tenant: str
    version: str
    health: HealthReport
    freshness_s: Freshness | None
    """None where nothing became visible in the last minute, or the worker does not answer."""
    destinations: Sequence[DestinationView]
    queue: QueueView | None
    """None where the queue does not say in time."""


def joined(statuses: Sequence[WorkerStatus]) -> WorkerStatus:
    """Return what several workers say as if one said it: the oldest heartbeat, all destinations.

    Of a destination that two of them feed, what the later one in the sequence says counts.
    Freshness is measured by the worker that feeds the warehouse.
    """
    destinations: dict[str, WorkerDestination] = {}
    for one in statuses:
        destinations.update(one.destinations)
    return WorkerStatus(
        heartbeat_age_s=max(one.heartbeat_age_s for one in statuses),
        destinations=destinations,
        freshness_s=next((one.freshness_s for one in statuses if one.freshness_s), None),
    )


def judge_worker(status: WorkerStatus) -> Finding:
    """Return how a worker is that answered."""
    if status.heartbeat_age_s >= MAX_HEARTBEAT_AGE_S:
        return Finding("error", _stuck(status))
    troubled = [
        f"{name}: {detail}"
        for name, one in status.destinations.items()
        if (detail := trouble_of(one)) or one.state != "ok"
    ]
    return Finding("degraded", " ".join(troubled)) if troubled else Finding("ok")


def trouble_of(one: WorkerDestination) -> str:
    """Return what is wrong with a destination, in a sentence for everybody; empty if nothing is.

    The worker's own words may name projects and paths, which are not every tenant's business.
    """
    if one.detail:
        return "The worker cannot read its queue; its log says why."
    if one.breaker == "open":
        return "It does not take events now; the worker tries again by itself."
    if one.backlog_age_s > MAX_BACKLOG_AGE_S:
        return f"The oldest event has waited for {one.backlog_age_s:.0f} s."
    return ""


def destinations_of(
    status: WorkerStatus | None, backlogs: Mapping[str, Counted | None]
) -> list[DestinationView]:
    """Return how the destinations are.

    Args:
        status: What the worker says to this tenant; None where it does not answer.
        backlogs: What the queue says of each destination that the worker does not tell of; None
            where it cannot know.
    """
    told = [] if status is None else [_known(*one, status) for one in status.destinations.items()]
    is_there = status is not None
    return [
        *told,
        *(_unknown(name, one, is_worker_there=is_there) for name, one in backlogs.items()),
    ]


def _known(name: str, one: WorkerDestination, status: WorkerStatus) -> DestinationView:
    is_stuck = status.heartbeat_age_s >= MAX_HEARTBEAT_AGE_S
    is_counted = not one.detail
    return DestinationView(
        name=name,
        state="error" if is_stuck else _state_of(one),
        backlog_events=one.backlog_events if is_counted else None,
        oldest_age_s=one.backlog_age_s if is_counted else None,
        breaker=one.breaker,
        parked_events=one.parked_events,
        detail=_stuck(status) if is_stuck else trouble_of(one),
        troubles=one.troubles,
    )


def _state_of(one: WorkerDestination) -> DestinationWord:
    """Return how a destination is to this tenant: well for others may mean waiting for this one."""
    is_waiting = one.parked_events > 0 or bool(one.troubles)
    return "waits" if one.state == "ok" and is_waiting else one.state


def _unknown(name: str, backlog: Counted | None, *, is_worker_there: bool) -> DestinationView:
    return DestinationView(
        name=name,
        state="unknown",
        backlog_events=None if backlog is None else backlog.events,
        oldest_age_s=None if backlog is None else round(backlog.oldest_age_s, 3),
        breaker="unknown",
        parked_events=0,
        detail=(
            "No worker at SLUICE_WORKER_URL that answers feeds it."
            if is_worker_there
            else "The worker does not answer."
        ),
    )


def iso(seconds: float) -> str:
    """Return unix seconds as a time of whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _stuck(status: WorkerStatus) -> str:
    return f"The worker has shown no sign of life for {status.heartbeat_age_s:.0f} s."
