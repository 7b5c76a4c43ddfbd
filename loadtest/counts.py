"""``python -m loadtest.counts``: what an event costs on the hot path, in counts instead of seconds.

Seconds of a shared machine differ by a third from hour to hour; these counts do not:

* ``bytecodes`` that the interpreter executes for an event, and ``calls`` into C. They see work
  that moved from C into Python, another look-up, another layer. What C itself does they do not see.
* ``peak_bytes`` of memory, above what was there before.
* With ``--callgrind`` also machine instructions, C and Python together, as valgrind counts them;
  this takes minutes, needs valgrind, and is for people, not for the suite.

``counts.json`` keeps the figures by version of Python, because each has bytecodes of its own;
tests/unit/loadtest/test_counts.py holds the code to them.
"""

import argparse
import asyncio
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

import orjson
import uvloop

from gateway.core.limits import RateLimits
from gateway.dispatch import Dispatcher
from gateway.fast_path import FastPath
from gateway.publisher import Publisher
from gateway.rejections import Rejections
from gateway.routes.ingest import Ingest
from gateway.server import HttpServer
from gateway.sources.segops import parse_batch, parse_track
from gateway.stamps import Stamps
from gateway.token_keys import shared_secret
from loadtest.plan import build_request
from loadtest.report import table
from loadtest.scenario import BATCH_EVENTS, TRACK, batch_body
from sluice.core.envelope import Envelope, encode
from sluice.core.errors import Rejected
from sluice.core.event import stamp, stamp_batch
from sluice.telemetry import HTTP_FAST_PATH
from sluice.tenants import TenantsFile

KEPT: Final = Path(__file__).parent / "counts.json"
SAMPLE: Final = Path(__file__).parent.parent / "tests/data/wikiticker.first500.ndjson"
PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
TRACKS: Final = 200
REQUESTS: Final = 100
AT_ONCE: Final = 50
NOW_S: Final = 1_790_000_000.0
CALLGRIND_TIMES: Final = (2, 6)
_COLLECTED: Final = re.compile(rb"Collected : (\d+)")
Counts = dict[str, float]


class Counter:
    """Counts bytecodes and calls into C of this thread, between ``start`` and ``stop``."""

    def __init__(self) -> None:
        self.bytecodes = 0
        self.calls = 0

    def start(self) -> None:
        """Begin to count."""
        sys.setprofile(self._profile)
        sys.settrace(self._trace)

    def stop(self) -> None:
        """Count no more."""
        sys.settrace(None)
        sys.setprofile(None)

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            self.bytecodes += 1
        return self._trace

    def _profile(self, _frame: FrameType, event: str, _argument: object) -> None:
        if event == "c_call":
            self.calls += 1


def fixed_stamps() -> Stamps:
    """Return stamps whose time stands still and whose chance is none."""
    return Stamps(random=bytes, unix_s=lambda: NOW_S)


def track_work(lines: Sequence[bytes]) -> Callable[[], None]:
    """Return what reads, stamps and encodes single events."""
    stamps = fixed_stamps()

    def work() -> None:
        for line in lines:
            parsed = parse_track(line, strict=False)
            assert not isinstance(parsed, list)
            event = stamp(
                parsed,
                tenant="load",
                source="track",
                received_at=stamps.received_at(),
                new_id=stamps.new_id(),
            )
            encode("events", (event,))

    return work


def batch_work(lines: list[bytes]) -> Callable[[], None]:
    """Return what reads, stamps and encodes a batch."""
    stamps = fixed_stamps()
    body = batch_body(lines)

    def work() -> None:
        parsed = parse_batch(body, strict=False)
        assert not isinstance(parsed, Rejected)
        events = stamp_batch(
            parsed.candidates,
            tenant="load",
            source="batch",
            received_at=stamps.received_at(),
            new_ids=stamps.new_ids(len(parsed.candidates)),
        )
        encode("events", events)

    return work


