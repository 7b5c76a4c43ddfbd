"""``python -m loadtest.catch_up``: a worker that was away and its backlog. ``--write`` keeps it.

The scenario ``catch-up`` with all parts on all cores: the worker stops, ``--events`` are accepted,
the worker starts again while ``--rate`` events a second go on arriving. The rate counts from the
worker's ``ready`` until less than two seconds of arrivals wait. Arrivals go on for a time that was
set before, however soon the worker is through. Memory is resident; its growth is
the slope of the line through what was seen once a second, without the first quarter, in which
caches fill, with its standard error. At the end each accepted event has to be there once.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from loadtest import scenarios
from loadtest.bench import PERFORMANCE
from loadtest.options import Options
from loadtest.report import keep, measured_on, table
from loadtest.results import SLOPE_SAMPLES, Round, Sample, trend
from loadtest.run import run
from loadtest.scenarios.catch_up import ARRIVALS_PER_S, EVENTS

GOALS: Final = {"rate": "5 times what arrives", "worker": "200 MB, flat", "gateway": "120 MB, flat"}
PARTS: Final = ("worker", "gateway", "warehouse")


def growth(samples: Sequence[Sample], events_per_s: float) -> tuple[float, float] | None:
    """Return MB for a million events and the standard error; None of too few samples."""
    kept = samples[len(samples) // 4 :]
    if len(samples) < SLOPE_SAMPLES or not events_per_s:
        return None
    slope, error = trend([one.at for one in kept], [one.rss_mb for one in kept])
    return slope / events_per_s * 1e6, error / events_per_s * 1e6


def rows(seen: Round) -> list[list[str]]:
    """Return the lines of the table."""
    figures = {
        name.removeprefix("catch_up/"): value
        for name, value in seen.figures.items()
        if name.startswith("catch_up/")
    }
    rate = figures["events_per_s"]
    return [
        [
            f"backlog of {figures['backlog_events']:,.0f} events, "
            f"{rate / figures['over_arrivals']:,.0f} more a second",
            f"{rate:,.0f} events/s, {figures['took_s']:.0f} s: "
            f"{figures['over_arrivals']:.1f} times what arrives",
            GOALS["rate"],
        ],
        [
            f"each accepted event is there once, also those that arrived in "
            f"{figures['arrivals_s']:,.0f} s",
            f"{figures['visible_events']:,.0f} of {figures['accepted_events']:,.0f}",
            "all",
        ],
        *(_memory(part, seen.samples, figures) for part in PARTS),
        [
            "the queue's file, before and after",
            f"{figures['queue_file_mb']:,.0f} MB, {figures['queue_file_after_mb']:,.0f} MB",
            "",
        ],
    ]


def _memory(part: str, samples: Sequence[Sample], figures: Mapping[str, float]) -> list[str]:
    meanwhile = [
        one
        for one in samples
        if one.process == part and figures["began_at_s"] <= one.at <= figures["ended_at_s"]
    ]
    peak = max((one.rss_mb for one in meanwhile), default=0.0)
    grown = growth(meanwhile, figures["events_per_s"])
    said = "too short for a slope"
    if grown is not None:
        said = f"{grown[0]:+.2f} ± {grown[1]:.2f} MB for a million events"
    return [f"{part} meanwhile", f"{peak:.0f} MB at most; {said}", GOALS.get(part, "stated")]


def main() -> int:
    """Measure, print the table, and keep it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rate", type=float, default=ARRIVALS_PER_S, help="events a second")
    parser.add_argument("--write", action="store_true", help="keep it in docs/performance.md")
    given = parser.parse_args()
    options = Options(
        scenario="catch-up",
        events=given.events,
        rate=given.rate,
        server_cores=frozenset(os.sched_getaffinity(0)),
        generators=1,
    )
    [seen] = run(options, scenarios.load("catch-up")).rounds
    text = f"{measured_on()}\n{table(['what', 'figure', 'goal'], rows(seen))}"
    print(text)
    if given.write:
        keep(PERFORMANCE, text, mark="catch-up")
    return 0 if seen.figures["catch_up/over_arrivals"] >= 5 else 1


if __name__ == "__main__":
    sys.exit(main())
