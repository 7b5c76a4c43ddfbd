"""Single events of three real logs, in the proportions that the whole logs have.

The logs (tests/data/README.md) have 39,244, 22,190 and 30,116 events; their sizes differ a hundred
times, so each log is a kind of its own in the report.
"""

from itertools import cycle, islice
from typing import Final

from loadtest.plan import Phase, Request, with_key
from loadtest.scenario import TRACK, Inputs, Load, Scenario, Step, warm_up

EVENTS: Final = {"wikiticker": 39_244, "online_retail": 22_190, "bay_area_bike_share": 30_116}
REQUESTS: Final = 2_000


def shuffled(inputs: Inputs) -> list[Request]:
    """Return requests in which each log has its share everywhere."""
    whole = sum(EVENTS.values())
    spread: list[tuple[float, Request]] = []
    for name, events in EVENTS.items():
        count = REQUESTS * events // whole
        lines = list(islice(cycle(inputs.logs[name]), count))
        requests = with_key(TRACK, lines, inputs.api_key, kind=name)
        spread += [((at + 0.5) / count, request) for at, request in enumerate(requests)]
    return [request for _, request in sorted(spread, key=lambda pair: pair[0])]


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent."""
    requests, rate = shuffled(inputs), inputs.rate_or(1_000)
    phase = Phase(name="mixed", seconds=inputs.seconds_or(30), rate=rate)
    return [warm_up(inputs, requests, rate), Load(inputs.plan(requests, phase))]


SCENARIO = Scenario(about="events of three real logs in their real proportions", steps=steps)
