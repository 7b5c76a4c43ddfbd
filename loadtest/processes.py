"""Starts and measures the processes of a benchmark: Sluice through its command, peers by module."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import msgspec
import orjson

from loadtest.plan import (
    DRAIN_S,
    MAX_REQUESTS,
    Phase,
    Plan,
    Request,
    build_request,
    check,
    share,
    write_plan,
)
from loadtest.seen import Seen, merge, merged

SERVER_CORE = 0
LOAD_CORE = 1
_CPUCLOCK_SCHED = 2
"""Linux counts each process's time by the nanosecond in a clock whose number is made of its id."""
START_S = 60.0
"""How long a generator may take until it sends, with 20,000 connections on a busy machine."""


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def pin(pid: int, cores: set[int]) -> None:
    """Bind all threads of a process to cores, where the machine has so many."""
    if max(cores) < (os.cpu_count() or 1):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


@contextmanager
def running(
    words: list[str],
    *,
    env: dict[str, str] | None = None,
    ready_port: int | None = None,
    cores: set[int] | None = None,
    log: Path | None = None,
    python: str = sys.executable,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m …`` until the block ends.

    With ``ready_port`` the block starts when that port answers; else when a line ``ready`` comes.
    ``python`` may be that of another environment.
    """
    with (log or Path(os.devnull)).open("ab") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own modules
            [python, "-m", *words],
            env=os.environ | (env or {}),
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            if cores:
                pin(process.pid, cores)
            _wait_until_ready(process, ready_port)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int | None) -> None:
    if port is None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().startswith(b"ready"):
                return
        message = f"{process.args!r} ended before it was ready"
        raise RuntimeError(message)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    message = f"nothing listens on port {port}"
    raise RuntimeError(message)


def command(words: list[str], env: dict[str, str]) -> bytes:
    """Run one ``sluice`` command and return what it prints."""
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "sluice.cli", *words],
        env=os.environ | env,
        check=True,
        capture_output=True,
    ).stdout


class Generator:
    """A generator process on its way with a plan."""

    def __init__(self, plan: Plan, *, cores: set[int]) -> None:
        self._folder = TemporaryDirectory(prefix="sluice-plan-")
        path = Path(self._folder.name) / "plan"
        write_plan(plan, path)
        self._process = subprocess.Popen(  # noqa: S603 - our module
            [sys.executable, "-m", "loadtest.driver", str(path)], stdout=subprocess.PIPE
        )
        pin(self._process.pid, cores)
        self._bound_s = sum(phase.seconds + DRAIN_S for phase in plan.phases) + START_S

    def result(self) -> Seen:
        """Wait for its end, for a bounded time, and return what it saw.

        Raises:
            RuntimeError: It failed, or did not end.
        """
        try:
            printed, _ = self._process.communicate(timeout=self._bound_s)
        except subprocess.TimeoutExpired:
            self.kill()
            message = f"a load generator did not end within {self._bound_s:.0f} s"
            raise RuntimeError(message) from None
        finally:
            self._folder.cleanup()
        if self._process.returncode:
            message = "a load generator failed; what it said is above"
            raise RuntimeError(message)
        return msgspec.json.decode(printed, type=Seen)

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.communicate()


def generate(plan: Plan, *, cores: set[int], generators: int = 1) -> Seen:
    """Send a plan from processes of their own and return what they saw together."""
    check(plan)
    running_now: list[Generator] = []
    try:
        for part in share(plan, generators):
            running_now.append(Generator(part, cores=cores))  # noqa: PERF401 - those that run are ended below
        return merge([each.result() for each in running_now])
    except BaseException:
        for each in running_now:
            each.kill()
        raise


def requests_of(
    url: str, api_key: str, bodies: Path, *, headers: Path | None = None
) -> list[Request]:
    """Return a request for each body.

    Args:
        url: With the path.
        api_key: Of the tenant.
        bodies: One JSON body a line.
        headers: For each body an object of more headers.
    """
    path = urlsplit(url).path
    lines = bodies.read_bytes().splitlines()
    more = headers.read_bytes().splitlines() if headers else [b"{}"] * len(lines)
    own = {"Authorization": f"ApiKey {api_key}"}
    return [
        Request("post", build_request(path, body, own | orjson.loads(each)))
        for body, each in zip(lines, more, strict=True)
    ]


def drive(
    url: str,
    api_key: str,
    bodies: Path,
    *,
    cores: set[int],
    connections: int = 64,
    seconds: float = 5.0,
    count: int = MAX_REQUESTS,
    headers: Path | None = None,
) -> dict[str, float]:
    """Send bodies in a closed loop; see ``requests_of`` and ``send``."""
    requests = requests_of(url, api_key, bodies, headers=headers)
    return send(url, requests, cores=cores, connections=connections, seconds=seconds, count=count)


def send(
    url: str,
    requests: list[Request],
    *,
    cores: set[int],
    connections: int = 64,
    seconds: float = 5.0,
    count: int = MAX_REQUESTS,
    rate: float = 0.0,
) -> dict[str, float]:
    """Send requests and return the figures; every answer has to be 2xx.

    Args:
        url: Of the server.
        requests: Sent in this order, again and again.
        cores: Of the generator.
        connections: At once.
        seconds: Bound of the time.
        count: Bound of the requests.
        rate: Requests a second of an open loop; 0: a closed loop.

    Raises:
        RuntimeError: An answer was not 2xx, or none came.
    """
    phase = Phase(name="load", seconds=seconds, count=count, rate=rate)
    plan = Plan(url=url, requests=requests, phases=[phase], connections=connections)
    seen = generate(plan, cores=cores)
    if any(status[0] != "2" for status in seen.statuses) or seen.broken_connections:
        message = (
            f"not every answer was 2xx: {seen.statuses}, {seen.broken_connections} broken"
            " connections"
        )
        raise RuntimeError(message)
    latencies = merged(group.histogram for group in seen.groups)
    took = seen.durations_s["load"]
    return {
        "requests": len(latencies),
        "seconds": took,
        "requests_per_s": len(latencies) / took,
        "p50_ms": latencies.quantile_ms(0.5),
        "p99_ms": latencies.quantile_ms(0.99),
    }


def children(pid: int) -> dict[str, int]:
    """Return the parts that ``sluice run`` started, by name."""
    found: dict[str, int] = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        for name in ("gateway", "worker", "warehouse"):
            if name in words:
                found[name] = int(child)
    return found


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, in seconds, also by threads that ended.

    Raises:
        OSError: There is no such process.
    """
    return time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED) / 1e9


def peak_memory_mb(pid: int) -> float:
    """Return the highest resident memory that a process had, in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
