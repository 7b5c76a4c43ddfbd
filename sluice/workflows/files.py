"""Files that runs leave: ``<folder>/<tenant>/<run_id>/<name>``.

A file appears under its name only when it is whole and on disk; one that was begun and left is
written anew, into a part of its own: who began it may only have paused, and must neither write into
the new one nor take it for its own. The folder may be a mounted bucket: nothing is locked, appended
or read back.
"""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Final

from sluice.core.errors import SluiceError
from sluice.workflows.core.runs import RUN_ID

NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}", re.ASCII)
_PART: Final = ".part"


class FileTooLargeError(SluiceError):
    """More was written than a file may hold."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"it is larger than {max_bytes:,} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A file that is whole."""

    name: str
    size_bytes: int
    sha256: str


class FileWriter:
    """A file that is being written."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._digest = sha256()
        self.size_bytes = 0

    async def write(self, piece: bytes) -> None:
        """Add bytes, off the event loop.

        Raises:
            FileTooLargeError: They go beyond the bound; the file will not appear.
            OSError: The disk does not take them.
        """
        self.size_bytes += len(piece)
        if self.size_bytes > self._max_bytes:
            raise FileTooLargeError(self._max_bytes)
        await asyncio.to_thread(self._write, piece)

    def _write(self, piece: bytes) -> None:
        self._digest.update(piece)
        self._file.write(piece)

    @property
    def sha256(self) -> str:
        """Of what was written so far, in hex."""
        return self._digest.hexdigest()


class RunFiles:
    """The folder of all runs' files."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self.max_bytes = max_bytes
        """Of one file."""

    def path(self, tenant: str, run_id: str, name: str) -> Path | None:
        """Return where a file is or would be; None for a name that no file has."""
        if not RUN_ID.fullmatch(run_id) or not NAME.fullmatch(name) or name.endswith(_PART):
            return None
        return self._folder / tenant / run_id / name

    @asynccontextmanager
    async def writing(self, tenant: str, run_id: str, name: str) -> AsyncIterator[FileWriter]:
        """Write a file; it takes its name when the block ends well, and is gone otherwise.

        Raises:
            ValueError: The name is none that a file may have.
            OSError: The disk does not take it.
        """
        path = self.path(tenant, run_id, name)
        if path is None:
            message = f"{name[:100]!r} is no name of a file"
            raise ValueError(message)
        part = path.with_name(f"{path.name}.{token_hex(8)}{_PART}")
        file = await asyncio.to_thread(_begun, part, path.name)
        try:
            yield FileWriter(file, self.max_bytes)
            await asyncio.to_thread(_finished, file, part, path)
        except BaseException:
            file.close()
            part.unlink(missing_ok=True)
            raise

    async def runs(self) -> list[tuple[str, str]]:
        """Return the tenants and ids of the runs that have files."""
        return await asyncio.to_thread(self._runs)

    def _runs(self) -> list[tuple[str, str]]:
        return sorted(
            (folder.parent.name, folder.name)
            for folder in self._folder.glob("*/wf-*")
            if RUN_ID.fullmatch(folder.name)
        )

    async def remove(self, tenant: str, run_id: str) -> None:
        """Remove all files of a run."""
        if RUN_ID.fullmatch(run_id):
            folder = self._folder / tenant / run_id
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _begun(part: Path, name: str) -> BinaryIO:
    part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    is_left = re.compile(rf"{re.escape(name)}\.[0-9a-f]{{16}}{re.escape(_PART)}").fullmatch
    for left in part.parent.iterdir():
        if is_left(left.name):
            left.unlink(missing_ok=True)
    return os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _finished(file: BinaryIO, part: Path, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
