"""``python -m loadtest.peers.ratio``: Sluice beside the same service with default habits.

Sluice and the peer promise the same with a 202 (the broker has the events); the peer that hands
over promises less, as most examples do. All end in the same ClickHouse: one emulator of Pub/Sub,
one embedded warehouse, the same events, interleaved. What is compared is how many events a second
of processor time carries, from the request until the row is stored, without the emulator's and
ClickHouse's own time, which is shown beside it. It takes at most some five minutes: rounds that
would begin after ``NO_ROUND_AFTER_S`` are left out, and the page says how many there were.

The peer runs in an environment of its own (``make bench-peers``).
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from loadtest.bench import PERFORMANCE, SAMPLE, warehouse_url
from loadtest.broker_rig import (
    HEAP_MB,
    ROOT,
    add_tenant,
    parts_environment,
    running_parts,
    used_by,
    wait_until_quiet,
)
from loadtest.emulator import MISSING, find_jar, running_emulator
from loadtest.plan import Phase, Plan, Request, with_key
from loadtest.processes import LOAD_CORE, command, free_port, generate, running
from loadtest.report import Row, keep, measured_on, ratios, say, table
from loadtest.results import accepted_events
from loadtest.rig import ask
from loadtest.scenario import BATCH, BATCH_EVENTS, TRACK, batch_body
from loadtest.seen import Seen

PYTHON: Final = os.environ.get("SLUICE_LOADTEST_PEERS") or str(
    ROOT / ".venv/loadtest-peers/bin/python"
)
PROJECT, TOPIC, KEY = "sluice-peer", "peer-events", "sk_live_peer"
CONNECTIONS: Final = {"track": 64, "batch": 32}
"""More batches at once than the gateway takes in would be refused."""
STORED_WITHIN_S: Final = 60.0
LOOK_EVERY_S: Final = 0.1
GOAL: Final = "10"
KINDS: Final = ("track", "batch")
WARM_UP_S: Final = 2.0
NO_ROUND_AFTER_S: Final = 240.0
OURS, PEER, HASTY = "Sluice", "FastAPI peer", "FastAPI peer that hands over"


@dataclass(slots=True)
class Side:
    """One of the services, and what was measured with it."""

    name: str
    url: str
    api_key: str
    pids: dict[str, int]
    count: Callable[[], int]
    """How many events are stored."""
    per_core_s: dict[str, list[float]] = field(default_factory=dict)
    per_s: dict[str, list[float]] = field(default_factory=dict)
    all_cpu_us: dict[str, list[float]] = field(default_factory=dict)
    """Of an event, with the emulator and ClickHouse."""
    refused: dict[str, int] = field(default_factory=dict)
    """Requests of all rounds that had no 202."""

    def warm_up(self, requests: list[Request]) -> None:
        """Send for a while, first on one connection: the emulator is slow at first."""
        for connections in (1, CONNECTIONS[requests[0].kind]):
            self._send(requests, WARM_UP_S, connections)

    def _send(self, requests: list[Request], seconds: float, connections: int) -> Seen:
        plan = Plan(
            url=self.url,
            requests=requests,
            phases=[Phase(name="load", seconds=seconds)],
            connections=connections,
        )
        return generate(plan, cores={LOAD_CORE})

    def measure(self, kind: str, requests: list[Request], seconds: float, shared: set[int]) -> None:
        """Send in a closed loop, wait until all is stored, and count the processor time."""
        others = {f"shared {pid}": pid for pid in shared}

        def work() -> tuple[int, float]:
            before, began = self.count(), time.monotonic()
            seen = self._send(requests, seconds, CONNECTIONS[kind])
            accepted = accepted_events(seen)
            if not accepted:
                message = f"{self.name} accepted nothing: {seen.statuses}"
                raise RuntimeError(message)
            refused = sum(n for status, n in seen.statuses.items() if status != "202")
            self.refused[kind] = self.refused.get(kind, 0) + refused
            until = time.monotonic() + STORED_WITHIN_S
            while self.count() - before < accepted:
                if time.monotonic() > until:
                    message = f"{self.name} did not store all it accepted"
                    raise RuntimeError(message)
                time.sleep(LOOK_EVERY_S)
            return accepted, time.monotonic() - began

        (events, took), used = used_by(self.pids | others, work)
        own = sum(used[name] for name in self.pids)
        whole = own + sum(used[name] for name in others)
        self.per_core_s.setdefault(kind, []).append(events / own)
        self.per_s.setdefault(kind, []).append(events / took)
        self.all_cpu_us.setdefault(kind, []).append(whole * 1e6 / events)


@contextmanager
def services(folder: Path, jar: Path) -> Iterator[tuple[list[Side], set[int]]]:
    """Run all services on one emulator and one warehouse; also yield what they share."""
    log = folder / "parts.log"
    with ExitStack() as stack:
        emulator = stack.enter_context(running_emulator(jar, heap_mb=HEAP_MB))
        home = folder / "sluice"
        env = parts_environment(home, emulator=emulator.host)
        key = add_tenant(env, "load")
        shared = stack.enter_context(running_parts(["warehouse"], env, log=log))
        command(["setup"], env)
        ours = stack.enter_context(running_parts(["worker", "gateway"], env, log=log))
        warehouse = warehouse_url(home)
        peer_env = {
            "PUBSUB_EMULATOR_HOST": emulator.host,
            "PEER_PROJECT": PROJECT,
            "PEER_TOPIC": TOPIC,
            "PEER_API_KEY": KEY,
            "PEER_WAREHOUSE_URL": warehouse,
        }
        consumer = stack.enter_context(
            running(["loadtest.peers.fastapi_consumer"], env=peer_env, log=log, python=PYTHON)
        )

        def stored(name: str) -> Callable[[], int]:
            return lambda: int(ask(warehouse, f"SELECT count() FROM {name}"))  # noqa: S608 - ours

        sides = [Side(OURS, f"http://127.0.0.1:{env['SLUICE_PORT']}", key, ours, stored("events"))]
        for name, habit in ((PEER, []), (HASTY, ["--hands-over"])):
            port = free_port()
            service = stack.enter_context(
                running(
                    ["loadtest.peers.fastapi_service", "--port", str(port), *habit],
                    env=peer_env,
                    ready_port=port,
                    log=log,
                    python=PYTHON,
                )
            )
            pids = {"service": service.pid, "consumer": consumer.pid}
            sides.append(Side(name, f"http://127.0.0.1:{port}", KEY, pids, stored("peer_events")))
        yield sides, {emulator.pid, *shared.values()}


def measure(folder: Path, jar: Path, rounds: int, seconds: float) -> str:
    """Measure all in turns and return the tables."""
    lines = SAMPLE.read_bytes().splitlines()
    last = time.monotonic() + NO_ROUND_AFTER_S
    done = 0
    with services(folder, jar) as (sides, shared):
        everybody = shared.union(*(side.pids.values() for side in sides))
        for number in range(rounds + 1):
            if number > 1 and time.monotonic() > last:
                break
            say(f"peers: round {number} of {rounds}")
            for side in sides:
                for kind, requests in loads(lines, side.api_key).items():
                    wait_until_quiet(everybody)
                    if number:
                        side.measure(kind, requests, seconds, shared)
                    else:
                        side.warm_up(requests)
            done = number
    ours, *peers = sides
    rows = [row(ours, peer, kind) for peer in peers for kind in KINDS]
    details = [
        [
            side.name,
            kind,
            f"{median(side.per_s[kind]):,.0f}",
            f"{1e6 / median(side.per_core_s[kind]):,.0f}",
            f"{median(side.all_cpu_us[kind]):,.0f}",
            f"{side.refused[kind]:,}",
        ]
        for side in sides
        for kind in KINDS
    ]
    head = ["service", "requests", "events/s", "µs of its processor an event"]
    head += ["µs of all processes an event", "refused"]
    counted = f"Rounds: {done}, of {seconds:g} s each; the figures are medians."
    return f"{measured_on()}{counted}\n\n{ratios(rows)}\n{table(head, details)}"


def loads(lines: list[bytes], api_key: str) -> dict[str, list[Request]]:
    """Return the requests by kind."""
    return {
        "track": with_key(TRACK, lines, api_key),
        "batch": with_key(BATCH, [batch_body(lines)], api_key, kind="batch", events=BATCH_EVENTS),
    }


def row(ours: Side, peer: Side, kind: str) -> Row:
    """Return the line of the table of ratios."""
    mine, theirs = ours.per_core_s[kind], peer.per_core_s[kind]
    what = "single events" if kind == "track" else f"batches of {BATCH_EVENTS}"
    share = median(a / b for a, b in zip(mine, theirs, strict=True))
    return Row(
        f"{what} through Pub/Sub's emulator, a core of the service",
        f"{median(mine):,.0f} events/s",
        f"{peer.name} {median(theirs):,.0f}",
        f"{share:.1f}",
        GOAL if peer.name == PEER else "",
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--write", action="store_true", help="keep it in docs/performance.md")
    options = parser.parse_args()
    jar = find_jar()
    if jar is None:
        print(MISSING, file=sys.stderr)
        return 1
    if not Path(PYTHON).exists():
        print("The peer's environment is not here: run `make bench-peers`.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="sluice-peers-") as folder:
        text = measure(Path(folder), jar, options.rounds, options.seconds)
    print(text)
    if options.write:
        keep(PERFORMANCE, text, mark="peers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
