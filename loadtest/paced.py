"""An open-loop HTTP load generator: so many requests a second, whatever the answers.

A request counts from when it was due, not from when a connection was free for it, so a server that
stalls is seen to stall. ``python -m loadtest.paced`` prints one JSON object. It talks to loopback
only, and stops by itself.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import uvloop

from loadtest.driver import build_request, quantile


@dataclass(slots=True)
class Seen:
    """What the answers were."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    without_retry_after: int = 0
    """Answers 429 and 503 that do not say when to come back."""


async def pace(
    url: str, requests: Sequence[bytes], *, per_second: float, seconds: float, connections: int
) -> Seen:
    """Send at a fixed rate and return what was seen."""
    parts = urlsplit(url)
    assert parts.hostname in {"127.0.0.1", "localhost"}, "loopback only"
    seen = Seen()
    start = time.perf_counter() + 0.1
    total = int(per_second * seconds)
    numbers = iter(zip(range(total), cycle(requests), strict=False))

    async def send() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        for number, request in numbers:
            due = start + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
            status = int(head[9:12])
            seen.latencies_s.append(time.perf_counter() - due)
            seen.statuses[status] += 1
            if status in {429, 503} and b"\r\nRetry-After: " not in head:
                seen.without_retry_after += 1
        writer.close()

    async with asyncio.timeout(seconds + 30), asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(send())
    return seen


def _length(head: bytes) -> int:
    at = head.find(b"Content-Length: ")
    return int(head[at + 16 : head.find(b"\r\n", at)]) if at >= 0 else 0


def main() -> None:
    """Read the plan from the command line, print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--bodies", type=Path, required=True, help="one JSON body a line")
    parser.add_argument("--per-second", type=float, required=True)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    headers = {"Authorization": f"ApiKey {options.api_key}"}
    path = urlsplit(options.url).path
    lines = options.bodies.read_bytes().splitlines()
    seen = uvloop.run(
        pace(
            options.url,
            [build_request(path, line, headers) for line in lines],
            per_second=options.per_second,
            seconds=options.seconds,
            connections=options.connections,
        )
    )
    seen.latencies_s.sort()
    result = {
        "statuses": {str(status): n for status, n in sorted(seen.statuses.items())},
        "without_retry_after": seen.without_retry_after,
        "p50_ms": quantile(seen.latencies_s, 0.5) * 1e3,
        "p99_ms": quantile(seen.latencies_s, 0.99) * 1e3,
    }
    sys.stdout.buffer.write(orjson.dumps(result) + b"\n")


if __name__ == "__main__":
    main()
