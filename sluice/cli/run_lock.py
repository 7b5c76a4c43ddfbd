"""One ``sluice run`` per data dir: a lock that ends with its process, and who holds it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from sluice.core.errors import ConfigError


class RunNote(msgspec.Struct, frozen=True):
    """What other commands may want to know of the ``sluice run`` that holds a data dir."""

    pid: int
    url: str = ""
    worker_url: str = ""


class RunLock:
    """The lock, held."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, note: RunNote) -> None:
        """Leave a note for other commands."""
        text = msgspec.json.encode(note)
        os.pwrite(self._descriptor, text, 0)
        os.ftruncate(self._descriptor, len(text))


@contextmanager
def hold(data_dir: Path) -> Iterator[RunLock]:
    """Hold the data dir until the block ends.

    Raises:
        ConfigError: Another process holds it.
    """
    descriptor = os.open(_path(data_dir), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(data_dir, _note(data_dir)) from None
        yield RunLock(descriptor)
    finally:
        os.close(descriptor)


def holder(data_dir: Path) -> RunNote | None:
    """Return the note of the ``sluice run`` that holds the data dir; None when none does."""
    try:
        descriptor = os.open(_path(data_dir), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _note(data_dir)
    finally:
        os.close(descriptor)
    return None


def refuse_if_held(data_dir: Path) -> None:
    """Look whether the data dir can be held, without making anything in it.

    Raises:
        ConfigError: Another process holds it.
    """
    if note := holder(data_dir):
        raise _in_use(data_dir, note)


def _in_use(data_dir: Path, note: RunNote | None) -> ConfigError:
    who = f" (process {note.pid})" if note else ""
    return ConfigError(
        f"another `sluice run`{who} uses SLUICE_DATA_DIR {str(data_dir)!r}:"
        " stop it, or choose another folder with --data-dir."
    )


def _path(data_dir: Path) -> Path:
    return data_dir / "run.lock"


def _note(data_dir: Path) -> RunNote | None:
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(_path(data_dir).read_bytes(), type=RunNote)
    return None
