"""``python -m loadtest.neighbour``: does a tenant feel one that sends ten times what it may?

One gateway, two tenants. The quiet one sends a steady rate, alone, then beside the loud one, again
and again in turns; the loud one sends ten times its limit. Printed are the answers of both and the
ratio of the quiet one's p99 to that when it is alone (median of the rounds).
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from loadtest.bench import SAMPLE
from loadtest.latencies import Latencies
from loadtest.plan import Phase, Plan, with_key
from loadtest.processes import (
    LOAD_CORE,
    SERVER_CORE,
    Generator,
    command,
    free_port,
    running,
)
from loadtest.report import say, table
from loadtest.seen import Seen, merge, merged

TIMES = 10


CONNECTIONS = 16


def start(url: str, key: str, *, per_second: float, seconds: float) -> Generator:
    """Start a load generator of its own process."""
    phase = Phase(name="load", seconds=seconds, rate=per_second)
    requests = with_key(urlsplit(url).path, SAMPLE.read_bytes().splitlines(), key)
    plan = Plan(url=url, requests=requests, phases=[phase], connections=CONNECTIONS)
    return Generator(plan, cores={LOAD_CORE})


def latencies(seen: Seen) -> Latencies:
    """Return how long all answers took, counted from when each request was due."""
    return merged(group.histogram for group in seen.groups)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=100, help="events a second, of both tenants")
    parser.add_argument("--seconds", type=float, default=5.0, help="of one round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.limit, options.seconds, options.rounds)


def measure(folder: Path, limit: int, seconds: float, rounds: int) -> None:
    """Run the rounds and print what they showed."""
    port = free_port()
    env = {"SLUICE_DATA_DIR": str(folder), "SLUICE_PORT": str(port)}
    keys = {}
    for slug in ("quiet", "loud"):
        keys[slug] = orjson.loads(command(["tenant", "add", slug, "--json"], env))["api_key"]
        command(["tenant", "set", slug, f"key_events_per_s={limit}"], env)
    url = f"http://127.0.0.1:{port}/api/ingestion/track"

    def quiet() -> Generator:
        return start(url, keys["quiet"], per_second=limit * 0.9, seconds=seconds)

    alone, beside, loud = [], [], []
    with running(["sluice.cli", "gateway"], env=env, cores={SERVER_CORE}):
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            alone.append(quiet().result())
            noise = start(url, keys["loud"], per_second=limit * TIMES, seconds=seconds)
            beside.append(quiet().result())
            loud.append(noise.result())

    rows = [
        (who, answers(seen), *(f"{median(seen, share):.2f} ms" for share in (0.5, 0.99)))
        for who, seen in (
            ("quiet, alone", alone),
            ("quiet, beside the loud one", beside),
            (f"loud, {TIMES} times its limit", loud),
        )
    ]
    print(table(("tenant", "answers", "p50", "p99"), rows))
    ratio = median(beside, 0.99) / median(alone, 0.99)
    missing = sum(seen.without_retry_after for seen in (*alone, *beside, *loud))
    print(f"The quiet one's p99 beside the loud one is {ratio:.2f} times that alone (goal: 2).")
    print(f"429 without Retry-After: {missing}.")


def answers(seen: list[Seen]) -> str:
    """Return how many answers of each status all rounds gave."""
    statuses = merge(seen).statuses
    return ", ".join(f"{count:,} x {status}" for status, count in sorted(statuses.items()))


def median(seen: list[Seen], share: float) -> float:
    """Return the median over the rounds of a quantile, in ms."""
    return statistics.median(latencies(each).quantile_ms(share) for each in seen)


if __name__ == "__main__":
    main()
