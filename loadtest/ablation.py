"""``python -m loadtest.ablation``: what each design decision of the gateway brings.

Gateways that lack one decision each (``loadtest.ablated``) and a whole one are bound to one core,
the load generator to the other. In each round each is measured right beside the whole one, now
before it, now behind it; the share of a decision is the ratio of the two, and the table has the
pair in the middle, once by rate and once by processor time. Processor time is disturbed least by
what else the machine does.

What only the long way does (``gateway.fast_path`` passes it by) is taken away from a gateway
without the fast path and stands beside that one. In the end the queue file of each gateway has to
hold every event that was answered with 202.
"""

import argparse
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import orjson

from loadtest.ablated import DECISIONS
from loadtest.bench import BATCH_CONNECTIONS, PERFORMANCE, SAMPLE
from loadtest.plan import Request, with_key
from loadtest.processes import (
    LOAD_CORE,
    SERVER_CORE,
    command,
    cpu_s,
    free_port,
    running,
    send,
)
from loadtest.report import keep, measured_on, say, table
from loadtest.scenario import BATCH, BATCH_EVENTS, TRACK, batch_body

TRACK_CONNECTIONS: Final = 64
WARM_UP_S: Final = 0.5
QUEUE_MAX_BYTES: Final = 16 * 1024**3
LONG_WAY: Final = ("fast-path",)
ALL: Final = tuple(name for name in DECISIONS if name != "together")
"""Without the fast path nothing is judged together."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request, and which gateways are measured with it."""

    name: str
    events: int
    connections: int
    variants: tuple[tuple[str, ...], ...]
    """What each gateway lacks; the first is whole."""
    beside: tuple[tuple[str, ...], ...]
    """For each, which one it stands beside."""


def _kind(
    name: str,
    events: int,
    connections: int,
    alone: Sequence[str],
    on_long_way: Sequence[str] = (),
) -> Kind:
    variants: list[tuple[str, ...]] = [(), *((one,) for one in alone)]
    variants += [(*LONG_WAY, one) for one in on_long_way]
    beside: list[tuple[str, ...]] = [()] * (len(alone) + 1)
    beside += [LONG_WAY] * len(on_long_way)
    return Kind(name, events, connections, (*variants, ALL), (*beside, ()))


