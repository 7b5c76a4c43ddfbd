"""``python -m loadtest.simulate``: how many of each part a load needs, and what a lost zone does.

Without ``--check`` it only reckons, from the figures of sluice/cost/figures.py. With it three
things are measured on this machine for some seconds, beside what the model says of them: events a
second, and the processor time of an event. The first also depends on what others leave of the
machine; the second hardly, so it decides.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.bench import Bodies, make_bodies, sent_until_visible
from loadtest.broker_rig import (
    BATCH_EVENTS,
    add_tenant,
    parts_environment,
    running_parts,
    url_of,
    used_by,
)
from loadtest.capacity import (
    Demand,
    Prediction,
    first_bottleneck,
    fleet_for,
    predictions,
    times_of,
    zone_loss,
)
from loadtest.processes import LOAD_CORE, SERVER_CORE, drive, pin
from loadtest.report import keep, measured_on, say, table

PAGE: Final = Path(__file__).parent.parent / "docs/capacity.md"
RATES: Final = (10_000.0, 100_000.0, 1_000_000.0)
BATCHES: Final = (1.0, 50.0, 500.0)
UTILISATIONS: Final = (0.5, 0.65, 0.8)
USUAL: Final = 0.5
AWAY_S: Final = 120.0
AFTER_S: Final = 120.0
TOLERANCE: Final = 0.35
"""How far the model may be from one short measurement: the machine's own speed moves by a third."""
CHECK_S: Final = 4.0
CHECK_EVENTS: Final = 200_000


def sizes_table(rates: Sequence[float]) -> str:
    """Return how many of each part loads need, half used."""
    rows = []
    for rate in rates:
        for batch in BATCHES:
            demand = Demand(events_per_s=rate, batch_size=batch)
            fleet = fleet_for(demand, utilisation=USUAL)
            limit = first_bottleneck(demand, fleet)
            rows.append(
                [
                    f"{rate:,.0f}",
                    f"{batch:,.0f}",
                    *(f"{count:,}" for count in (
                        fleet.gateways, fleet.workers, fleet.warehouse_cores, fleet.streams
                    )),
                    f"{limit.name}, at {limit.events_per_s:,.0f}",
                ]
            )  # fmt: skip
    return table(
        [
            "events/s", "events a request", "gateways", "workers", "ClickHouse cores",
            "streams of Pub/Sub", "full first, at events/s",
        ],
        rows,
    )  # fmt: skip


def cores_table() -> str:
    """Return what one core of each part does."""
    rows = []
    for batch in BATCHES:
        times = times_of(Demand(events_per_s=1, batch_size=batch))
        each = (times.gateway, times.worker + times.warehouse, times.warehouse)
        rows.append([f"{batch:,.0f}", *(f"{1e6 / us:,.0f}" for us in each)])
    return table(
        ["events a request", "a gateway, events/s", "a worker with its insert", "ClickHouse"], rows
    )


