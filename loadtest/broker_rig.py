"""What the benchmarks of the broker share: real events, parts with environments, and their CPU."""

import gzip
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import orjson

from loadtest.processes import command, free_port, running

T = TypeVar("T")

ROOT: Final = Path(__file__).parent.parent
SLICE: Final = ROOT / "tests/data/wikiticker.first500.ndjson"
WHOLE: Final = ROOT.parent / "shared/data/wikiticker.ndjson.gz"
PROJECT: Final = "sluice-bench"
BATCH_EVENTS: Final = 500
QUEUE_MAX_BYTES: Final = 8 * 1024**3
HEAP_MB: Final = 2_048
"""Of the emulator, which keeps all messages in memory."""
SENDER: Final = "load generator"
QUIET_CORES: Final = 0.15
QUIET_WITHIN_S: Final = 20.0
QUIET_LOOK_S: Final = 0.5
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Events:
    """Real events, and request bodies made of them in files, one a line."""

    name: str
    file: Path
    """Plain NDJSON."""
    lines: list[bytes]
    single: Path
    batch: Path


def read_events(folder: Path, file: Path | None) -> Events:
    """Read events from a file; else from the whole log where it is, else from the slice of it."""
    source = file or (WHOLE if WHOLE.exists() else SLICE)
    data = source.read_bytes()
    lines = (gzip.decompress(data) if source.suffix == ".gz" else data).splitlines()
    plain, batch = folder / "events.ndjson", folder / "batch.ndjson"
    plain.write_bytes(b"\n".join(lines) + b"\n")
    bodies = [
        b'{"events":[' + b",".join(lines[at : at + BATCH_EVENTS]) + b"]}"
        for at in range(0, len(lines) - BATCH_EVENTS + 1, BATCH_EVENTS)
    ]
    batch.write_bytes(b"\n".join(bodies) + b"\n")
    return Events(source.name, plain, lines, plain, batch)


def parts_environment(data_dir: Path, *, emulator: str = "") -> dict[str, str]:
    """Return the settings of one set of parts; with an emulator the queue is on Pub/Sub."""
    worker_port = free_port()
    env = {
        "SLUICE_DATA_DIR": str(data_dir),
        "SLUICE_PORT": str(free_port()),
        "SLUICE_WORKER_PORT": str(worker_port),
        "SLUICE_WORKER_URL": f"http://127.0.0.1:{worker_port}",
        "SLUICE_WAREHOUSE_PORT": str(free_port()),
        "SLUICE_QUEUE_MAX_BYTES": str(QUEUE_MAX_BYTES),
    }
    if emulator:
        env |= {"SLUICE_QUEUE_URL": f"pubsub://{PROJECT}", "PUBSUB_EMULATOR_HOST": emulator}
    return env


def add_tenant(env: dict[str, str], slug: str) -> str:
    """Add a tenant and return its key; before the gateway starts, so that it is known."""
    return str(orjson.loads(command(["tenant", "add", slug, "--json"], env))["api_key"])


def url_of(env: dict[str, str]) -> str:
    """Return the address of the gateway's ``track``."""
    return f"http://127.0.0.1:{env['SLUICE_PORT']}/api/ingestion/track"


@contextmanager
def running_parts(
    names: Iterable[str], env: dict[str, str], *, log: Path, cores: set[int] | None = None
) -> Iterator[dict[str, int]]:
    """Run parts of Sluice, one process each, until the block ends; their ids by name."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                running(["sluice.cli", name], env=env, log=log, cores=cores)
            ).pid
            for name in names
        }


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process and its children have used, all threads together."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(int(ticks) for ticks in stat[11:15]) / _TICKS_PER_S  # also of children that ended
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_seconds(int(child)) for child in children)


def wait_until_quiet(pids: Iterable[int]) -> None:
    """Wait, for a bounded time, until processes have nothing left to do of the last round."""
    watched = list(pids)
    deadline = time.monotonic() + QUIET_WITHIN_S
    before = sum(cpu_seconds(pid) for pid in watched)
    while time.monotonic() < deadline:
        time.sleep(QUIET_LOOK_S)
        now = sum(cpu_seconds(pid) for pid in watched)
        if now - before < QUIET_CORES * QUIET_LOOK_S:
            return
        before = now


def used_by(pids: dict[str, int], work: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """Do the work; return its result and the CPU seconds that each process used meanwhile.

    ``SENDER`` stands for this process and the load generators that it started and that ended.
    """
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    own = sum(os.times()[:4])
    result = work()
    used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    return result, used | {SENDER: sum(os.times()[:4]) - own}
