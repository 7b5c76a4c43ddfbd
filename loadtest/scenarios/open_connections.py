"""10,000 connections that are open and silent, beside the usual load."""

from typing import Final

from loadtest.plan import Phase
from loadtest.scenario import Inputs, Load, Scenario, Step, warm_up

IDLE: Final = 10_000


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent, first without them, then with them."""
    seconds, rate = inputs.seconds_or(30) / 2, inputs.rate_or(500)
    requests = inputs.tracks()
    alone = Phase(name="without", seconds=seconds, rate=rate)
    beside = Phase(name="with", seconds=seconds, rate=rate)
    return [
        warm_up(inputs, requests),
        Load(inputs.plan(requests, alone)),
        Load(inputs.plan(requests, beside, idle_connections=IDLE)),
    ]


SCENARIO = Scenario(about="10,000 open connections, beside others", steps=steps)
