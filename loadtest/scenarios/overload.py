"""Three times as much as the server can do: what it still does, and how fast it says no."""

from typing import Final

from loadtest.plan import Phase
from loadtest.scenario import Inputs, Load, Scenario, Step, warm_up

TIMES: Final = 3.0


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent: the ceiling, three times that, then half of it."""
    seconds = inputs.seconds_or(30) / 3
    requests = inputs.tracks()
    plan = inputs.plan(
        requests,
        Phase(name="ceiling", seconds=seconds),
        Phase(name="overload", seconds=seconds, share=TIMES),
        Phase(name="recovery", seconds=seconds, share=0.5),
        connections=1_024,
    )
    return [warm_up(inputs, requests), Load(plan)]


SCENARIO = Scenario(about="three times what the server can do, then half of it", steps=steps)
