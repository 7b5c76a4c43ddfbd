"""Single processes of Sluice beside the running stack, whose tenants and warehouse they share.

A gateway alone starts in a second. Tests that lower its limits, fill its queue or kill it have one
of their own, and leave the stack that all others share in peace.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READY_WITHIN_S = 30
STOP_WITHIN_S = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One running process."""

    process: subprocess.Popen[bytes]
    url: str

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def kill(self) -> None:
        """Kill it as a power cut would, and wait until it is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=STOP_WITHIN_S)


@contextmanager
def running(command: str, *, data_dir: Path, settings: Mapping[str, str]) -> Iterator[Part]:
    """Run ``sluice <command>`` until the block ends; ``settings`` are SLUICE_* without the prefix.

    It listens on a free port, and must end well when asked to stop.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    given = {"DATA_DIR": str(data_dir), "WORKER_PORT": "0", "PORT": "0"} | dict(settings)
    environment = os.environ | {f"SLUICE_{name}": value for name, value in given.items()}
    with (data_dir / f"{command}.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "sluice.cli", command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            yield Part(process=process, url=_address_when_ready(process, log.name))
        finally:
            was_killed = process.poll() is not None
            _stop(process)
        assert was_killed or process.returncode == 0, Path(log.name).read_text()[-3000:]


def _address_when_ready(process: subprocess.Popen[bytes], log: str) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + READY_WITHIN_S
    seen = b""
    while not seen.endswith(b"\n"):
        left = deadline - time.monotonic()
        can_read, _, _ = select.select([process.stdout], [], [], max(0, left))
        chunk = os.read(process.stdout.fileno(), 4096) if can_read else b""
        if not chunk:
            message = f"the process was not ready; see {log}:\n{Path(log).read_text()[-3000:]}"
            raise RuntimeError(message)
        seen += chunk
    word, _, address = seen.decode().strip().partition(" ")
    assert word == "ready", seen
    return address


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=STOP_WITHIN_S)
    if process.stdout is not None:
        process.stdout.close()
