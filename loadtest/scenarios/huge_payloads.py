"""Payloads from 200 bytes to 64 KB, one event a request: what does a byte cost?"""

from typing import Final

import orjson

from loadtest.plan import Phase, Request, with_key
from loadtest.scenario import TRACK, Inputs, Load, Scenario, Step, warm_up

BYTES: Final = (200, 4_000, 64_000)
VARIANTS: Final = 50
"""Different bodies of each size, so that they do not compress into one."""


def sized(inputs: Inputs, size: int) -> list[Request]:
    """Return events whose payload has about ``size`` bytes of real text."""
    text = b" ".join(inputs.logs["online_retail"]).decode()
    bodies = []
    for number in range(VARIANTS):
        start = number * 997 % max(1, len(text) - size)
        event = {
            "user_id": f"u-{number}",
            "event_type": "document_saved",
            "payload": {"text": text[start : start + size]},
        }
        bodies.append(orjson.dumps(event))
    return with_key(TRACK, bodies, inputs.api_key, kind=f"{size} bytes")


def steps(inputs: Inputs) -> list[Step]:
    """Return what is sent: a closed loop for each size."""
    seconds = inputs.seconds_or(30) / len(BYTES)
    loads = [sized(inputs, size) for size in BYTES]
    return [
        warm_up(inputs, loads[0], 0),
        *(
            Load(inputs.plan(requests, Phase(name=f"{size} bytes", seconds=seconds)))
            for size, requests in zip(BYTES, loads, strict=True)
        ),
    ]


SCENARIO = Scenario(about="payloads from 200 bytes to 64 KB", steps=steps, takes_rate=False)
