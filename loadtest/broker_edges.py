"""What the edge alone does on Pub/Sub beside the local queue: until the 202, no worker behind it.

A gateway of each kind, in turns, round after round; the gateways are bound to one core, the load
generator and the emulator share the other. Subscriptions keep what comes, as nobody pulls. Nothing
is measured before Java has compiled the emulator (``emulator_warm``).
"""

import re
import statistics
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadtest.broker_rig import (
    BATCH_EVENTS,
    HEAP_MB,
    PROJECT,
    Events,
    add_tenant,
    parts_environment,
    running_parts,
    url_of,
    wait_until_quiet,
)
from loadtest.emulator import running_emulator
from loadtest.emulator_warm import warm_up
from loadtest.processes import (
    LOAD_CORE,
    SERVER_CORE,
    command,
    cpu_s,
    peak_memory_mb,
    pin,
    requests_of,
    send,
)
from loadtest.report import Row, say, table
from sluice.queue.pubsub_wire import Names

CONNECTIONS: Final = {"track": 64, "batch": 32}
EVENTS: Final = {"track": 1, "batch": BATCH_EVENTS}
WHAT: Final = {
    "track": f"edge, `track`, {CONNECTIONS['track']} connections",
    "batch": f"edge, batches of {BATCH_EVENTS}, {CONNECTIONS['batch']} connections",
}
MEASURE_S: Final = 2.0
WARM_UP_S: Final = 3.0
GOAL: Final = "0.80"
LOCAL, PUBSUB = "local queue", "Pub/Sub"
_PUBLISHED: Final = re.compile(rb"^sluice_queue_publish_rows_(count|sum) (\S+)$", re.MULTILINE)


@dataclass(slots=True)
class Edge:
    """One gateway, and what was measured with it."""

    name: str
    url: str
    api_key: str
    pids: dict[str, int]
    """Of the gateway and, where there is one, the emulator."""
    per_s: dict[str, list[float]] = field(default_factory=dict)
    """Events a second, by kind of request."""
    cpu_us: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """Microseconds of processor time an event, by kind and process."""
    p99_ms: dict[str, list[float]] = field(default_factory=dict)
    group: dict[str, list[float]] = field(default_factory=dict)
    """Events of one group commit, by kind: the mean."""

    def measure(self, kind: str, events: Events, *, keep: bool) -> None:
        """Send in a closed loop; without ``keep`` it only warms up."""
        bodies, path = (
            (events.single, self.url) if kind == "track" else (events.batch, self.url + "/batch")
        )
        groups, rows = self._published()
        before = {name: cpu_s(pid) for name, pid in self.pids.items()}
        seen = send(
            path,
            requests_of(path, self.api_key, bodies),
            cores={LOAD_CORE},
            connections=CONNECTIONS[kind],
            seconds=MEASURE_S if keep else WARM_UP_S,
        )
        if not keep:
            return
        count = seen["requests"] * EVENTS[kind]
        self.per_s.setdefault(kind, []).append(count / seen["seconds"])
        self.p99_ms.setdefault(kind, []).append(seen["p99_ms"])
        for name, pid in self.pids.items():
            used = (cpu_s(pid) - before[name]) / count * 1e6
            self.cpu_us.setdefault((kind, name), []).append(used)
        groups_now, rows_now = self._published()
        mean = (rows_now - rows) / max(1.0, groups_now - groups)
        self.group.setdefault(kind, []).append(mean)

    def _published(self) -> tuple[float, float]:
        """Return how many groups the gateway has published, and their events, as it says."""
        url = self.url.removesuffix("/api/ingestion/track") + "/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own gateway
            found = dict(_PUBLISHED.findall(answer.read()))
        return float(found.get(b"count", 0)), float(found.get(b"sum", 0))


def measure_edges(folder: Path, jar: Path, events: Events, rounds: int) -> list[Edge]:
    """Measure both gateways in turns."""
    with ExitStack() as stack:
        emulator = stack.enter_context(running_emulator(jar, heap_mb=HEAP_MB))
        pin(emulator.pid, {LOAD_CORE})
        edges = [
            _start(stack, folder / "edge-local", LOCAL),
            _start(stack, folder / "edge-pubsub", PUBSUB, emulator=emulator.host),
        ]
        edges[1].pids["emulator"] = emulator.pid
        warm_up(emulator, Names(PROJECT).topic("events"))
        everybody = {pid for edge in edges for pid in edge.pids.values()}
        for number in range(rounds + 1):
            say(f"edges: round {number} of {rounds}")
            for kind in CONNECTIONS:
                for edge in edges:
                    wait_until_quiet(everybody)
                    edge.measure(kind, events, keep=number > 0)
        for edge in edges:
            say(f"edges: {edge.name}: peak memory {peak_memory_mb(edge.pids['gateway']):.0f} MB")
    return edges


def _start(stack: ExitStack, home: Path, name: str, *, emulator: str = "") -> Edge:
    env = parts_environment(home, emulator=emulator)
    key = add_tenant(env, "edge")
    log = home.with_suffix(".log")
    if emulator:
        with running_parts(["warehouse"], env, log=log):
            command(["setup"], env)
    pids = stack.enter_context(running_parts(["gateway"], env, log=log, cores={SERVER_CORE}))
    return Edge(name, url_of(env), key, pids)


def edge_rows(edges: list[Edge]) -> list[Row]:
    """Return the lines of the table of ratios."""
    local, pubsub = edges
    rows: list[Row] = []
    for kind, what in WHAT.items():
        here, there = (statistics.median(edge.per_s[kind]) for edge in (local, pubsub))
        pairs = zip(pubsub.per_s[kind], local.per_s[kind], strict=True)
        ratio = statistics.median(one / other for one, other in pairs)
        figure, beside = f"{there:,.0f} events/s", f"the same on the local queue {here:,.0f}"
        rows.append(Row(what, figure, beside, f"{ratio:.2f}", GOAL))
    return rows


def edge_table(edges: list[Edge]) -> str:
    """Return the processor time of an event and the slowest answers, as a table in Markdown."""
    lines = []
    for kind, what in WHAT.items():
        for edge in edges:
            cells = [
                f"{statistics.median(used):.2f}" if (used := edge.cpu_us.get((kind, name))) else ""
                for name in ("gateway", "emulator")
            ]
            p99 = f"{statistics.median(edge.p99_ms[kind]):.1f} ms"
            group = f"{statistics.median(edge.group[kind]):,.0f}"
            lines.append([what, edge.name, group, *cells, p99])
    head = ["what", "queue", "events of a group", "gateway, µs an event"]
    head += ["emulator (JVM), µs an event", "p99"]
    return table(head, lines)
