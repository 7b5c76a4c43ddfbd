"""``python -m loadtest.service_times``: what an event costs in processor time and bytes, measured.

``sluice cost`` and the capacity model reckon with the table in sluice/cost/figures.py. This
measures each of its figures anew, and prints it beside the one that is kept:

* processor time of gateway, worker and warehouse from ``/proc``, all threads together: for single
  events (the gateway alone on a core), for batches of 500 of a real log, and for batches whose
  payloads are 4 KiB larger;
* bytes of a message with one event and with 500, whose difference is what each next one adds;
* bytes on disk of a row in the embedded warehouse; bytes of an answer.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import orjson

from gateway.sources.segops import parse_batch
from gateway.stamps import Stamps
from loadtest.broker_rig import (
    BATCH_EVENTS,
    Events,
    add_tenant,
    parts_environment,
    read_events,
    running_parts,
    url_of,
    used_by,
    wait_until_quiet,
)
from loadtest.processes import LOAD_CORE, SERVER_CORE, drive, pin
from loadtest.report import measured_on, say, table
from loadtest.rig import ask
from loadtest.scenario import batch_body
from sluice.core.envelope import Rows, encode, gather, seal
from sluice.core.errors import Rejected
from sluice.core.event import stamp_batch
from sluice.cost.figures import MEANING, MEASURED, Figures

CONNECTIONS: Final = 64
BATCH_CONNECTIONS: Final = 32
LARGE_CONNECTIONS: Final = 8
"""So that what is on its way to disk stays below the gateway's bound."""
TRACKS: Final = 30_000
BATCHES: Final = 200
LARGE_BATCHES: Final = 100
LARGE_EVENTS: Final = 100
PADDING_BYTES: Final = 4_096
SAMPLED_MESSAGES: Final = 50
ATTRIBUTE_BYTES: Final = 120
"""Of a message: its attributes, time and id (docs/pubsub.md, what it costs)."""
WITHIN_S: Final = 60.0
KIB: Final = 1_024


def padded(lines: Sequence[bytes], padding_bytes: int) -> list[bytes]:
    """Return the events with more text in their payloads, which is text of the log itself."""
    text = b" ".join(lines).decode(errors="replace")
    larger = []
    for at, line in enumerate(lines):
        event = orjson.loads(line)
        start = at * 997 % max(1, len(text) - padding_bytes)
        event["payload"] = event["payload"] | {"more": text[start : start + padding_bytes]}
        larger.append(orjson.dumps(event))
    return larger


def message_bytes(lines: Sequence[bytes]) -> float:
    """Return the bytes of one message with these events, each named, as ``sluice send`` does it."""
    named = [
        orjson.dumps(orjson.loads(line) | {"event_id": f"n-{at}"}) for at, line in enumerate(lines)
    ]
    parsed = parse_batch(batch_body(named), strict=False)
    assert not isinstance(parsed, Rejected)
    stamps = Stamps()
    events = stamp_batch(
        parsed.candidates,
        tenant="load",
        source="batch",
        received_at=stamps.received_at(),
        new_ids=stamps.new_ids(len(parsed.candidates)),
    )
    rows: list[Rows] = gather(encode("events", events))
    return sum(len(seal(one, envelope_id="").body) + ATTRIBUTE_BYTES for one in rows)


