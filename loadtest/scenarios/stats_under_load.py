"""Stats while nothing arrives, then while batches arrive: do readers feel writers?"""

from typing import Final

from loadtest.plan import Phase
from loadtest.scenario import BATCH_EVENTS, Inputs, Load, Scenario, Settle, Step, warm_up

EVENTS: Final = 1_000_000
READS_PER_S: Final = 20.0
READS_PER_BATCH: Final = 1


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent; ``--events`` are stored first, ``--rate`` are batches a second."""
    seconds, rate = inputs.seconds_or(30) / 2, inputs.rate_or(READS_PER_S)
    reads, batches = inputs.reads(), inputs.batches()
    fill = Phase(name="fill", seconds=600, count=inputs.events_or(EVENTS) // BATCH_EVENTS)
    alone = Phase(name="alone", seconds=seconds, rate=rate)
    both = Phase(name="under load", seconds=seconds, rate=rate * (1 + READS_PER_BATCH))
    return [
        Load(inputs.plan(batches, fill, connections=8), is_measured=False),
        Settle(),
        warm_up(inputs, reads, rate),
        Load(inputs.plan(reads, alone)),
        Load(inputs.plan(reads * READS_PER_BATCH + batches, both)),
    ]


SCENARIO = Scenario(about="stats alone, then while batches arrive", steps=steps, needs_token=True)
