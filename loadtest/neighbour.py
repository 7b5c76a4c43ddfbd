"""``python -m loadtest.neighbour``: does a tenant feel one that sends ten times what it may?

One gateway, two tenants. The quiet one sends a steady rate, alone, then beside the loud one, again
and again in turns; the loud one sends ten times its limit. Printed are the answers of both and the
ratio of the quiet one's p99 to that when it is alone (median of the rounds).
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson

from loadtest.bench import SAMPLE
from loadtest.processes import LOAD_CORE, SERVER_CORE, command, free_port, pin, running
from loadtest.report import say, table

TIMES = 10


def start(url: str, key: str, bodies: Path, *, per_second: float, seconds: float) -> Any:
    """Start a load generator of its own process."""
    words = [sys.executable, "-m", "loadtest.paced", "--url", url, "--api-key", key]
    words += ["--bodies", str(bodies), "--per-second", str(per_second)]
    words += ["--seconds", str(seconds)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)  # noqa: S603 - our module
    pin(process.pid, {LOAD_CORE})
    return process


def result_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return what a load generator saw."""
    printed, _ = process.communicate()
    result: dict[str, Any] = orjson.loads(printed)
    return result


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

    def quiet() -> Any:
        return start(url, keys["quiet"], SAMPLE, per_second=limit * 0.9, seconds=seconds)

    alone, beside, loud = [], [], []
    with running(["sluice.cli", "gateway"], env=env, cores={SERVER_CORE}):
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            alone.append(result_of(quiet()))
            noise = start(url, keys["loud"], SAMPLE, per_second=limit * TIMES, seconds=seconds)
            beside.append(result_of(quiet()))
            loud.append(result_of(noise))

    rows = [
        (who, answers(seen), *(f"{median(seen, name):.2f} ms" for name in ("p50_ms", "p99_ms")))
        for who, seen in (
            ("quiet, alone", alone),
            ("quiet, beside the loud one", beside),
            (f"loud, {TIMES} times its limit", loud),
        )
    ]
    print(table(("tenant", "answers", "p50", "p99"), rows))
    ratio = median(beside, "p99_ms") / median(alone, "p99_ms")
    missing = sum(seen["without_retry_after"] for seen in (*alone, *beside, *loud))
    print(f"The quiet one's p99 beside the loud one is {ratio:.2f} times that alone (goal: 2).")
    print(f"429 without Retry-After: {missing}.")


def answers(seen: list[dict[str, Any]]) -> str:
    """Return how many answers of each status all rounds gave."""
    total: dict[str, int] = {}
    for one in seen:
        for status, count in one["statuses"].items():
            total[status] = total.get(status, 0) + count
    return ", ".join(f"{count:,} x {status}" for status, count in sorted(total.items()))


def median(seen: list[dict[str, Any]], name: str) -> float:
    """Return the median of one figure over the rounds."""
    return float(statistics.median(one[name] for one in seen))


if __name__ == "__main__":
    main()
