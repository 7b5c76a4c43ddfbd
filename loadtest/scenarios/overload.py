"""Three times as much as the server can do: what it still does, and how fast it says no.

``track`` is nearly as cheap to accept as to refuse, so it shows what waiting costs; a batch costs
many times what its refusal does, so it shows that the rest is refused.
"""

from typing import Final

from loadtest.plan import Phase, Request
from loadtest.scenario import Inputs, Load, Scenario, Step, warm_up

TIMES: Final = 3.0
AT_ONCE: Final = {"track": 0, "batch": 32}
"""Connections of the closed loop that finds the ceiling; 0: all."""
CONNECTIONS: Final = {"track": 1_024, "batch": 256}
"""Of the open loop: so many requests may be at the server at once."""


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent, of each kind: the ceiling, three times that, then half of it."""
    seconds = inputs.seconds_or(60) / 6

    def overload(kind: str, requests: list[Request]) -> Step:
        phases = (
            Phase(name="ceiling", seconds=seconds, at_once=AT_ONCE[kind]),
            Phase(name="overload", seconds=seconds, share=TIMES),
            Phase(name="recovery", seconds=seconds, share=0.5),
        )
        return Load(inputs.plan(requests, *phases, connections=CONNECTIONS[kind]))

    tracks, batches = inputs.tracks(), inputs.batches()
    return [warm_up(inputs, tracks, 0), overload("track", tracks), overload("batch", batches)]


SCENARIO = Scenario(
    about="three times what the server can do, then half of it", steps=steps, takes_rate=False
)
