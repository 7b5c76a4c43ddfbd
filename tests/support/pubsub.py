"""Google's Pub/Sub emulator for tests: ``loadtest.emulator`` runs it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from loadtest.emulator import (
    MISSING,
    STOP_WITHIN_S,
    Emulator,
    EmulatorProcess,
    find_jar,
    start_emulator,
)
from loadtest.emulator import running_emulator as _running
from tests.support.users import users_of

__all__ = ["MISSING", "find_jar", "running_emulator", "shared_emulator"]

SHARED_HEAP_MB: Final = 1_024
_OWNED: Final[list[EmulatorProcess]] = []
"""Those that this process started; another process may be the one that stops them."""


@contextmanager
def running_emulator(jar: Path) -> Iterator[str]:
    """Run the emulator until the block ends; the value is for ``PUBSUB_EMULATOR_HOST``."""
    with _running(jar) as emulator:
        yield emulator.host


@contextmanager
def shared_emulator(jar: Path, folder: Path) -> Iterator[str]:
    """Take part in the one emulator of all processes that name this folder."""
    with users_of(folder, "emulator") as users:
        if users.count == 0:
            process = start_emulator(jar, heap_mb=SHARED_HEAP_MB)
            _OWNED.append(process)
            emulator = Emulator(f"127.0.0.1:{process.port}", process.pid)
            users.path.write_bytes(msgspec.json.encode(emulator))
        users.count += 1
        emulator = msgspec.json.decode(users.path.read_bytes(), type=Emulator)
    try:
        yield emulator.host
    finally:
        with users_of(folder, "emulator") as users:
            users.count -= 1
            if users.count == 0:
                with suppress(ProcessLookupError):
                    os.kill(emulator.pid, signal.SIGTERM)
                for owned in _OWNED:
                    owned.wait(STOP_WITHIN_S)
        for owned in _OWNED:
            owned.poll()
