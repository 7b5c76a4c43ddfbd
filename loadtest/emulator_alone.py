"""``python -m loadtest.emulator_alone``: what Google's emulator takes by itself, without Sluice.

A bare gRPC client sends publish requests that were made before, each with one message as large as
the envelope of a group: no gateway, no reading, no event loop. What it reaches is the most that
anything can reach before this emulator, and the emulator's processor time of a publish is what
Sluice cannot take away. The client is bound to one core and the emulator to the other, as the
gateway and the emulator are in ``loadtest.broker_edges``.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadtest.broker_rig import HEAP_MB, ROOT
from loadtest.emulator import MISSING, Emulator, find_jar, running_emulator
from loadtest.emulator_warm import bare_publish, publish_for, warm_up
from loadtest.processes import LOAD_CORE, SERVER_CORE, cpu_s, pin
from loadtest.report import keep, measured_on, say, table
from sluice.queue.pubsub_messages import PubsubMessage
from sluice.queue.pubsub_setup import ensure_topics
from sluice.queue.pubsub_wire import Names, to_request

PAGE: Final = ROOT / "docs/performance-pubsub.md"
MARK: Final = "emulator"
NAMES: Final = Names("sluice-alone")
BODY_BYTES: Final = {1: 400, 32: 3_000, 500: 43_000, 5_000: 430_000}
"""By the events of a group: about what its envelope has."""
IN_FLIGHT: Final = (1, 4, 16)
MEASURE_S: Final = 1.0
MEASURE_BYTES: Final = 96 * 1024 * 1024
"""What is published is kept in the emulator's heap, which has to hold all of a round."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What the emulator took of publishes of one size, so many on their way at once."""

    per_s: float
    emulator_us: float
    """Processor time of a publish."""
    client_us: float


def take(emulator: Emulator, stub: Any, body_bytes: int, in_flight: int) -> Taken:
    """Measure one size."""
    message = PubsubMessage(data=os.urandom(body_bytes), attributes={"kind": "events"})
    request = to_request(NAMES.topic("events"), [message])
    started = time.monotonic()
    emulator_s, client_s = cpu_s(emulator.pid), time.process_time()
    most = MEASURE_BYTES // len(request)
    done = publish_for(stub, request, in_flight, MEASURE_S, count=most)
    return Taken(
        per_s=done / (time.monotonic() - started),
        emulator_us=(cpu_s(emulator.pid) - emulator_s) / done * 1e6,
        client_us=(time.process_time() - client_s) / done * 1e6,
    )


def measure_alone(jar: Path, rounds: int) -> str:
    """Measure all sizes in turns, and return a table in Markdown.

    Each round has an emulator of its own, because it keeps what was published in its heap.
    """
    seen: dict[tuple[int, int], list[Taken]] = {}
    pin(os.getpid(), {SERVER_CORE})
    for number in range(rounds):
        say(f"emulator alone: round {number + 1} of {rounds}")
        with running_emulator(jar, heap_mb=HEAP_MB) as emulator:
            os.environ["PUBSUB_EMULATOR_HOST"] = emulator.host
            asyncio.run(ensure_topics(NAMES))
            pin(emulator.pid, {LOAD_CORE})
            warm_up(emulator, NAMES.topic("events"))
            with bare_publish(emulator.host) as stub:
                for events, size in BODY_BYTES.items():
                    for width in IN_FLIGHT:
                        taken = take(emulator, stub, size, width)
                        seen.setdefault((events, width), []).append(taken)
    return alone_table(seen)


def alone_table(seen: dict[tuple[int, int], list[Taken]]) -> str:
    """Return medians by size and publishes in flight, as a table in Markdown."""
    lines = [_line(events, width, taken) for (events, width), taken in seen.items()]
    head = ["events of a group", "bytes", "in flight", "publishes/s", "MB/s", "events/s"]
    head += ["emulator, µs a publish", "bare client, µs a publish"]
    return table(head, lines)


def _line(events: int, width: int, taken: Sequence[Taken]) -> list[str]:
    per_s = statistics.median(one.per_s for one in taken)
    return [
        f"{events:,}",
        f"{BODY_BYTES[events]:,}",
        str(width),
        f"{per_s:,.0f}",
        f"{per_s * BODY_BYTES[events] / 1e6:.1f}",
        f"{per_s * events:,.0f}",
        f"{statistics.median(one.emulator_us for one in taken):,.0f}",
        f"{statistics.median(one.client_us for one in taken):,.0f}",
    ]


def main() -> int:
    """Measure, print the table, and keep it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"keep it in docs/{PAGE.name}")
    options = parser.parse_args()
    jar = find_jar()
    if jar is None:
        print(MISSING, file=sys.stderr)
        return 1
    text = f"{measured_on()}\n{measure_alone(jar, options.rounds)}"
    print(text)
    if options.write:
        keep(PAGE, text, mark=MARK)
    return 0


if __name__ == "__main__":
    sys.exit(main())
