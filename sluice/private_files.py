"""Files that only their owner may read: secrets, digests, addresses with passwords.

A file is written whole beside its place, synced, and then put there in one step, so that a reader
or a crash sees the old file or the new one and never a part.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from sluice.core.errors import ConfigError


def ensure_private_dir(path: Path) -> None:
    """Create a folder (mode 0700) with its parents; one that exists stays as it is.

    Raises:
        ConfigError: It cannot be made or written to.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"SLUICE_DATA_DIR is {str(path)!r}: it cannot be created: {error.strerror}."
        raise ConfigError(message) from None
    if not os.access(path, os.W_OK | os.X_OK):
        message = f"SLUICE_DATA_DIR is {str(path)!r}: it cannot be written to."
        raise ConfigError(message)


def replace_file(path: Path, text: str) -> None:
    """Put a file (mode 0600) at ``path``, whatever was there."""
    beside = _write_beside(path, text)
    try:
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    _sync_dir(path.parent)


def create_file(path: Path, text: str) -> str:
    """Put a file (mode 0600) at ``path`` unless there is one; return what stands there then.

    Processes that race agree on the content of the first.
    """
    beside = _write_beside(path, text)
    try:
        with suppress(FileExistsError):
            path.hardlink_to(beside)
    finally:
        beside.unlink(missing_ok=True)
    _sync_dir(path.parent)
    return path.read_text()


def _write_beside(path: Path, text: str) -> Path:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return beside


def _sync_dir(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
