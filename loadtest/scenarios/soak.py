"""A steady load for half an hour: does memory grow?"""

from loadtest.plan import Phase
from loadtest.scenario import Inputs, Load, Scenario, Step, warm_up
from loadtest.scenarios.mixed import shuffled


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent; the report has each process's memory and its slope."""
    requests, rate = shuffled(inputs), inputs.rate_or(1_000)
    phase = Phase(name="soak", seconds=inputs.seconds_or(1_800), rate=rate)
    return [warm_up(inputs, requests, rate), Load(inputs.plan(requests, phase))]


SCENARIO = Scenario(about="half an hour of steady load; memory and its slope", steps=steps)
