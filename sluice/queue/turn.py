"""Whose turn it is to write: a fair lock between the processes that share the queue file.

SQLite's own waiting sleeps for longer and longer between its tries, so that a busy writer starves
the others for seconds. Here two advisory locks make a turnstile: who wants to write takes
``next`` first, then ``now``, then lets go of ``next``. While somebody waits at ``now``, the holder
cannot come round again, so two processes alternate and nobody waits longer than one transaction
each. The kernel lets go of a dead process's locks.

Writes and checkpoints both happen under the turn. That also keeps clear of SQLite's "WAL-reset bug"
(sqlite.org/wal.html; mended in 3.51.3, and older versions are in use), which needs two connections
that write or checkpoint at the same instant.
"""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

FIRST_PAUSE_S: Final = 0.00005
LONGEST_PAUSE_S: Final = 0.005


class TurnTimeoutError(TimeoutError):
    """Another process kept the turn for too long."""


class Turn:
    """One holder's access to the turnstile of a queue file; used by one thread."""

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._next = _open(path.with_name(path.name + "-next"))
        try:
            self._now = _open(path.with_name(path.name + "-now"))
        except BaseException:
            os.close(self._next)
            raise

    def __enter__(self) -> None:
        """Wait for the turn.

        Raises:
            TurnTimeoutError: Somebody else kept it for the whole time-out.
        """
        deadline = time.monotonic() + self._timeout_s
        self._take(self._next, deadline)
        try:
            self._take(self._now, deadline)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)

    def __exit__(self, *_exc: object) -> None:
        """Let the next one in."""
        fcntl.flock(self._now, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the lock files; they stay, because somebody may hold them."""
        os.close(self._next)
        os.close(self._now)

    def _take(self, lock: int, deadline: float) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    message = f"another process keeps the queue file {self._path} to itself"
                    raise TurnTimeoutError(message) from None
                time.sleep(pause_s)
                pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
            else:
                return


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
