"""Starts and measures the processes of a benchmark: Sluice through its command, peers by module."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

SERVER_CORE = 0
LOAD_CORE = 1


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
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``python -m …`` until the block ends.

    With ``ready_port`` the block starts when that port answers; else when a line ``ready`` comes.
    """
    with (log or Path(os.devnull)).open("ab") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own modules
            [sys.executable, "-m", *words],
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


def drive(
    url: str, api_key: str, bodies: Path, *, cores: set[int], **options: float | Path
) -> dict[str, float]:
    """Run the load generator in a process of its own and return its figures."""
    words = [sys.executable, "-m", "loadtest.driver", "--url", url, "--api-key", api_key]
    words += ["--bodies", str(bodies)]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:  # noqa: S603 - our module
        pin(process.pid, cores)
        printed, _ = process.communicate()
    result = orjson.loads(printed)
    refused = {status: n for status, n in result["statuses"].items() if status[0] != "2"}
    if refused or result["broken_connections"]:
        message = f"not every answer was 2xx: {result}"
        raise RuntimeError(message)
    return dict(result)


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
    """Return the processor time that a process has used, all its threads together, in seconds."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((one / "schedstat").read_text().split()[0]) for one in threads) / 1e9


def peak_memory_mb(pid: int) -> float:
    """Return the highest resident memory that a process had, in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
