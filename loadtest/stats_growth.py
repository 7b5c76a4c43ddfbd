"""``python -m loadtest.stats_growth``: do stats grow with what is stored, or with what arrives?

``sluice run`` with two tenants: one has 1 million events, the other 20 million, of 12 types and
50,000 users over seven days, a quarter of them in the present hour. Both are asked for stats in
turn, first while nothing arrives, then while batches arrive for the larger one in a closed loop, as
fast as they are taken. ``--write`` keeps the table. Exit status 1: a goal was missed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from loadtest.bench import warehouse_url
from loadtest.broker_rig import QUEUE_MAX_BYTES, read_events
from loadtest.latencies import quantile
from loadtest.plan import Phase, Plan
from loadtest.processes import (
    Generator,
    children,
    command,
    cpu_s,
    free_port,
    requests_of,
    running,
)
from loadtest.report import keep, measured_on, say, table
from loadtest.rig import ask
from loadtest.run_list import EVERY_S

PERFORMANCE: Final = Path(__file__).parent.parent / "docs/performance.md"
TENANTS: Final = ("small", "large")
WINDOWS: Final = ("24h", "7d")
EVENTS: Final = (1_000_000, 20_000_000)
TYPES: Final = 12
USERS: Final = 50_000
HOURS: Final = 144
"""The hours before the present one that hold events."""
HOT_SHARE: Final = 4
"""One of so many events is in the present hour."""
AT_ONCE: Final = 1_000_000
CONNECTIONS: Final = 8
GOAL_MS: Final = 30.0
GOAL_GROWTH: Final = 1.5
GOAL_LOAD: Final = 2.0
ROLLED_UP_WITHIN_S: Final = 180.0
MAX_LOAD_S: Final = 240.0

FILL: Final = """
INSERT INTO events
    (tenant, event_id, user_id, event_type, occurred_at, received_at, source, payload)
SELECT '{tenant}', generateUUIDv4(), concat('user-', toString(rand(1) % {users})),
    concat('type_', toString(rand(2) % {types})), now64(9), {at}, 'batch',
    concat('{{"page":"/products/', toString(rand(3) % 5000), '","total":', toString(rand(4)), '}}')
