"""``python -m loadtest.forwarding``: how fast a worker forwards to Amplitude, and with what memory.

Speed: events a second that one worker on one core gets from the queue into the simulated Amplitude
(20 ms an answer, on the other core), beside a bare aiohttp client that posts the same events as
ready-made bodies with as many requests on their way; interleaved, median of the rounds.

Memory: a backlog of a million events, half of them by 10,000 users that Amplitude throttles; the
highest resident memory of the worker when the others are delivered and these are parked, and again
when they were released and sent.
"""

import argparse
import asyncio
import os
import statistics
import time
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import aiohttp
import msgspec
import orjson

from loadtest.processes import (
    LOAD_CORE,
    SERVER_CORE,
    command,
    free_port,
    peak_memory_mb,
    pin,
    running,
)
from loadtest.report import say
from sluice.core.amplitude import AmplitudeConfig
from sluice.core.envelope import encode, seal
from sluice.core.event import Event, format_ts, new_event_ids
from sluice.queue import open_queue
from sluice.settings import load_settings
from tests.support.amplitude import V2, running_simulator
from worker.amplitude_client import body_of
from worker.core.amplitude_map import EventMapper, Mapped, SourceEvent

TENANT: Final = "bench"
API_KEY: Final = "bench-key"
IN_FLIGHT: Final = 4
REQUEST_EVENTS: Final = 1_000
PUBLISH_EVENTS: Final = 50_000
POLL_S: Final = 0.05
DEADLINE_S: Final = 600.0
PAYLOAD: Final = orjson.dumps(
    {
        "url": "https://shop.example/products/blue-shirt",
        "title": "Blue shirt",
        "referrer": "https://search.example/?q=blue+shirt",
        "price": 12.5,
        "tags": ["new", "sale"],
    }
)


def make_events(count: int, users: Sequence[str]) -> Iterator[list[Event]]:
    """Yield events in groups of some thousands, by the users in turn."""
    now = datetime.now(UTC)
    received_at = format_ts(now)
    for first in range(0, count, PUBLISH_EVENTS):
        size = min(PUBLISH_EVENTS, count - first)
        ids = new_event_ids(int(now.timestamp() * 1000), os.urandom(10), size)
        yield [
            Event(
                tenant=TENANT,
                event_id=ids[n],
                user_id=users[(first + n) % len(users)],
                anonymous_id="",
                event_type="page_viewed",
                occurred_at=received_at,
                received_at=received_at,
                source="batch",
                payload=msgspec.Raw(PAYLOAD),
            )
            for n in range(size)
        ]


async def publish(data_dir: Path, count: int, users: Sequence[str]) -> None:
    """Put events into the queue as a gateway does."""
    settings = load_settings(data_dir=data_dir, queue_max_bytes=8 * 1024**3)
    async with open_queue(settings) as queue:
        for events in make_events(count, users):
            await queue.publish(
                "events",
                [
                    seal(rows, envelope_id=str(uuid.uuid4()))
                    for rows in await asyncio.to_thread(encode, "events", events)
                ],
            )


def ready_bodies(count: int, users: Sequence[str]) -> list[bytes]:
    """Return the requests that forwarding these events takes, compressed as the worker does."""
    config = AmplitudeConfig(api_key=API_KEY)
    mapper = EventMapper(config)
    made: list[bytes] = []
    for events in make_events(count, users):
        bodies: list[bytes] = []
        for event in events:
            mapped = mapper.map(
                SourceEvent(
                    tenant=event.tenant,
                    event_id=event.event_id,
                    user_id=event.user_id,
                    event_type=event.event_type,
                    occurred_at=event.occurred_at,
                    received_at=event.received_at,
                    source=event.source,
                    payload=event.payload,
                )
            )
            assert isinstance(mapped, Mapped)
            bodies.append(mapped.body)
        for first in range(0, len(bodies), REQUEST_EVENTS):
            body = body_of(config, bodies[first : first + REQUEST_EVENTS])
            packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
            made.append(packer.compress(body) + packer.flush())
    return made


