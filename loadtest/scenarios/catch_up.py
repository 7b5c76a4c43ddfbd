"""The worker was away: a backlog of 10 million events, while new ones arrive."""

from typing import Final

from loadtest.plan import Phase
from loadtest.scenario import BATCH_EVENTS, CatchUp, Inputs, Load, Scenario, Step, Stop

EVENTS: Final = 10_000_000
FILL_WITHIN_S: Final = 3_600.0
ARRIVALS_PER_S: Final = 5_000.0


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent: ``--events`` of backlog, then ``--rate`` events a second."""
    batches = inputs.batches()
    count = inputs.events_or(EVENTS) // BATCH_EVENTS
    fill = Phase(name="fill", seconds=FILL_WITHIN_S, count=count)
    rate = inputs.rate_or(ARRIVALS_PER_S) / BATCH_EVENTS
    arrivals = Phase(name="arrivals", seconds=inputs.seconds_or(60), rate=rate)
    return [
        Stop("worker"),
        Load(inputs.plan(batches, fill, connections=8), is_measured=False),
        CatchUp("worker", inputs.plan(batches, arrivals)),
    ]


SCENARIO = Scenario(
    about="a backlog of 10 million events, while new ones arrive", steps=steps, needs_own=True
)
