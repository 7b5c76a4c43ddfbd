"""Ten times the usual rate for ten seconds, and the time after it."""

from typing import Final

from loadtest.plan import Phase
from loadtest.scenario import Inputs, Load, Scenario, Step, warm_up

TIMES: Final = 10
BURST_S: Final = 10.0


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent; ``--seconds`` is the time before and after, ``--rate`` the usual one."""
    rate, seconds = inputs.rate_or(300), inputs.seconds_or(10)
    requests = inputs.tracks()
    plan = inputs.plan(
        requests,
        Phase(name="before", seconds=seconds, rate=rate),
        Phase(name="burst", seconds=BURST_S, rate=rate * TIMES),
        Phase(name="after", seconds=seconds, rate=rate),
        connections=256,
    )
    return [warm_up(inputs, requests, rate), Load(plan)]


SCENARIO = Scenario(
    about="ten times the usual rate for ten seconds, and what comes after", steps=steps
)
