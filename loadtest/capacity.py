"""How many of each part a load needs, and what they do: the model's shape, from measured figures.

Pure. The figures are those of sluice/cost/figures.py, the same that ``sluice cost`` reckons with.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final

from loadtest.queueing import ZONES, Outage, Outcome, Setting, Station, simulate
from sluice.cost.figures import MEASURED, Figures

MILLION: Final = 1e6
PENDING_BYTES: Final = 32 * 1024**2
"""``SLUICE_PENDING_MAX_BYTES`` of one gateway."""
STREAM_BYTES_PER_S: Final = 10e6
"""What one open stream of Pub/Sub delivers, by Google's quotas."""
GENERATOR_US: Final = 0.6
"""Processor time of the load generator for an event of a batch of 500 (docs/performance-pubsub.md),
which shares the machine of the real measurement."""
WARM_UP_S: Final = 20.0
USUAL_TIMES: Final = 2
"""A backlog of twice the most that there was before the loss is none."""
PARCEL_EVENTS: Final = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What arrives."""

    events_per_s: float
    batch_size: float = 1.0
    event_bytes: float = MEASURED.event_bytes


@dataclass(frozen=True, slots=True)
class Times:
    """Microseconds of one core for an event, part by part."""

    gateway: float
    worker: float
    warehouse: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many of each; one core each."""

    gateways: int
    workers: int
    warehouse_cores: int
    streams: int


def times_of(demand: Demand, figures: Figures = MEASURED) -> Times:
    """Return what an event costs each part."""
    more_kib = (demand.event_bytes - figures.event_bytes) / 1024
    request = figures.gateway_request_us / demand.batch_size
    return Times(
        request + max(0.0, figures.gateway_event_us + figures.gateway_kib_us * more_kib),
        max(0.0, figures.worker_event_us + figures.worker_kib_us * more_kib),
        max(0.0, figures.warehouse_event_us + figures.warehouse_kib_us * more_kib),
    )


def fleet_for(demand: Demand, *, utilisation: float, figures: Figures = MEASURED) -> Fleet:
    """Return how many of each keep below a utilisation; multiples of three, one part a zone.

    A worker makes one insert at a time and waits for it, so ClickHouse's time is its own as well.
    """
    times = times_of(demand, figures)

    def count(us: float) -> int:
        return ceil(demand.events_per_s * us / MILLION / utilisation / ZONES) * ZONES

    message_bytes = figures.next_event_bytes * demand.event_bytes / figures.event_bytes
    return Fleet(
        gateways=count(times.gateway),
        workers=count(times.worker + times.warehouse),
        warehouse_cores=count(times.warehouse),
        streams=ceil(demand.events_per_s * message_bytes / STREAM_BYTES_PER_S),
    )


def stations_of(
    demand: Demand, fleet: Fleet, figures: Figures = MEASURED
) -> tuple[Station, Station, Station]:
    """Return the stations of a fleet."""
    times = times_of(demand, figures)
    bound = fleet.gateways * PENDING_BYTES / demand.event_bytes
    return (
        Station(
            name="gateways", servers=fleet.gateways, event_us=times.gateway, bound_events=bound
        ),
        Station(name="workers", servers=fleet.workers, event_us=times.worker, keeps_server=True),
        Station(name="ClickHouse", servers=fleet.warehouse_cores, event_us=times.warehouse),
    )


@dataclass(frozen=True, slots=True)
class Limit:
    """What is full first, when more and more arrives."""

    name: str
    events_per_s: float


def first_bottleneck(demand: Demand, fleet: Fleet, figures: Figures = MEASURED) -> Limit:
    """Return the part that is full first, and at how many events a second."""
    times = times_of(demand, figures)
    limits = (
        Limit("gateways", fleet.gateways / times.gateway * MILLION),
        Limit("workers", fleet.workers / (times.worker + times.warehouse) * MILLION),
        Limit("ClickHouse", fleet.warehouse_cores / times.warehouse * MILLION),
    )
    return min(limits, key=lambda limit: limit.events_per_s)


@dataclass(frozen=True, slots=True)
class ZoneLoss:
    """What a lost zone did."""

    outcome: Outcome
    most_backlog: int
    """Events that were answered 202 and waited, at most; before the loss the usual few."""
    refused_share: float
    """Of what arrived while it was away."""
    caught_up_after_s: float | None
    """From the zone's return until the backlog was as small as before; None: not in the run."""


def zone_loss(
    demand: Demand,
    fleet: Fleet,
    *,
    away_s: float,
    after_s: float,
    parcel_events: int = PARCEL_EVENTS,
    seed: int = 1,
) -> ZoneLoss:
    """Simulate that a zone of three is lost for a time.

    Args:
        demand: What arrives, all the time, and is not sent again when refused.
        fleet: How many of each there are.
        away_s: How long the zone is away.
        after_s: How long is simulated after its return.
        parcel_events: How many events move together.
        seed: Of the arrivals.
    """
    back_s = WARM_UP_S + away_s
    outcome = simulate(
        Setting(
            stations=stations_of(demand, fleet),
            events_per_s=demand.events_per_s,
            parcel_events=parcel_events,
            seconds=back_s + after_s,
            seed=seed,
            outage=Outage(WARM_UP_S, back_s),
        )
    )
    usual = USUAL_TIMES * max(one.backlog for one in outcome.moments if one.at_s < WARM_UP_S)
    back = next(moment for moment in outcome.moments if moment.at_s >= back_s)
    gone = next(moment for moment in outcome.moments if moment.at_s >= WARM_UP_S)
    small = (one.at_s for one in outcome.moments if one.at_s >= back_s and one.backlog <= usual)
    caught = next((at_s - back_s for at_s in small), None)
    arrived = max(1, back.arrived - gone.arrived)
    return ZoneLoss(
        outcome,
        max(moment.backlog for moment in outcome.moments),
        (back.refused - gone.refused) / arrived,
        caught,
    )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of this machine with two cores."""

    name: str
    events_per_s: float
    event_us: float
    """Processor time of an event, all that share the machine together."""


def predictions(figures: Figures = MEASURED) -> list[Prediction]:
    """Return what three measurements on two cores should give: found by offering twice as much.

    Single events and batches: one gateway whose event loop has one core. The whole road: gateway,
    worker, ClickHouse and the load generator share two.
    """
    single = times_of(Demand(events_per_s=1, batch_size=1), figures)
    batch = times_of(Demand(events_per_s=1, batch_size=500), figures)
    road_us = batch.gateway + batch.worker + batch.warehouse + GENERATOR_US
    loop_us = batch.gateway * figures.gateway_loop_share
    return [
        Prediction("track, 64 connections, one core", _ceiling(1, single.gateway), single.gateway),
        Prediction("batches of 500, one event loop", _ceiling(1, loop_us), batch.gateway),
        Prediction("pipeline: sent until visible, two cores", _ceiling(2, road_us), road_us),
    ]


def _ceiling(cores: int, event_us: float) -> float:
    seconds = 20.0
    outcome = simulate(
        Setting(
            stations=(
                Station(name="cores", servers=cores, event_us=event_us, bound_events=100_000),
            ),
            events_per_s=2 * cores * MILLION / event_us,
            parcel_events=500,
            seconds=seconds,
        )
    )
    return outcome.answered / seconds