async def post_ready(url: str, bodies: Sequence[bytes]) -> None:
    """Post bodies as a bare client does, some at once."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    waiting = iter(bodies)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:

        async def lane() -> None:
            for body in waiting:
                async with session.post(url + V2, data=body, headers=headers) as response:
                    await response.read()
                    response.raise_for_status()

        for _ in range(IN_FLIGHT):
            tasks.create_task(lane())


@dataclass(frozen=True, slots=True)
class Rig:
    """A simulator, a warehouse, and where their worker keeps its things."""

    data_dir: Path
    simulator: str

    @property
    def environment(self) -> dict[str, str]:
        """Of the worker."""
        return {
            "SLUICE_DATA_DIR": str(self.data_dir),
            "SLUICE_WORKER_PORT": str(free_port()),
            "SLUICE_AMPLITUDE_URL": self.simulator,
            "SLUICE_QUEUE_MAX_BYTES": str(8 * 1024**3),
        }

    async def set(self, **members: object) -> None:
        """Set state of the simulated project."""
        body = orjson.dumps({"api_key": API_KEY, **members})
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.simulator}/_sim", data=body) as response,
        ):
            response.raise_for_status()

    async def stored(self, session: aiohttp.ClientSession) -> int:
        """Return how many events the simulator holds."""
        async with session.get(f"{self.simulator}/_sim") as response:
            return int((await response.json())["projects"][API_KEY]["stored"])

    async def wait_until_stored(self, count: int) -> list[tuple[float, int]]:
        """Wait for so many events; return when how many were there."""
        seen: list[tuple[float, int]] = []
        deadline = time.monotonic() + DEADLINE_S
        async with aiohttp.ClientSession() as session:
            while not seen or seen[-1][1] < count:
                if time.monotonic() > deadline:
                    message = f"{seen[-1][1]} of {count} events arrived in {DEADLINE_S:g} s"
                    raise TimeoutError(message)
                seen.append((time.monotonic(), await self.stored(session)))
                await asyncio.sleep(POLL_S)
        return seen


@contextmanager
def running_rig(folder: Path) -> Iterator[Rig]:
    """Run a simulator and a warehouse on the load's core, with a tenant that forwards."""
    data_dir = folder / "data"
    env = {"SLUICE_DATA_DIR": str(data_dir), "SLUICE_WAREHOUSE_PORT": str(free_port())}
    with ExitStack() as stack:
        url = stack.enter_context(running_simulator("--api-key", API_KEY, "--latency-ms", "20"))
        rig = Rig(data_dir, url)
        stack.enter_context(running(["sluice.cli", "warehouse"], env=env, cores={LOAD_CORE}))
        command(["tenant", "add", TENANT], env)
        command(["tenant", "set", TENANT, f"amplitude.api_key={API_KEY}"], env)
        asyncio.run(rig.set(eps_threshold=None))
        for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
            pin(int(child), {LOAD_CORE})
        yield rig


@contextmanager
def running_worker(rig: Rig) -> Iterator[int]:
    """Run a worker that only forwards, on the server's core; yield its process id."""
    words = ["sluice.cli", "worker", "--only", "amplitude"]
    log = rig.data_dir / "worker.log"
    with running(words, env=rig.environment, cores={SERVER_CORE}, log=log) as process:
        yield process.pid


def cpu_s(pid: int) -> float:
    """Return the processor time that a process used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_speed(rig: Rig, count: int, users: Sequence[str], rounds: int) -> None:
    """Print the worker's rate beside the bare client's."""
    ours: list[float] = []
    bare: list[float] = []
    per_cpu: list[float] = []
    for number in range(1, rounds + 1):
        say(f"speed: round {number} of {rounds}")
        bodies = ready_bodies(count, users)
        pin(os.getpid(), {SERVER_CORE})
        started = time.perf_counter()
        asyncio.run(post_ready(rig.simulator, bodies))
        bare.append(count / (time.perf_counter() - started))
        pin(os.getpid(), {SERVER_CORE, LOAD_CORE})
        asyncio.run(rig.set(reset=True, eps_threshold=None))
        asyncio.run(publish(rig.data_dir, count, users))
        with running_worker(rig) as pid:
            began = cpu_s(pid)
            seen = asyncio.run(rig.wait_until_stored(count))
            used = cpu_s(pid) - began
        middle = [one for one in seen if 0.1 * count <= one[1] <= 0.95 * count]
        (first_at, first), (last_at, last) = middle[0], middle[-1]
        ours.append((last - first) / (last_at - first_at))
        per_cpu.append(count / used)
        asyncio.run(rig.set(reset=True, eps_threshold=None))
    ratio = statistics.median(one / other for one, other in zip(ours, bare, strict=True))
    say(f"worker      {statistics.median(ours):>12,.0f} events/s")
    say(f"            {statistics.median(per_cpu):>12,.0f} events for a second of its core")
    say(f"bare client {statistics.median(bare):>12,.0f} events/s")
    say(f"ratio       {ratio:>12.2f}")


def measure_memory(rig: Rig, count: int, throttled: int) -> None:
    """Print the worker's highest memory with half of a backlog throttled."""
    slow = [f"slow-{n}" for n in range(throttled)]
    users = [name for n in range(throttled) for name in (f"user-{n}", slow[n])]
    asyncio.run(rig.set(reset=True, eps_threshold=None, throttle={"user_ids": slow}))
    asyncio.run(publish(rig.data_dir, count, users))
    say(f"memory: {count:,} events wait, half of them by {throttled:,} users that are throttled")
    with running_worker(rig) as pid:
        asyncio.run(rig.wait_until_stored(count // 2))
        say(f"others delivered       {peak_memory_mb(pid):>8.0f} MB at most")
        asyncio.run(rig.set(release=True))
        started = time.monotonic()
        asyncio.run(rig.wait_until_stored(count))
        took_s = time.monotonic() - started
        say(f"throttled ones too     {peak_memory_mb(pid):>8.0f} MB at most, {took_s:.0f} s later")


def main() -> None:
    """Measure and say it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backlog", type=int, default=1_000_000, help="0: no memory run")
    parser.add_argument("--throttled", type=int, default=10_000)
    given = parser.parse_args()
    with TemporaryDirectory() as folder, running_rig(Path(folder)) as rig:
        users = [f"user-{n}" for n in range(10_000)]
        if given.rounds:
            measure_speed(rig, given.events, users, given.rounds)
        if given.backlog:
            measure_memory(rig, given.backlog, given.throttled)


if __name__ == "__main__":
    main()
