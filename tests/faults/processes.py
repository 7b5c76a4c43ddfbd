"""The parts of Sluice as processes that can be killed, found and started again."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

READY_WITHIN_S = 60
STOP_WITHIN_S = 15
NAMES = ("gateway", "worker", "warehouse")


def children_of(pid: int) -> Iterator[tuple[str, int]]:
    """Yield which part of Sluice each child of a process is (empty: none), and its process id."""
    with suppress(FileNotFoundError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):
                words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
                yield next((name for name in NAMES if name in words), ""), int(child)


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process, which may have ended already."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


class Part:
    """One process, started with the same words whenever it is not there."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Take the words after ``python -m``, and the file that gets what it writes to stderr."""
        self._words = words
        self._environment = environment
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._stop_within_s = STOP_WITHIN_S

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it, and return when it says that it is ready.

        Raises:
            RuntimeError: It ended before.
        """
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *self._words,
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )  # fmt: skip
        async with asyncio.timeout(READY_WITHIN_S):
            await self.hear("ready")

    async def hear(self, word: str) -> None:
        """Return when it prints a line that begins with a word.

        Raises:
            RuntimeError: It ended before.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if line.decode().startswith(word):
                return
        message = f"{' '.join(self._words)} did not say {word!r}; see {self._log}"
        raise RuntimeError(message)

    def say(self, line: str) -> None:
        """Give it a line on standard input."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal."""
        send_signal(self.pid, number)

    async def restart(self) -> None:
        """Wait until the process has ended, which was told to before, and start it again."""
        assert self._process is not None
        async with asyncio.timeout(self._stop_within_s):
            await self._process.wait()
        await self.start()

    async def stop(self) -> None:
        """Stop it in order; kill it when it does not."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        self.kill(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._stop_within_s):
                await process.wait()
        except TimeoutError:
            self.kill()
            await process.wait()
