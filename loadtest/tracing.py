"""``python -m loadtest.tracing``: what traces cost a gateway that takes single events.

Gateways that differ in nothing but their traces run at once and are driven in turns, so that what
else the machine does meets all of them. Printed are requests per second and processor time per
request, each as the median over the rounds of its ratio to the first gateway's in the same round.
``--before`` names a checkout without traces, which then is the first.
"""

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from loadtest.bench import SAMPLE
from loadtest.processes import (
    LOAD_CORE,
    SERVER_CORE,
    command,
    cpu_s,
    drive,
    free_port,
    running,
)
from loadtest.report import say, table

WARM_UP_S = 1.0


@dataclass(slots=True)
class Variant:
    """One gateway and what is sent to it."""

    name: str
    env: dict[str, str] = field(default_factory=dict)
    is_sampled: bool = False
    """Whether every request has a sampled parent."""
    url: str = ""
    key: str = ""
    pid: int = 0
    requests_per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)


def variants(before: Path | None, collector: str) -> list[Variant]:
    """Return what is compared."""
    on = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}
    found = [
        Variant("off"),
        Variant("off, sampled parents"),
        Variant("on, 1 % of requests", env=on),
        Variant("on, every request a sampled parent", env=on, is_sampled=True),
    ]
    found[1].is_sampled = True
    if before is not None:
        found.insert(0, Variant("before there were traces", env={"PYTHONPATH": str(before)}))
    return found


def start(variant: Variant, folder: Path, stack: ExitStack) -> None:
    """Run the variant's gateway until the stack is closed."""
    port = free_port()
    variant.env |= {
        "SLUICE_DATA_DIR": str(folder / f"{port}"),
        "SLUICE_PORT": str(port),
        "SLUICE_QUEUE_MAX_BYTES": str(8 * 1024**3),
    }
    answer = command(["tenant", "add", "bench", "--json"], variant.env)
    variant.key = orjson.loads(answer)["api_key"]
    variant.url = f"http://127.0.0.1:{port}/api/ingestion/track"
    process = running(["sluice.cli", "gateway"], env=variant.env, cores={SERVER_CORE})
    variant.pid = stack.enter_context(process).pid


def measure(variant: Variant, headers: Path, seconds: float) -> tuple[float, float]:
    """Return requests per second and microseconds of processor time per request."""
    before = cpu_s(variant.pid)
    seen = drive(
        variant.url,
        variant.key,
        SAMPLE,
        cores={LOAD_CORE},
        seconds=seconds,
        headers=headers if variant.is_sampled else None,
    )
    used = cpu_s(variant.pid) - before
    return seen["requests_per_s"], used / seen["requests"] * 1e6


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout to compare with")
    parser.add_argument("--seconds", type=float, default=4.0, help="of one gateway's turn")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        port = free_port()
        null = ["loadtest.peers.null_server", "--port", str(port)]
        stack.enter_context(running(null, ready_port=port, cores={LOAD_CORE}))
        compared = variants(options.before, f"http://127.0.0.1:{port}")
        headers = Path(folder) / "headers.ndjson"
        headers.write_bytes(
            b"".join(
                b'{"traceparent":"00-%032x-%016x-01"}\n' % (number, number)
                for number, _ in enumerate(SAMPLE.read_bytes().splitlines(), start=1)
            )
        )
        for variant in compared:
            start(variant, Path(folder), stack)
            measure(variant, headers, WARM_UP_S)
        for number in range(options.rounds):
            say(f"round {number + 1} of {options.rounds}")
            # In the other direction every second time: what comes later in a round is not worse.
            for variant in compared[:: 1 if number % 2 else -1]:
                requests_per_s, cpu_us = measure(variant, headers, options.seconds)
                variant.requests_per_s.append(requests_per_s)
                variant.cpu_us.append(cpu_us)
    print(table(("traces", "requests/s", "ratio", "processor time", "ratio"), rows(compared)))


def rows(compared: list[Variant]) -> list[tuple[str, ...]]:
    """Return the table's rows."""
    first = compared[0]
    return [
        (
            one.name,
            f"{statistics.median(one.requests_per_s):,.0f}",
            f"{ratio(one.requests_per_s, first.requests_per_s):.2f}",
            f"{statistics.median(one.cpu_us):.0f} µs",
            f"{ratio(one.cpu_us, first.cpu_us):.2f}",
        )
        for one in compared
    ]


def ratio(some: list[float], others: list[float]) -> float:
    """Return the median of the ratios of figures of the same round."""
    return statistics.median(one / other for one, other in zip(some, others, strict=True))


if __name__ == "__main__":
    main()
