"""One event a request: the ceiling in a closed loop, then latency at half of it in an open one."""

from loadtest.scenario import Inputs, Scenario, Step, ceiling_and_half


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent."""
    return ceiling_and_half(inputs, inputs.tracks())


SCENARIO = Scenario(about="one event a request: ceiling, then latency at half of it", steps=steps)
