"""The whole road on Pub/Sub beside the same road on the local queue, and where the time goes."""

import asyncio
import os
import statistics
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadtest.bench import sent_until_visible, warehouse_url
from loadtest.broker_rig import (
    HEAP_MB,
    SENDER,
    Events,
    add_tenant,
    parts_environment,
    running_parts,
    url_of,
    used_by,
    wait_until_quiet,
)
from loadtest.emulator import running_emulator
from loadtest.processes import command, drive, free_port, running
from loadtest.report import Row, say, table

PIPELINE_EVENTS: Final = 500_000
WARM_UP_EVENTS: Final = 50_000
SINGLE_CONNECTIONS: Final = 64
SINGLE_S: Final = 4.0
LOCAL, PUBSUB, TWO = "local queue", "Pub/Sub", "Pub/Sub, 2 gateways"
GATEWAY, WORKER, WAREHOUSE = "gateway", "worker", "warehouse"
EMULATOR: Final = "emulator (JVM)"


@dataclass(slots=True)
class Side:
    """One set of running parts, and what was measured with it."""

    name: str
    env: dict[str, str]
    home: Path
    """The data dir of its warehouse."""
    tenants: list[tuple[str, str]]
    """Slug and key, one for each round; the first is for the warm-up."""
    pids: dict[str, int]
    events_per_s: list[float] = field(default_factory=list)
    singles_per_s: list[float] = field(default_factory=list)
    cpu_s: list[dict[str, float]] = field(default_factory=list)
    """By process: seconds for 100,000 events, of each round."""

    def measure(self, number: int, events: Events) -> None:
        """Measure one round; round 0 only warms up."""
        slug, key = self.tenants[number]
        count = PIPELINE_EVENTS if number else WARM_UP_EVENTS
        road = sent_until_visible(url_of(self.env), key, self.home, slug, events.batch, count)
        rate, cpu_s = used_by(self.pids, lambda: asyncio.run(road))
        if number:
            self.events_per_s.append(rate)
            self.cpu_s.append({name: used * 100_000 / count for name, used in cpu_s.items()})

    def measure_singles(self, number: int, events: Events) -> None:
        """Measure how many single events a second are answered; round 0 only warms up."""
        answered = drive(
            url_of(self.env),
            self.tenants[0][1],
            events.single,
            cores=set(range(os.cpu_count() or 1)),
            connections=SINGLE_CONNECTIONS,
            seconds=SINGLE_S if number else 1,
        )
        if number:
            self.singles_per_s.append(answered["requests_per_s"])

    @property
    def rate(self) -> float:
        """Median of events a second."""
        return statistics.median(self.events_per_s)

    def cpu_of(self, part: str) -> float:
        """Median of a process's CPU seconds for 100,000 events."""
        return statistics.median(used.get(part, 0.0) for used in self.cpu_s)


def measure_roads(folder: Path, jar: Path, events: Events, rounds: int) -> list[Side]:
    """Run all sides at once, one of them under load at a time, round after round."""
    with ExitStack() as stack:
        emulator = stack.enter_context(running_emulator(jar, heap_mb=HEAP_MB))
        local = _start(stack, folder / "local", LOCAL, rounds)
        pubsub = _start(stack, folder / "pubsub", PUBSUB, rounds, emulator=emulator.host)
        pubsub.pids[EMULATOR] = emulator.pid
        sides = [local, pubsub, _with_two_gateways(stack, folder, pubsub)]
        everybody = {pid for side in sides for pid in side.pids.values()}
        for number in range(rounds + 1):
            say(f"pipeline: round {number} of {rounds}")
            for side in sides:
                wait_until_quiet(everybody)
                side.measure(number, events)
            for side in sides:
                wait_until_quiet(everybody)
                side.measure_singles(number, events)
    return sides


def _start(stack: ExitStack, home: Path, name: str, rounds: int, *, emulator: str = "") -> Side:
    env = parts_environment(home, emulator=emulator)
    slugs = [f"{kind}-{number}" for kind in ("one", "two") for number in range(rounds + 1)]
    tenants = [(slug, add_tenant(env, slug)) for slug in slugs]
    log = home.with_suffix(".log")
    pids = stack.enter_context(running_parts([WAREHOUSE], env, log=log))
    command(["setup"], env)
    pids |= stack.enter_context(running_parts([WORKER, GATEWAY], env, log=log))
    return Side(name, env, home, tenants, pids)


def _with_two_gateways(stack: ExitStack, folder: Path, other: Side) -> Side:
    """Start a pair of gateways on one port that shares all but the spool with the other side."""
    env = other.env | {
        "SLUICE_PORT": str(free_port()),
        "SLUICE_DATA_DIR": str(folder / "pair"),
        "SLUICE_TENANTS_FILE": str(other.home / "tenants.toml"),
        "SLUICE_WAREHOUSE_URL": warehouse_url(other.home),
    }
    words = ["sluice.cli", "gateway", "--processes", "2"]
    pair = stack.enter_context(running(words, env=env, log=folder / "pair.log"))
    half = len(other.tenants) // 2
    return Side(TWO, env, other.home, other.tenants[half:], other.pids | {GATEWAY: pair.pid})


def road_rows(sides: list[Side]) -> list[Row]:
    """Return the lines of the table of ratios."""
    local, pubsub, two = sides
    local_edge, one_edge, two_edge = (statistics.median(side.singles_per_s) for side in sides)
    return [
        Row(
            "gateway → emulator → worker → ClickHouse, batches of 500",
            f"{pubsub.rate:,.0f} events/s",
            f"the same on the local queue {local.rate:,.0f}",
            f"{pubsub.rate / local.rate:.2f}",
            "0.80",
        ),
        Row(
            "the same, `--processes 2` over 1",
            f"{two.rate:,.0f} events/s",
            f"one {pubsub.rate:,.0f}",
            f"{two.rate / pubsub.rate:.2f}",
            "stated",
        ),
        Row(
            f"`track`, {SINGLE_CONNECTIONS} connections, `--processes 2` over 1",
            f"{two_edge:,.0f} requests/s",
            f"one {one_edge:,.0f}; one on the local queue {local_edge:,.0f}",
            f"{two_edge / one_edge:.2f}",
            "stated",
        ),
    ]


def profile_table(sides: list[Side]) -> str:
    """Return where the CPU time of 100,000 events goes, as a table in Markdown."""
    parts = [GATEWAY, WORKER, WAREHOUSE, EMULATOR, SENDER]
    lines = [
        [part, *(f"{used:.2f}" if (used := side.cpu_of(part)) else "" for side in sides)]
        for part in parts
    ]
    sums = [sum(side.cpu_of(part) for part in parts) for side in sides]
    lines.append(["all", *(f"{used:.2f}" for used in sums)])
    return table(["CPU seconds for 100,000 events", *(side.name for side in sides)], lines)