FROM numbers({first}, {count})
SETTINGS max_insert_block_size = 100000, max_threads = 1
"""
BEFORE: Final = "toStartOfHour(now64(6)) - toIntervalSecond(1 + number % ({hours} * 3600))"
NOW: Final = (
    "toStartOfHour(now64(6)) + toIntervalMicrosecond(number % greatest(1,"
    " dateDiff('microsecond', toStartOfHour(now64(6)), now64(6))))"
)
TOUCH: Final = """
INSERT INTO touched_hours (tenant, hour)
SELECT DISTINCT tenant, toStartOfHour(received_at) FROM events
"""
STALE: Final = """
SELECT count() FROM (
    SELECT tenant, hour, max(touched_at) AS at FROM touched_hours GROUP BY tenant, hour
) AS touched
LEFT JOIN (
    SELECT tenant, start, max(computed_at) AS at FROM rollup_spans WHERE span_s = 3600
    GROUP BY tenant, start
) AS computed ON touched.tenant = computed.tenant AND touched.hour = computed.start
WHERE touched.at >= computed.at
"""
STORED: Final = "SELECT count() FROM events"
READ: Final = "SELECT value FROM system.events WHERE event = 'SelectedRows'"


@dataclass(slots=True)
class Asked:
    """What the answers to one question took."""

    times_ms: list[float] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)
    """How long before the answer ``as_of`` was."""
    events: int = 0

    def p(self, share: float) -> float:
        """Return a quantile of the times."""
        return quantile(sorted(self.times_ms), share)


class Reader:
    """A dashboard that holds a connection and asks as often as a tenant may."""

    def __init__(self, url: str, tokens: dict[str, str]) -> None:
        parts = urlsplit(url)
        self._connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._tokens = tokens
        self._next_at = dict.fromkeys(tokens, 0.0)

    def ask(self, tenant: str, window: str, into: Asked) -> None:
        """Ask once and note the time.

        Raises:
            RuntimeError: The answer was not 200.
        """
        time.sleep(max(0.0, self._next_at[tenant] - time.monotonic()))
        self._next_at[tenant] = time.monotonic() + EVERY_S
        headers = {"Authorization": f"Bearer {self._tokens[tenant]}"}
        began = time.perf_counter()
        self._connection.request("GET", f"/api/ingestion/stats?window={window}", headers=headers)
        answer = self._connection.getresponse()
        body = answer.read()
        into.times_ms.append((time.perf_counter() - began) * 1_000)
        if answer.status != 200:
            message = f"stats answered {answer.status}: {body[:200]!r}"
            raise RuntimeError(message)
        stats: dict[str, Any] = orjson.loads(body)
        into.events = stats["total_events"]
        at = datetime.fromisoformat(stats["as_of"])
        into.ages_s.append((datetime.now(UTC) - at).total_seconds())


def fill(warehouse: str, counts: dict[str, int]) -> None:
    """Store events as if they had arrived, and have the worker count their hours."""
    for tenant, events in counts.items():
        hot = events // HOT_SHARE
        for count, at in ((events - hot, BEFORE.format(hours=HOURS)), (hot, NOW)):
            for first in range(0, count, AT_ONCE):
                filled = {"tenant": tenant, "users": USERS, "types": TYPES, "at": at}
                size = min(AT_ONCE, count - first)
                ask(warehouse, FILL.format(first=first, count=size, **filled))
    ask(warehouse, TOUCH)
    deadline = time.monotonic() + ROLLED_UP_WITHIN_S
    while int(ask(warehouse, STALE)):
        if time.monotonic() > deadline:
            message = f"the rollups were not done within {ROLLED_UP_WITHIN_S:.0f} s"
            raise RuntimeError(message)
        time.sleep(1.0)


def in_turns(reader: Reader, each: int) -> dict[tuple[str, str], Asked]:
    """Ask everything once, then again, so that all see the same machine."""
    found = {(tenant, window): Asked() for window in WINDOWS for tenant in TENANTS}
    for _ in range(each):
        for (tenant, window), asked in found.items():
            reader.ask(tenant, window, asked)
    return found


@contextmanager
def batches(url: str, key: str, bodies: Path) -> Iterator[None]:
    """Send full batches in a closed loop while the block runs."""
    requests = requests_of(f"{url}/api/ingestion/track/batch", key, bodies)
    phase = Phase(name="load", seconds=MAX_LOAD_S)
    plan = Plan(url=url, requests=requests, phases=[phase], connections=CONNECTIONS)
    sender = Generator(plan, cores={0, 1})
    try:
        yield
    finally:
        sender.kill()


def lines_of(
    idle: dict[tuple[str, str], Asked], loaded: dict[tuple[str, str], Asked]
) -> tuple[list[list[str]], bool]:
    """Return the lines of the table, and whether every goal is kept."""
    lines: list[list[str]] = []
    is_good = True
    for window in WINDOWS:
        small, large = (idle[tenant, window].p(0.99) for tenant in TENANTS)
        for tenant in TENANTS:
            alone, beside = idle[tenant, window], loaded[tenant, window]
            growth = alone.p(0.99) / small
            load = beside.p(0.99) / alone.p(0.99)
            lines.append(
                [
                    f"{alone.events:,}",
                    window,
                    f"{alone.p(0.5):.1f} ms",
                    f"{alone.p(0.99):.1f} ms",
                    f"{growth:.2f}",
                    f"{beside.p(0.5):.1f} ms",
                    f"{beside.p(0.99):.1f} ms",
                    f"{load:.2f}",
                    f"{max(beside.ages_s):.1f} s",
                ]
            )
            is_good = is_good and load <= GOAL_LOAD
        is_good = is_good and large <= GOAL_MS and large / small <= GOAL_GROWTH
    return lines, is_good


def measure(folder: Path, events: tuple[int, int], each: int) -> tuple[str, bool]:
    """Return the text for the page, and whether every goal is kept."""
    port = free_port()
    env = {
        "SLUICE_DATA_DIR": str(folder / "data"),
        "SLUICE_PORT": str(port),
        "SLUICE_WORKER_PORT": str(free_port()),
        "SLUICE_WAREHOUSE_PORT": str(free_port()),
        "SLUICE_QUEUE_MAX_BYTES": str(QUEUE_MAX_BYTES),
    }
    bodies = read_events(folder, None).batch
    url = f"http://127.0.0.1:{port}"
    with running(["sluice.cli", "run"], env=env, log=folder / "run.log") as process:
        parts = children(process.pid)
        keys = {
            slug: orjson.loads(command(["tenant", "add", slug, "--json"], env)) for slug in TENANTS
        }
        tokens = {
            slug: command(["token", slug, "--ttl", "2h"], env).decode().strip() for slug in TENANTS
        }
        warehouse = warehouse_url(folder / "data")
        say(f"storing {events[0]:,} and {events[1]:,} events")
        fill(warehouse, dict(zip(TENANTS, events, strict=True)))
        reader = Reader(url, tokens)
        in_turns(reader, 5)
        spent = {name: cpu_s(pid) for name, pid in parts.items()}
        say(f"asking {each} times each")
        idle = in_turns(reader, each)
        asked = each * len(idle)
        spent = {name: (cpu_s(pid) - spent[name]) * 1_000 / asked for name, pid in parts.items()}
        say("asking while batches arrive")
        before = [int(ask(warehouse, query)) for query in (READ, STORED)]
        began = time.monotonic()
        with batches(url, keys["large"]["api_key"], bodies):
            loaded = in_turns(reader, each)
        took = time.monotonic() - began
        after = [int(ask(warehouse, query)) for query in (READ, STORED)]
        read, stored = (now - then for now, then in zip(after, before, strict=True))
    lines, is_good = lines_of(idle, loaded)
    head = ["events", "window", "p50", "p99", "to 1 million", "under load p50", "p99", "to idle"]
    more = (
        f"{each} times each, in turn. Processor time of a request without load:"
        f" gateway {spent['gateway']:.1f} ms, warehouse {spent['warehouse']:.1f} ms."
        f" Under load {stored / took:,.0f} events/s were stored, and for each"
        f" {read / max(stored, 1):.1f} rows read, by everything that reads.\n"
    )
    return f"{measured_on()}\n{table([*head, 'oldest as_of'], lines)}\n{more}", is_good


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=EVENTS[0], help="events of the one tenant")
    parser.add_argument("--large", type=int, default=EVENTS[1], help="events of the other")
    parser.add_argument("--each", type=int, default=200, help="requests of each kind")
    parser.add_argument("--write", action="store_true", help="keep it in docs/performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-stats-") as name:
        text, is_good = measure(Path(name), (options.small, options.large), options.each)
    print(text)
    if options.write:
        keep(PERFORMANCE, text, mark="stats")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
