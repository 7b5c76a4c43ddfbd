"""A closed-loop HTTP load generator that is cheap enough not to be what is measured.

Every connection sends the next request as soon as the answer to the last one is there. Requests are
built once; answers are read by their Content-Length. ``python -m loadtest.driver`` prints one JSON
object. It talks to loopback only, and stops by itself.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import orjson
import uvloop


@dataclass(slots=True)
class Plan:
    """What the connections share: the requests, the end, and what was seen."""

    requests: Iterator[bytes]
    deadline: float
    left: int
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    broken: int = 0


class Connection(asyncio.Protocol):
    """One keep-alive connection in a closed loop."""

    def __init__(self, plan: Plan, done: asyncio.Event) -> None:
        self._plan = plan
        self._done = done
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass
        self._next()

    def data_received(self, data: bytes) -> None:
        """Count a whole answer, and send the next request."""
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        if head < 0:
            self._buffer = buffer
            return
        at = buffer.find(b"Content-Length: ", 0, head)
        length = int(buffer[at + 16 : buffer.find(b"\r\n", at)]) if at >= 0 else 0
        if len(buffer) < head + 4 + length:
            self._buffer = buffer
            return
        self._buffer = b""
        self._plan.latencies_s.append(time.perf_counter() - self._sent_at)
        self._plan.statuses[int(buffer[9:12])] += 1
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note a connection that the server closed before the plan was done."""
        if not self._done.is_set():
            self._plan.broken += 1
            self._done.set()

    def _next(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        if self._plan.left <= 0 or self._sent_at > self._plan.deadline:
            self._done.set()
            self._transport.close()
            return
        self._plan.left -= 1
        self._transport.write(next(self._plan.requests))


def build_request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return one HTTP/1.1 request as bytes."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


async def drive(
    url: str, requests: Sequence[bytes], *, connections: int, seconds: float, count: int
) -> dict[str, object]:
    """Run the closed loop until ``seconds`` are over or ``count`` requests were sent."""
    parts = urlsplit(url)
    port = parts.port or 80
    assert parts.hostname in {"127.0.0.1", "localhost"}, "loopback only"
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    plan = Plan(cycle(requests), start + seconds, count)
    ends = [asyncio.Event() for _ in range(connections)]
    for end in ends:
        await loop.create_connection(
            lambda end=end: Connection(plan, end),  # type: ignore[misc]  # bound per connection
            parts.hostname,
            port,
        )
    async with asyncio.timeout(seconds + 30):
        for end in ends:
            await end.wait()
    took = time.perf_counter() - start
    plan.latencies_s.sort()
    return {
        "requests": len(plan.latencies_s),
        "seconds": took,
        "requests_per_s": len(plan.latencies_s) / took,
        "statuses": {str(status): n for status, n in plan.statuses.items()},
        "broken_connections": plan.broken,
        "p50_ms": quantile(plan.latencies_s, 0.5) * 1e3,
        "p99_ms": quantile(plan.latencies_s, 0.99) * 1e3,
    }


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the ordered values lie; 0 of none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def main() -> None:
    """Read the plan from the command line, print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--bodies", type=Path, required=True, help="one JSON body a line")
    parser.add_argument("--headers", type=Path, help="for each body an object of more headers")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--count", type=int, default=1_000_000_000)
    options = parser.parse_args()
    path = urlsplit(options.url).path
    headers = {"Authorization": f"ApiKey {options.api_key}"}
    bodies = options.bodies.read_bytes().splitlines()
    lines = options.headers.read_bytes().splitlines() if options.headers else [b"{}"] * len(bodies)
    requests = [
        build_request(path, body, headers | orjson.loads(more))
        for body, more in zip(bodies, lines, strict=True)
    ]
    result = uvloop.run(
        drive(
            options.url,
            requests,
            connections=options.connections,
            seconds=options.seconds,
            count=options.count,
        )
    )
    sys.stdout.buffer.write(orjson.dumps(result) + b"\n")


if __name__ == "__main__":
    main()