def counted(work: Callable[[], None], events: int) -> Counts:
    """Return the counts of one event, after the work was done once."""
    work()
    counter = Counter()
    counter.start()
    try:
        work()
    finally:
        counter.stop()
    gc.collect()
    tracemalloc.start()
    try:
        work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return {
        "bytecodes": counter.bytecodes / events,
        "calls": counter.calls / events,
        "peak_bytes": peak / events,
    }


class _Queue:
    """Takes everything at once: what the disk does is not counted here."""

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        return None


class _Wire(asyncio.Transport):
    """A connection's other end, without a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = asyncio.Event()
        self.answer = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep the answer, which Sluice writes at once."""
        self.answer = bytes(data)
        self.answered.set()

    def is_closing(self) -> bool:
        """Return that it is open."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what a socket would know: nothing."""
        return default

    def close(self) -> None:
        """Nothing is open."""

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""


async def count_requests(folder: Path, lines: Sequence[bytes]) -> tuple[Counts, Counts]:
    """Return the counts of one ``track`` request, from its bytes to those of the answer.

    On the long way it comes alone; on the fast path connections send together.
    """
    tenants = TenantsFile(folder / "tenants.toml")
    key = tenants.add_tenant("load")
    tenants.refresh()
    directory = tenants.directory
    secret = "s" * 32
    keys = shared_secret(secret)
    stamps = fixed_stamps()
    stop = asyncio.Event()
    async with Publisher(_Queue(), max_pending_bytes=2**25, timeout_s=5.0) as publisher:
        ingest = Ingest(
            directory=lambda: directory,
            token_keys=lambda: keys,
            session_secret=secret,
            limits=RateLimits(),
            monotonic=lambda: NOW_S,
            publisher=publisher,
            rejections=Rejections(publisher, new_ids=stamps.new_ids),
            stamps=stamps,
            body_timeout_s=10.0,
        )
        dispatcher = Dispatcher(
            ingest.routes(), rejections=ingest.rejections, new_request_id=lambda: "r-1"
        )
        fast_path = FastPath(
            directory=lambda: directory,
            token_keys=lambda: keys,
            session_secret=secret,
            app=dispatcher,
            publisher=publisher,
            rejections=ingest.rejections,
            stamps=stamps,
            new_request_id=lambda: "r-1",
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(publisher.run(stop))
            headers = {"Authorization": f"ApiKey {key}"}
            requests = [build_request(TRACK, line, headers) for line in lines]
            long = await _count_rounds(dispatcher, None, [[one] for one in requests])
            at_once = [requests[at : at + AT_ONCE] for at in range(0, len(requests), AT_ONCE)]
            fast = await _count_rounds(dispatcher, fast_path, at_once)
            stop.set()
    return long, fast


async def _count_rounds(
    dispatcher: Dispatcher, fast_path: FastPath | None, rounds: Sequence[Sequence[bytes]]
) -> Counts:
    """Send the requests of each round on connections of their own; count after two rounds."""
    server = HttpServer(
        dispatcher, new_request_id=lambda: "r-1", max_connections=AT_ONCE, fast_path=fast_path
    )
    connections: list[tuple[asyncio.Protocol, _Wire]] = []
    for _ in rounds[0]:
        connection, wire = server(), _Wire()
        assert isinstance(connection, asyncio.Protocol)
        connection.connection_made(wire)
        connections.append((connection, wire))

    async def send(requests: Sequence[bytes]) -> None:
        sent = list(zip(requests, connections, strict=False))
        for request, (connection, wire) in sent:
            wire.answered.clear()
            connection.data_received(request)
        for _, (_, wire) in sent:
            await wire.answered.wait()
            assert wire.answer.startswith(b"HTTP/1.1 202"), wire.answer

    for _ in range(2):
        await send(rounds[0])
        await asyncio.sleep(0.01)  # as a client's next request comes: after the turn of the last
    before = HTTP_FAST_PATH.value()
    counter = Counter()
    counter.start()
    try:
        for requests in rounds:
            await send(requests)
    finally:
        counter.stop()
    events = sum(map(len, rounds))
    assert HTTP_FAST_PATH.value() - before == (0 if fast_path is None else events)
    for connection, _ in connections:
        connection.connection_lost(None)
    return {"bytecodes": counter.bytecodes / events, "calls": counter.calls / events}


def count_all() -> dict[str, Counts]:
    """Return the counts of one event on each way."""
    lines = SAMPLE.read_bytes().splitlines()
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        request, fast = runner.run(count_requests(Path(folder), lines[:REQUESTS]))
    return {
        "track: parse, stamp, encode": counted(track_work(lines[:TRACKS]), TRACKS),
        f"batch of {BATCH_EVENTS}: parse, stamp, encode": counted(batch_work(lines), len(lines)),
        "track: a request, from its bytes to the answer's": request,
        f"track: the same on the fast path, {AT_ONCE} together": fast,
    }


def kept_counts() -> dict[str, Counts] | None:
    """Return the figures that are kept for this version of Python; None if there are none."""
    kept: dict[str, dict[str, Counts]] = orjson.loads(KEPT.read_bytes())
    return kept.get(PYTHON)


def keep(counts: dict[str, Counts]) -> None:
    """Keep figures for this version of Python."""
    kept = orjson.loads(KEPT.read_bytes()) if KEPT.exists() else {}
    rounded = {
        name: {what: round(value, 1) for what, value in each.items()}
        for name, each in counts.items()
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    KEPT.write_bytes(orjson.dumps(kept | {PYTHON: rounded}, option=options))


def grown(kept: dict[str, Counts], now: dict[str, Counts], tolerance: float) -> list[str]:
    """Return a sentence for each figure that is larger than the kept one by more than a share."""
    return [
        f"{name}: {now[name][what]:,.1f} {what} an event, {value:,.1f} are kept"
        for name, each in kept.items()
        for what, value in each.items()
        if now[name][what] > value * (1 + tolerance)
    ]


def instructions(work: str) -> float:
    """Return how many machine instructions an event takes, as callgrind counts them.

    The work is done a few times and many times; the difference has no start of Python in it.
    """
    few, many = (_collected(work, times) for times in CALLGRIND_TIMES)
    events = BATCH_EVENTS * (CALLGRIND_TIMES[1] - CALLGRIND_TIMES[0])
    return (many - few) / events


def _collected(work: str, times: int) -> int:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        message = "valgrind is not here: install it (Debian: apt-get install valgrind)"
        raise SystemExit(message)
    ended = subprocess.run(  # noqa: S603 - valgrind and our own module
        [
            valgrind,
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            sys.executable,
            "-m",
            "loadtest.counts",
            "--do",
            work,
            "--times",
            str(times),
        ],
        env=os.environ | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        check=True,
    )
    found = _COLLECTED.search(ended.stderr)
    assert found is not None, ended.stderr
    return int(found[1])


def main() -> int:
    """Count, print beside what is kept, and keep it if asked to; 1 if something grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"keep it in {KEPT.name}")
    parser.add_argument("--callgrind", action="store_true", help="machine instructions, too")
    parser.add_argument("--do", choices=["track", "batch"], help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.do:
        lines = SAMPLE.read_bytes().splitlines()
        work = {"track": track_work, "batch": batch_work}[options.do](lines)
        for _ in range(options.times):
            work()
        return 0
    now = count_all()
    if options.write:
        keep(now)
    kept = kept_counts() or {}
    rows = [
        [name, what, f"{value:,.1f}", f"{kept.get(name, {}).get(what, 0):,.1f}"]
        for name, each in now.items()
        for what, value in each.items()
    ]
    print(table(["work", "count an event", "now", "kept"], rows))
    if options.callgrind:
        for name in ("track", "batch"):
            print(f"{name}: {instructions(name):,.0f} machine instructions an event")
    return 1 if grown(kept, now, 0.02) else 0


if __name__ == "__main__":
    sys.exit(main())
