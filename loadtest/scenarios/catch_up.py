"""The worker was away: a backlog of 10 million events, while new ones arrive."""

from typing import Final

from loadtest.plan import Phase
from loadtest.scenario import BATCH_EVENTS, CatchUp, Inputs, Load, Scenario, Step, Stop

EVENTS: Final = 10_000_000
FILL_WITHIN_S: Final = 3_600.0
ARRIVALS_PER_S: Final = 5_000.0
SLOW_PER_S: Final = 60_000
"""Arrivals go on until a worker that does so many a second is through; a faster one is through
before them."""


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent: ``--events`` of backlog, then ``--rate`` events a second."""
    batches = inputs.batches()
    events = inputs.events_or(EVENTS)
    fill = Phase(name="fill", seconds=FILL_WITHIN_S, count=events // BATCH_EVENTS)
    rate = inputs.rate_or(ARRIVALS_PER_S) / BATCH_EVENTS
    seconds = inputs.seconds_or(max(10, events // SLOW_PER_S))
    arrivals = Phase(name="arrivals", seconds=seconds, rate=rate)
    return [
        Stop("worker"),
        Load(inputs.plan(batches, fill, connections=8), is_measured=False),
        CatchUp("worker", inputs.plan(batches, arrivals)),
    ]


SCENARIO = Scenario(
    about="a backlog of 10 million events, while new ones arrive", steps=steps, needs_own=True
)
