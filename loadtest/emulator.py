"""Google's Pub/Sub emulator, in a process of its own."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.processes import free_port

READY_WITHIN_S: Final = 30
STOP_WITHIN_S: Final = 10
ASK_EVERY_S: Final = 0.02
QUICK_COMPILER: Final = "-XX:TieredStopAtLevel=1"
"""Java compiles with the first of its two compilers only. The second one takes up to a third of a
core for the first 20,000 publishes, and in the end a publish costs about the same."""
MISSING: Final = (
    "Google's Pub/Sub emulator is not here: install Java and `gcloud components install"
    " pubsub-emulator` (or Google's apt package google-cloud-cli-pubsub-emulator), or set"
    " SLUICE_PUBSUB_EMULATOR_JAR to its jar."
)
_JARS: Final = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running emulator."""

    host: str
    """``host:port``: for ``PUBSUB_EMULATOR_HOST``."""
    pid: int


def find_jar() -> Path | None:
    """Return the emulator's jar; None if it or Java is not on this machine."""
    if shutil.which("java") is None:
        return None
    named = os.environ.get("SLUICE_PUBSUB_EMULATOR_JAR")
    if named:
        return Path(named)
    roots = [Path("/usr/lib/google-cloud-sdk"), Path.home() / "google-cloud-sdk"]
    gcloud = shutil.which("gcloud")
    if gcloud:
        roots.append(Path(gcloud).resolve().parent.parent)
    return next((jar for root in roots for jar in sorted(root.glob(_JARS))), None)


@contextmanager
def running_emulator(jar: Path, *, heap_mb: int = 512) -> Iterator[Emulator]:
    """Run the emulator until the block ends; it keeps all messages in its heap."""
    with start_emulator(jar, heap_mb=heap_mb) as process:
        try:
            yield Emulator(f"127.0.0.1:{process.port}", process.pid)
        finally:
            process.terminate()
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


class EmulatorProcess(subprocess.Popen[bytes]):
    """The emulator as our child."""

    port: int


def start_emulator(jar: Path, *, heap_mb: int = 512) -> EmulatorProcess:
    """Start the emulator on a free port and return when it takes connections.

    Raises:
        RuntimeError: It did not start.
    """
    port = free_port()
    process = EmulatorProcess(
        [
            shutil.which("java") or "java",
            f"-Xmx{heap_mb}m",
            QUICK_COMPILER,
            "-jar",
            str(jar),
            "--host=127.0.0.1",
            f"--port={port}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    process.port = port
    try:
        _wait_until_open(process, port)
    except RuntimeError:
        process.kill()
        process.wait()
        raise
    return process


def _wait_until_open(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(ASK_EVERY_S)
    message = "the Pub/Sub emulator did not start"
    raise RuntimeError(message)
