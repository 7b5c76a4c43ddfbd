"""Clients that send their bodies in drops, beside the usual load: do the others feel them?"""

from typing import Final

from loadtest.plan import Phase, Slow
from loadtest.scenario import Inputs, Load, Scenario, Step, warm_up

SLOW: Final = Slow(connections=500, chunk_bytes=16, pause_s=0.5)


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent, first without them, then with them."""
    seconds, rate = inputs.seconds_or(30) / 2, inputs.rate_or(500)
    requests = inputs.tracks()
    alone = Phase(name="without", seconds=seconds, rate=rate)
    beside = Phase(name="with", seconds=seconds, rate=rate)
    return [
        warm_up(inputs, requests),
        Load(inputs.plan(requests, alone)),
        Load(inputs.plan(requests, beside, slow=SLOW)),
    ]


SCENARIO = Scenario(about="500 clients that send in drops, beside others", steps=steps)