def loss_table(rate: float) -> str:
    """Return what the loss of a zone does at several utilisations."""
    rows = []
    for batch in BATCHES:
        for utilisation in UTILISATIONS:
            demand = Demand(events_per_s=rate, batch_size=batch)
            fleet = fleet_for(demand, utilisation=utilisation)
            loss = zone_loss(demand, fleet, away_s=AWAY_S, after_s=AFTER_S)
            caught = loss.caught_up_after_s
            rows.append(
                [
                    f"{batch:,.0f}",
                    f"{utilisation:.2f}",
                    f"{fleet.gateways} + {fleet.workers} + {fleet.warehouse_cores}",
                    f"{loss.outcome.unanswered:,}",
                    f"{loss.refused_share:.1%}",
                    f"{loss.most_backlog:,}",
                    "not within the run" if caught is None else f"{caught:.0f} s",
                ]
            )
    return table(
        [
            "events a request", "used before", "gateways + workers + cores",
            "without an answer, at most", "503 while it was away", "most backlog",
            "caught up after",
        ],
        rows,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """One measurement on this machine."""

    events_per_s: float
    event_us: float
    """Processor time of an event, of the processes that ``predictions`` counts."""


def measure(folder: Path, bodies: Bodies) -> list[Seen]:
    """Measure what ``predictions`` predicts, in the same order, once."""
    log = folder / "parts.log"
    env = parts_environment(folder / "sluice")
    key = add_tenant(env, "load")
    seen: list[Seen] = []
    with running_parts(["gateway"], env, log=log) as edge:

        def load(path: str, body: Path, connections: int, events: int) -> Seen:
            answered, used = used_by(
                edge,
                lambda: drive(
                    url_of(env) + path, key, body, cores={LOAD_CORE}, connections=connections,
                    seconds=CHECK_S,
                ),
            )  # fmt: skip
            sent = answered["requests"] * events
            return Seen(answered["requests_per_s"] * events, used["gateway"] / sent * 1e6)

        pin(edge["gateway"], {SERVER_CORE})
        say("check: single events")
        seen.append(load("", bodies.single, 64, 1))
        pin(edge["gateway"], set(range(os.cpu_count() or 1)))
        say("check: batches")
        seen.append(load("/batch", bodies.batch, 32, BATCH_EVENTS))
    home = folder / "road"
    env = parts_environment(home)
    key = add_tenant(env, "road")
    with (
        running_parts(["warehouse"], env, log=log) as store,
        running_parts(["worker", "gateway"], env, log=log) as others,
    ):
        say("check: the whole road")
        road = sent_until_visible(url_of(env), key, home, "road", bodies.batch, CHECK_EVENTS)
        rate, used = used_by({**store, **others}, lambda: asyncio.run(road))
        seen.append(Seen(rate, sum(used.values()) / CHECK_EVENTS * 1e6))
    return seen


def check_table(model: Sequence[Prediction], measured: Sequence[Seen]) -> str:
    """Return model and measurement beside each other."""
    rows = [
        [
            one.name,
            f"{one.events_per_s:,.0f}",
            f"{seen.events_per_s:,.0f}",
            f"{one.event_us:.1f}",
            f"{seen.event_us:.1f}",
            f"{seen.event_us / one.event_us:.2f}",
        ]
        for one, seen in zip(model, measured, strict=True)
    ]
    return table(
        [
            "on this machine", "model, events/s", "measured", "model, µs of a core an event",
            "measured", "ratio",
        ],
        rows,
    )  # fmt: skip


def agrees(model: Sequence[Prediction], measured: Sequence[Seen]) -> bool:
    """Whether the processor time of every measurement is within the tolerance of the model's."""
    return all(
        abs(seen.event_us / one.event_us - 1) <= TOLERANCE
        for one, seen in zip(model, measured, strict=True)
    )


def main() -> int:
    """Print the tables; with ``--check`` return 1 where model and measurement do not agree."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.simulate", description=__doc__)
    parser.add_argument("--events-per-s", type=float, default=RATES[-1])
    parser.add_argument("--check", action="store_true", help="measure on this machine, too")
    parser.add_argument("--write", action="store_true", help="keep it in docs/capacity.md")
    options = parser.parse_args()
    if options.check:
        with tempfile.TemporaryDirectory(prefix="sluice-capacity-") as name:
            seen = measure(Path(name), make_bodies(Path(name)))
        model = predictions()
        print(f"{measured_on()}\n{check_table(model, seen)}")
        return 0 if agrees(model, seen) else 1
    rates = RATES if options.write else (options.events_per_s,)
    text = "\n".join(
        [
            cores_table(),
            sizes_table(rates),
            f"A zone of three lost for {AWAY_S:.0f} s at {rates[-1]:,.0f} events/s:\n",
            loss_table(rates[-1]),
        ]
    )
    print(text)
    if options.write:
        keep(PAGE, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
