"""``python -m tests.simulators.measure_amplitude``: how fast the simulator takes ready-made bodies.

A bare aiohttp client posts bodies that were built before, several on their way; the simulator runs
in a process of its own and answers after 20 ms. The figure is also what a worker's forwarding is
compared with.
"""

import argparse
import asyncio
import gzip
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

import aiohttp
import orjson

from tests.support.amplitude import V2, running_simulator

KEY: Final = "measured"
FASTEST: Final = 1


def bodies(requests: int, size: int, users: int, *, is_gzip: bool) -> Sequence[bytes]:
    """Return uploads of events of 300 bytes, by that many users in turn."""

    def events(first: int) -> Iterator[dict[str, object]]:
        for n in range(first, first + size):
            yield {
                "event_type": "page_viewed",
                "user_id": f"user-{n % users}",
                "insert_id": f"4f1c2d1a-aaaa-bbbb-cccc-{n:012}",
                "time": 1_700_000_000_000 + n,
                "library": "sluice/1",
                "session_id": -1,
                "event_properties": {
                    "url": f"https://example.com/{n}",
                    "title": "Hello there",
                    "referrer": "https://example.org",
                    "n": n,
                    "price": 12.5,
                    "tags": ["a", "b"],
                },
            }

    made = []
    for first in range(0, requests * size, size):
        upload = {"api_key": KEY, "events": list(events(first)), "options": {"min_id_length": 1}}
        body = orjson.dumps(upload)
        made.append(gzip.compress(body, FASTEST) if is_gzip else body)
    return made


async def post_all(url: str, ready: Sequence[bytes], *, in_flight: int, is_gzip: bool) -> float:
    """Post all bodies and return the seconds it took."""
    headers = {"Content-Type": "application/json"}
    if is_gzip:
        headers["Content-Encoding"] = "gzip"
    waiting = iter(ready)

    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/_sim", data=b'{"eps_threshold":null}') as response:
            response.raise_for_status()

        async def lane() -> None:
            for body in waiting:
                async with session.post(url + V2, data=body, headers=headers) as response:
                    await response.read()
                    response.raise_for_status()

        started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(in_flight):
                tasks.create_task(lane())
        return time.perf_counter() - started


def main() -> None:
    """Measure once and say it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--events", type=int, default=1000, help="in a request")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--gzip", action="store_true")
    given = parser.parse_args()
    ready = bodies(given.requests, given.events, given.users, is_gzip=given.gzip)
    with running_simulator("--api-key", KEY, "--latency-ms", str(given.latency_ms)) as url:
        took_s = asyncio.run(post_all(url, ready, in_flight=given.in_flight, is_gzip=given.gzip))
    events = given.requests * given.events
    sys.stdout.write(f"{events:,} events in {took_s:.2f} s: {events / took_s:,.0f} events/s\n")


if __name__ == "__main__":
    main()
