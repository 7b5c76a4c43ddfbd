"""Ends what a test run started when the run ends, however it ended: also killed.

Servers of tests live in sessions of their own, and workers of pytest-xdist share some, so that no
signal, and no parent's death, reaches all of them. But they all inherit an environment. The run
has a mark in it, and a watcher outside holds the read end of a pipe from the run: where the pipe
ends, the watcher ends every process that has the mark. Only on Linux, which shows environments.

``python -m tests.support.leftovers MARK``
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

VARIABLE: Final = "TEST_RUN"
ENDING_S: Final = 1.0
"""How long they may take to end by themselves, as those do that were stopped last."""
ASKED_S: Final = 5.0
ENDED_WITHIN_S: Final = 10.0
LOOK_EVERY_S: Final = 0.05

_ROOT: Final = Path(__file__).parents[2]
_PROC: Final = Path("/proc")


class Watcher:
    """Outlives the run by the moment that it needs; begun before anything else is started."""

    def __init__(self) -> None:
        """Mark this process's environment, from now on, and start the watcher."""
        self._process: subprocess.Popen[bytes] | None = None
        if not (_PROC / "self" / "environ").exists():
            return
        mark = uuid.uuid4().hex
        # One that stands within another run must not be ended by it: it ends the marked itself.
        unmarked = {name: value for name, value in os.environ.items() if name != VARIABLE}
        self._process = subprocess.Popen(  # noqa: S603 - this very module
            [sys.executable, "-m", __name__, mark],
            cwd=_ROOT,
            env=unmarked,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.environ[VARIABLE] = mark

    def close(self) -> None:
        """Have it end what is left, and return when it is done."""
        if self._process is not None:
            self._process.communicate(timeout=2 * ENDED_WITHIN_S)


def end_marked(mark: str, *, asked_s: float = ASKED_S) -> list[str]:
    """End every process with the mark; return the command lines of those that had to be asked.

    It looks until there is none, because those that are asked may be starting others.

    Args:
        mark: The value of ``VARIABLE`` with which they were started.
        asked_s: How long they may take to stop in order before they are killed.
    """
    began = time.monotonic()
    asked: dict[int, str] = {}
    while found := list(_marked(mark)):
        passed_s = time.monotonic() - began
        if passed_s > ENDED_WITHIN_S:
            break
        for pid in found:
            if passed_s > ENDING_S and pid not in asked:
                asked[pid] = _words(pid)
                _send(pid, signal.SIGTERM)
            elif passed_s > ENDING_S + asked_s:
                _send(pid, signal.SIGKILL)
        time.sleep(LOOK_EVERY_S)
    return list(asked.values())


def _marked(mark: str) -> Iterator[int]:
    entry = f"{VARIABLE}={mark}".encode()
    for folder in _PROC.iterdir():
        # One that has ended meanwhile, or is another user's, cannot be read.
        with suppress(OSError):
            if folder.name.isdecimal() and entry in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def _words(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return f"process {pid}"


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    ended = end_marked(sys.argv[1])
    if ended:
        sys.stderr.write("\n".join(["\nEnded what the test run had left:", *ended, ""]))
