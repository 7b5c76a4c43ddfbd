"""``make bench-broker``: what Pub/Sub as the queue costs and carries, on Google's own emulator.

Four parts, each a file of its own: bytes and their price, the edge and the whole road beside the
local queue, and what a client feels while the broker is up, slow, hung or refuses. ``--write``
keeps the tables in docs/performance-pubsub.md.
"""

import argparse
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

from loadtest.broker_bytes import bytes_rows, cost_table, measure_bytes
from loadtest.broker_edges import edge_rows, edge_table, measure_edges
from loadtest.broker_outage import measure_outage, outage_rows, outage_table
from loadtest.broker_pipeline import measure_roads, profile_table, road_rows
from loadtest.broker_rig import HEAP_MB, ROOT, Events, read_events
from loadtest.emulator import MISSING, find_jar
from loadtest.report import Row, keep, measured_on, ratios

PAGE: Final = ROOT / "docs/performance-pubsub.md"
PARTS: Final = ("bytes", "edges", "pipeline", "outage")


def measure(folder: Path, jar: Path, events: Events, *, parts: tuple[str, ...], rounds: int) -> str:
    """Measure the parts that are asked for; return their tables."""
    rows: list[Row] = []
    tables: list[tuple[str, str]] = []
    if "bytes" in parts:
        sent = measure_bytes(folder, jar, events)
        rows += bytes_rows(sent, events)
        tables.append(("What Google bills", cost_table(sent, events)))
    if "edges" in parts:
        edges = measure_edges(folder, jar, events, rounds)
        rows += edge_rows(edges)
        tables.append(("What the edge alone takes", edge_table(edges)))
    if "pipeline" in parts:
        sides = measure_roads(folder, jar, events, rounds)
        rows += road_rows(sides)
        tables.append(("Where the CPU time goes", profile_table(sides)))
    if "outage" in parts:
        felt = measure_outage(folder, jar, events, rounds)
        rows += outage_rows(felt)
        tables.append(("What a client feels: requests/s, p50 / p99", outage_table(felt)))
    emulator = jar.name.removeprefix("cloud-").removesuffix("-all.jar")
    versions = [f"{name} {version(name)}" for name in ("google-cloud-pubsub", "grpcio")]
    head = measured_on(*versions, f"{emulator} ({HEAP_MB} MB)")
    source = f"The events are those of `{events.name}` ({len(events.lines):,} lines).\n"
    texts = [f"### {title}\n\n{text}" for title, text in tables]
    return "\n".join([head + source, ratios(rows), *texts])


def main() -> int:
    """Measure, print the tables, and keep them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--file", type=Path, help="events, one JSON object a line, plain or .gz")
    parser.add_argument("--write", action="store_true", help=f"keep it in docs/{PAGE.name}")
    options = parser.parse_args()
    if options.only and options.write:
        parser.error("--write keeps all parts, so it cannot go with --only")
    jar = find_jar()
    if jar is None:
        print(MISSING, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name:
        folder = Path(name)
        events = read_events(folder, options.file)
        parts = (options.only,) if options.only else PARTS
        text = measure(folder, jar, events, parts=parts, rounds=options.rounds)
    print(text)
    if options.write:
        keep(PAGE, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
