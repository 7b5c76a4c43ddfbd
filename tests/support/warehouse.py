"""Starts the embedded warehouse as a process of its own and ends it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvloop

from sluice.core.errors import ConfigError
from sluice.settings import load_settings

STOP_S: Final = 15
KILLED: Final = -signal.SIGKILL


def start_warehouse(data_dir: Path, *, stderr: int = subprocess.STDOUT) -> subprocess.Popen[str]:
    """Start a warehouse on a free port and return when it serves.

    Args:
        data_dir: Its data directory.
        stderr: A descriptor of its own for what it complains of.

    Raises:
        RuntimeError: It did not come up; the text is what it wrote.
    """
    process = subprocess.Popen(  # noqa: S603 - this very module
        [sys.executable, "-m", "tests.support.warehouse", str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("ready "):
        rest, _ = process.communicate(timeout=STOP_S)
        message = f"the warehouse did not start: {line}{rest}"
        raise RuntimeError(message)
    return process


def stop_warehouse(process: subprocess.Popen[str], *, with_signal: int = signal.SIGTERM) -> None:
    """End a warehouse and wait until it is gone; it must end well unless it was killed."""
    process.send_signal(with_signal)
    output, _ = process.communicate(timeout=STOP_S)
    if process.returncode not in (0, KILLED):
        message = f"the warehouse ended with {process.returncode}: {output}"
        raise RuntimeError(message)


def service_url(data_dir: Path) -> str:
    """Return the address with which Sluice itself logs in."""
    return (data_dir / "warehouse.url").read_text().strip()


def reader_url(data_dir: Path) -> str:
    """Return the address with which a person logs in."""
    return (data_dir / "warehouse.reader.url").read_text().strip()


@contextmanager
def warehouse_process(data_dir: Path) -> Iterator[str]:
    """Run a warehouse over ``data_dir`` and give its address with user and password."""
    process = start_warehouse(data_dir)
    try:
        yield service_url(data_dir)
    finally:
        stop_warehouse(process)


def _say_ready(url: str) -> None:
    sys.stdout.write(f"ready {url}\n")
    sys.stdout.flush()


async def main(data_dir: Path) -> None:
    """Serve the warehouse of a folder until SIGTERM, and say when it is ready."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    port = int(os.environ.get("SLUICE_WAREHOUSE_PORT", "0"))
    settings = load_settings(data_dir=data_dir, warehouse_port=port)
    from sluice.warehouse.server import serve  # not in the process that runs the tests

    try:
        await serve(settings, stop, _say_ready)
    except ConfigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