KINDS: Final = (
    _kind(
        "track",
        1,
        TRACK_CONNECTIONS,
        (
            *LONG_WAY,
            "together",
            "group-commit",
            "let-arrive",
            "uvloop",
            "typed-decode",
            "columns",
            "zstd",
            "gc",
            "switch",
        ),
        ("slim-reply", "stamps"),
    ),
    _kind(
        "batch",
        BATCH_EVENTS,
        BATCH_CONNECTIONS,
        ("group-commit", "uvloop", "typed-decode", "columns", "stamps", "zstd", "gc", "switch"),
    ),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one measurement gave."""

    per_s: float
    """Events a second."""
    cpu_us: float
    """Processor time of an event."""


Pairs = dict[tuple[str, tuple[str, ...]], list[tuple[Figures, Figures]]]
"""By kind of request and what is lacking: the figures with and without, side by side."""


@dataclass(slots=True)
class Variant:
    """One gateway."""

    url: str
    api_key: str
    pid: int
    data_dir: Path
    accepted: int = 0
    """Events that were answered with 202."""

    def warm_up(self, kind: Kind, requests: list[Request]) -> None:
        """Send for a moment, so that nothing is done for the first time later."""
        self._send(kind, requests, WARM_UP_S)

    def measure(self, kind: Kind, requests: list[Request], seconds: float) -> Figures:
        """Send in a closed loop, and count the processor time."""
        before = cpu_s(self.pid)
        figures = self._send(kind, requests, seconds)
        used = cpu_s(self.pid) - before
        events = figures["requests"] * kind.events
        return Figures(events / figures["seconds"], used / events * 1e6)

    def _send(self, kind: Kind, requests: list[Request], seconds: float) -> dict[str, float]:
        figures = send(
            self.url,
            requests,
            cores={LOAD_CORE},
            connections=kind.connections,
            seconds=seconds,
        )
        self.accepted += int(figures["requests"]) * kind.events
        return figures

    def stored(self) -> int:
        """Return how many events its queue file holds."""
        uri = f"file:{self.data_dir / 'queue.sqlite'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            (events,) = connection.execute("SELECT sum(events) FROM messages").fetchone()
        return int(events or 0)


@contextmanager
def gateways(folder: Path, lacking: Sequence[tuple[str, ...]]) -> Iterator[list[Variant]]:
    """Run a gateway for each, all bound to one core, until the block ends."""
    with ExitStack() as stack:
        found: list[Variant] = []
        for names in lacking:
            say(f"ablation: starting {without(names)}")
            data_dir, port = folder / ("-".join(names) or "whole"), free_port()
            env = {
                "SLUICE_DATA_DIR": str(data_dir),
                "SLUICE_PORT": str(port),
                "SLUICE_QUEUE_MAX_BYTES": str(QUEUE_MAX_BYTES),
            }
            key = orjson.loads(command(["tenant", "add", "bench", "--json"], env))["api_key"]
            words = ["loadtest.ablated", *names, "--", "gateway"]
            process = stack.enter_context(running(words, env=env, cores={SERVER_CORE}))
            found.append(Variant(f"http://127.0.0.1:{port}", key, process.pid, data_dir))
        yield found


def measure(folder: Path, rounds: int, seconds: float) -> str:
    """Measure all variants in turns and return the tables.

    Raises:
        RuntimeError: A gateway refused something, or does not hold what it accepted.
    """
    lines = SAMPLE.read_bytes().splitlines()
    lacking = list(dict.fromkeys(names for kind in KINDS for names in kind.variants))
    with gateways(folder, lacking) as found:
        by_names = dict(zip(lacking, found, strict=True))
        for kind in KINDS:
            for names in kind.variants:
                variant = by_names[names]
                variant.warm_up(kind, requests_of(kind, variant.api_key, lines))
        pairs: Pairs = {}
        for number in range(1, rounds + 1):
            say(f"ablation: round {number} of {rounds}")
            for kind in KINDS:
                for names, other in zip(kind.variants, kind.beside, strict=True):
                    if names == other:
                        continue
                    both = [by_names[other], by_names[names]]
                    turns = both if number % 2 else both[::-1]
                    seen = [
                        one.measure(kind, requests_of(kind, one.api_key, lines), seconds)
                        for one in turns
                    ]
                    pair = (seen[0], seen[1]) if number % 2 else (seen[1], seen[0])
                    pairs.setdefault((kind.name, names), []).append(pair)
    for names, variant in by_names.items():
        stored = variant.stored()
        if stored < variant.accepted:
            message = f"{without(names)}: {variant.accepted} accepted, {stored} stored"
            raise RuntimeError(message)
    return "\n".join([measured_on(), *(shares(kind, pairs) for kind in KINDS)])


def requests_of(kind: Kind, api_key: str, lines: list[bytes]) -> list[Request]:
    """Return the requests of a kind, of real events."""
    if kind.events == 1:
        return with_key(TRACK, lines, api_key)
    return with_key(BATCH, [batch_body(lines)], api_key, kind="batch", events=kind.events)


def without(names: tuple[str, ...]) -> str:
    """Return what a gateway lacks, for a table."""
    if not names:
        return "anything taken away: the whole gateway"
    if names == ALL:
        return "all of these"
    if len(names) > 1:
        return f"the fast path, and {DECISIONS[names[-1]].what}"
    return DECISIONS[names[0]].what


def shares(kind: Kind, pairs: Pairs) -> str:
    """Return the table of one kind of request."""
    digits = 1 if kind.events == 1 else 2
    wholes = [
        pair[0]
        for names, other in zip(kind.variants, kind.beside, strict=True)
        if names and not other
        for pair in pairs[kind.name, names]
    ]
    per_s = f"{median(one.per_s for one in wholes):,.0f}"
    cpu_us = f"{median(one.cpu_us for one in wholes):.{digits}f}"
    rows = [[without(()), per_s, "", "", cpu_us, "", ""]]
    for names in kind.variants:
        if seen := pairs.get((kind.name, names)):
            rates = middle([(whole.per_s, less.per_s) for whole, less in seen])
            times = middle([(less.cpu_us, whole.cpu_us) for whole, less in seen])
            rows.append(
                [
                    without(names),
                    *(f"{rate:,.0f}" for rate in rates),
                    f"{rates[0] / rates[1]:.2f}",
                    *(f"{time:.{digits}f}" for time in times[::-1]),
                    f"{times[0] / times[1]:.2f}",
                ]
            )
    name = "`track`, without" if kind.events == 1 else f"batches of {kind.events}, without"
    head = [
        f"{name} …",
        "events/s with",
        "without",
        "with ÷ without",
        "µs of processor an event with",
        "without",
        "without ÷ with",
    ]
    return table(head, rows)


def middle(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the pair whose ratio is the median, of an even number the lower one of two.

    Medians of each side by itself may be of different moments of the machine: their ratio would be
    that of two moods, not of two gateways.
    """
    return sorted(pairs, key=lambda pair: pair[0] / pair[1])[(len(pairs) - 1) // 2]


def main() -> int:
    """Measure, print the tables, and keep them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--write", action="store_true", help="keep it in docs/performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-ablation-") as name:
        text = measure(Path(name), options.rounds, options.seconds)
    print(text)
    if options.write:
        keep(PERFORMANCE, text, mark="ablation")
    return 0


if __name__ == "__main__":
    sys.exit(main())