def bytes_of(lines: Sequence[bytes]) -> tuple[float, float]:
    """Return the bytes of a message with one event, and what each further event adds."""
    step = max(1, len(lines) // SAMPLED_MESSAGES)
    alone = statistics.mean(message_bytes([line]) for line in lines[::step])
    groups = [
        lines[at : at + BATCH_EVENTS]
        for at in range(0, len(lines) - BATCH_EVENTS + 1, BATCH_EVENTS)
    ][:SAMPLED_MESSAGES]
    many = statistics.mean(message_bytes(group) for group in groups)
    return alone, (many - alone) / (BATCH_EVENTS - 1)


def batches_of(lines: Sequence[bytes], size: int) -> list[bytes]:
    """Return bodies of whole batches."""
    return [batch_body(list(lines[at : at + size])) for at in range(0, len(lines) - size + 1, size)]


def field_bytes(lines: Sequence[bytes]) -> float:
    """Return the mean bytes of an event's JSON that are not its payload."""
    return statistics.mean(
        len(line) - len(orjson.dumps(orjson.loads(line)["payload"])) for line in lines
    )


def answer_bytes(url: str, api_key: str, body: bytes) -> float:
    """Return the bytes of the answer to one event, with its head."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        headers = {"Authorization": f"ApiKey {api_key}", "Content-Type": "application/json"}
        connection.request("POST", parts.path, body, headers)
        answer = connection.getresponse()
        head = sum(len(name) + len(value) + len(": \r\n") for name, value in answer.getheaders())
        return float(len("HTTP/1.1 202 Accepted\r\n\r\n") + head + len(answer.read()))
    finally:
        connection.close()


def loop_seconds(pid: int) -> float:
    """Return the processor time of a process's main thread, in seconds."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


class _Road:
    """All parts on this machine, and what each uses while events go through them."""

    def __init__(self, folder: Path, url: str, key: str, pids: dict[str, int]) -> None:
        self._folder = folder
        self._url = url
        self._key = key
        self.pids = pids

    def used(
        self,
        path: str,
        bodies: Sequence[bytes],
        requests: int,
        *,
        cores: set[int] | None = None,
        connections: int = CONNECTIONS,
    ) -> dict[str, float]:
        """Send requests; return each part's processor seconds until it is quiet again.

        Args:
            path: Behind that of single events.
            bodies: Sent again and again.
            requests: How many.
            cores: Of the load generator; else every one.
            connections: At once.
        """
        file = self._folder / "bodies"
        file.write_bytes(b"\n".join(bodies) + b"\n")
        wait_until_quiet(self.pids.values())
        loop = loop_seconds(self.pids["gateway"])
        load = cores or set(range(os.cpu_count() or 1))

        def work() -> None:
            drive(
                self._url + path, self._key, file, cores=load, connections=connections,
                count=requests, seconds=WITHIN_S,
            )  # fmt: skip
            wait_until_quiet(self.pids.values())

        _, used = used_by(self.pids, work)
        return used | {"loop": loop_seconds(self.pids["gateway"]) - loop}


def measure(folder: Path, events: Events) -> Figures:
    """Measure every figure once."""
    env = parts_environment(folder / "sluice")
    key = add_tenant(env, "load")
    log = folder / "parts.log"
    batch = batches_of(events.lines, BATCH_EVENTS)
    large = padded(events.lines[: LARGE_EVENTS * 5], PADDING_BYTES)
    with running_parts(["gateway"], env, log=log) as edge:
        road = _Road(folder, url_of(env), key, edge)
        say("service times: single events, the gateway alone on a core")
        pin(edge["gateway"], {SERVER_CORE})
        road.used("", events.lines, TRACKS // 4, cores={LOAD_CORE})  # warms up
        single = road.used("", events.lines, TRACKS, cores={LOAD_CORE})
        answer = answer_bytes(url_of(env), key, events.lines[0])
        pin(edge["gateway"], set(range(os.cpu_count() or 1)))
        with (
            running_parts(["warehouse"], env, log=log) as store,
            running_parts(["worker"], env, log=log) as worker,
        ):
            road = _Road(folder, url_of(env), key, {**edge, **store, **worker})
            road.used("/batch", batch, BATCHES // 4, connections=BATCH_CONNECTIONS)
            say("service times: batches")
            in_batch = road.used("/batch", batch, BATCHES, connections=BATCH_CONNECTIONS)
            disk = disk_bytes(folder / "sluice/warehouse.url")
            say("service times: large events")
            in_large = road.used(
                "/batch",
                batches_of(large, LARGE_EVENTS),
                LARGE_BATCHES,
                connections=LARGE_CONNECTIONS,
            )
    return solve(
        single={name: used / TRACKS * 1e6 for name, used in single.items()},
        batch={name: used / (BATCHES * BATCH_EVENTS) * 1e6 for name, used in in_batch.items()},
        large={
            name: used / (LARGE_BATCHES * LARGE_EVENTS) * 1e6 for name, used in in_large.items()
        },
        sizes=(statistics.mean(map(len, events.lines)), statistics.mean(map(len, large))),
        field=field_bytes(events.lines),
        message=bytes_of(events.lines),
        disk=disk,
        answer=answer,
    )


def disk_bytes(address: Path) -> float:
    """Return the bytes on disk of a row of ``events``."""
    query = (
        "SELECT sum(bytes_on_disk) / sum(rows) FROM system.parts WHERE table = 'events' AND active"
    )
    return float(ask(address.read_text().strip(), query))


def solve(
    *,
    single: dict[str, float],
    batch: dict[str, float],
    large: dict[str, float],
    sizes: tuple[float, float],
    field: float,
    message: tuple[float, float],
    disk: float,
    answer: float,
) -> Figures:
    """Return what a request, an event and a KiB cost, from microseconds for an event each.

    Args:
        single: Of an event that is a request of its own.
        batch: Of an event in a batch of ``BATCH_EVENTS``.
        large: Of a larger event in a batch of ``LARGE_EVENTS``.
        sizes: Mean bytes of an event, and of a larger one.
        field: Bytes of an event that are not its payload.
        message: Bytes of a message with one event, and of each further one.
        disk: Bytes of a row.
        answer: Bytes of an answer.
    """
    request = (single["gateway"] - batch["gateway"]) / (1 - 1 / BATCH_EVENTS)
    event = batch["gateway"] - request / BATCH_EVENTS
    more_kib = (sizes[1] - sizes[0]) / KIB

    def each_kib(part: str) -> float:
        own = large[part] - (request / LARGE_EVENTS if part == "gateway" else 0.0)
        base = event if part == "gateway" else batch[part]
        return max(0.0, (own - base) / more_kib)

    return Figures(
        gateway_request_us=request,
        gateway_event_us=event,
        gateway_kib_us=each_kib("gateway"),
        gateway_loop_share=batch["loop"] / batch["gateway"],
        worker_event_us=batch["worker"],
        worker_kib_us=each_kib("worker"),
        warehouse_event_us=batch["warehouse"],
        warehouse_kib_us=each_kib("warehouse"),
        event_bytes=sizes[0],
        field_bytes=field,
        first_event_bytes=message[0],
        next_event_bytes=message[1],
        disk_bytes=disk,
        answer_bytes=answer,
    )


def median_of(figures: Sequence[Figures]) -> Figures:
    """Return each figure's median."""
    rows = [asdict(one) for one in figures]
    return Figures(**{name: statistics.median(row[name] for row in rows) for name in rows[0]})


def beside(now: Figures, kept: Figures) -> str:
    """Return both as a table, ready to be put into sluice/cost/figures.py."""
    of_kept = asdict(kept)
    lines = [
        [f"{name}={value:.3g},", MEANING[name][0], f"{of_kept[name]:.3g}", MEANING[name][1]]
        for name, value in asdict(now).items()
    ]
    return table(["now", "unit", "kept", "meaning"], lines)


def main(measure_once: Callable[[Path, Events], Figures] = measure) -> int:
    """Measure, and print beside what is kept."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.service_times",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=Path, help="another log: NDJSON, also with .gz")
    options = parser.parse_args()
    rounds = []
    for number in range(options.rounds):
        say(f"service times: round {number + 1} of {options.rounds}")
        with tempfile.TemporaryDirectory(prefix="sluice-times-") as name:
            folder = Path(name)
            rounds.append(measure_once(folder, read_events(folder, options.events)))
    print(measured_on())
    print(beside(median_of(rounds), MEASURED))
    return 0


if __name__ == "__main__":
    sys.exit(main())
