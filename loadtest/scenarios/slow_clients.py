"""Clients that send their bodies in drops, beside the usual load: do the others feel them?"""

from typing import Final

from loadtest.plan import Slow
from loadtest.scenario import Inputs, Scenario, Step, beside

SLOW: Final = Slow(connections=500, chunk_bytes=16, pause_s=0.5, within_s=10.0)
"""A gateway gives a body ten seconds (``SLUICE_BODY_TIMEOUT_S``). What begins within as long also
ends one after the other."""


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent, first without them, then with them."""
    return beside(inputs, slow=SLOW)


SCENARIO = Scenario(about="500 clients that send in drops, beside others", steps=steps)
