"""A replay's files: how far it is, and beside that the lot of events that wait.

They are named after its arguments, so that the same command goes on where it was, and they are gone
once it is finished.
"""

import asyncio
import fcntl
from pathlib import Path
from typing import Final

import msgspec

from sluice.core.errors import ConfigError
from sluice.private_files import ensure_private_dir, replace_file
from worker.core.replays import Asked, Reached

BUSY: Final = "another process runs this very replay: wait for it, or stop it first."

_DECODER: Final = msgspec.json.Decoder(Reached)


class ReplayFiles:
    """The files of one replay."""

    def __init__(self, folder: Path, asked: Asked, *, name: str = "") -> None:
        name = name or asked.digest
        self._asked = asked
        self._progress = folder / f"{name}.json"
        self.lot_path = folder / f"{name}.sqlite"

    def load(self) -> Reached | None:
        """Return how far it is; None if it has not begun.

        Raises:
            ConfigError: The file is not one of a replay.
        """
        try:
            reached = _DECODER.decode(self._progress.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            message = f"{self._progress} cannot be read ({error}): --restart begins anew."
            raise ConfigError(message) from None
        if reached.asked != self._asked:  # else it would send what nobody asked for
            message = f"{self._progress} is of another replay: --restart begins anew."
            raise ConfigError(message)
        return reached

    async def save(self, reached: Reached) -> None:
        """Note how far it is; durable on return."""
        text = msgspec.json.encode(reached).decode()
        await asyncio.to_thread(self._save, text)

    def restart(self) -> None:
        """Forget it, with what waits.

        Raises:
            ConfigError: Another process is at it.
        """
        try:
            with self.lot_path.with_suffix(".lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.remove()
        except FileNotFoundError:
            self.remove()
        except BlockingIOError:
            raise ConfigError(BUSY) from None

    def remove(self) -> None:
        """Forget a finished one."""
        self._progress.unlink(missing_ok=True)
        for suffix in (".sqlite", ".sqlite-wal", ".sqlite-shm", ".lock"):
            self.lot_path.with_suffix(suffix).unlink(missing_ok=True)

    @staticmethod
    def throw_away(folder: Path) -> None:
        """Remove what runs left in a folder that died: what they had not noted is sent again."""
        for lock in folder.glob("*.lock"):
            ReplayFiles.remove_unused(lock)

    @staticmethod
    def remove_unused(lock_path: Path) -> None:
        """Remove the files beside a lock that no process holds."""
        try:
            with lock_path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for suffix in (".json", ".sqlite", ".sqlite-wal", ".sqlite-shm", ".lock"):
                    lock_path.with_suffix(suffix).unlink(missing_ok=True)
        except OSError:  # held, or gone
            return

    def _save(self, text: str) -> None:
        ensure_private_dir(self._progress.parent)
        replace_file(self._progress, text)
