"""10,000 connections that are open and silent, beside the usual load."""

from typing import Final

from loadtest.scenario import Inputs, Scenario, Step, beside

IDLE: Final = 10_000


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent, first without them, then with them."""
    return beside(inputs, idle_connections=IDLE)


SCENARIO = Scenario(about="10,000 open connections, beside others", steps=steps)
