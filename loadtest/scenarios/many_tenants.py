"""10,000 tenants take turns: nothing may grow with their number but the tables of them."""

from itertools import cycle
from typing import Final

from loadtest.plan import with_key
from loadtest.scenario import TRACK, Inputs, Scenario, Step, ceiling_and_half

TENANTS: Final = 10_000


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent."""
    requests = [
        request
        for tenant, line in zip(inputs.tenants, cycle(inputs.lines), strict=False)
        for request in with_key(TRACK, [line], tenant.api_key)
    ]
    return ceiling_and_half(inputs, requests)


SCENARIO = Scenario(about="10,000 tenants take turns", steps=steps, tenants=TENANTS)
