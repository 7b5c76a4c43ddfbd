"""Keeps the processes of one command alive, and stops them in order.

* Each part is a process in a session of its own, so that Ctrl-C reaches only the supervisor, and
  holds the read end of a pipe from it, so that the part ends when the supervisor is killed.
* A part that dies starts again, ever more slowly (``core.restarts``), with a line on stderr. One
  that hangs is killed first, where that is asked for.
* Stopping goes step by step: in ``sluice run`` as the data flows (gateway, worker, warehouse), with
  ``sluice gateway --processes`` all at once. What has not ended by the end of its step is killed,
  which loses nothing.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sluice.core.restarts import Restarts
from sluice.lifecycle import ALIVE, BEAT_S

MAX_LINE_BYTES: Final = 65_536
READY: Final = b"ready"
CONFIG_STATUS: Final = 2
PLAIN_VARIABLES: Final = (
    "HOME",
    "LANG",
    "LC_",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHON",
    "SLUICE_",
    "TZ",
    "VIRTUAL_ENV",
)
"""How the variables begin that a process needs to run at all."""
SECRET_VARIABLES: Final = ("SLUICE_JWT_SECRET", "SLUICE_WAREHOUSE_URL", "SLUICE_API_KEY")

Report = Callable[[str], None]


class PartRefusedError(Exception):
    """A part found a wrong setting before it was ever ready; it has said so itself."""


@dataclass(frozen=True, slots=True)
class Program:
    """A module that says ``ready`` and its address, and ends with its standard input."""

    module: str
    last_word: str
    """Tells it to end so."""
    folder: Path | None = None
    """Where it runs; None: here."""


SLUICE: Final = Program("sluice.cli", "--supervised")


class Part:
    """One supervised process, started again when it ends."""

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        report: Report,
        *,
        name: str | None = None,
        program: Program = SLUICE,
        hung_after_s: float | None = None,
    ) -> None:
        """Take the words after ``sluice``, the variables besides our own, and where to report.

        Args:
            words: The words after ``sluice``.
            environment: The variables besides our own.
            report: Takes what is said of it, a line each.
            name: What it is called there; None: by its first word.
            program: What runs.
            hung_after_s: It is killed when its event loop gave no sign of life for so long after
                it was ready or the first (``sluice.lifecycle``); None: never.
        """
        self.name = name or words[0]
        self.address = ""
        """What it said after ``ready``, the last time."""
        self._command = (sys.executable, "-m", program.module, *words, program.last_word)
        self._folder = program.folder
        self.is_ready = asyncio.Event()
        """Set from the part's line ``ready`` until it dies."""
        self._was_ready = False
        self._environment = variables_for(words[0], os.environ | environment)
        self._report = report
        self._hung_after_s = hung_after_s
        self._silent_s: float | None = None
        """Since its last word; None until its first sign of life."""
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Start the process again and again until ``stop`` is called.

        Raises:
            PartRefusedError: It ended with status 2 before it was ever ready.
        """
        restarts = Restarts()
        clock = asyncio.get_running_loop().time
        while not self._stopping.is_set():
            started = clock()
            status = await self._live()
            if self._stopping.is_set():
                return
            if status == CONFIG_STATUS and not self._was_ready:
                raise PartRefusedError(self.name)
            wait_s = restarts.wait_s(lived_s=clock() - started)
            ended = f"{in_words(status)} because it hung" if self._is_hung else in_words(status)
            self._report(f"{self.name} {ended}; starting again in {wait_s:g} s")
            await self._pause(wait_s)

    async def stop(self, *, within_s: float) -> None:
        """Ask the process to end, wait, and kill it when the time is up; it stays down."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                await process.wait()
        except TimeoutError:
            self._report(f"{self.name} did not stop within {within_s:g} s and was killed")
            process.kill()
            await process.wait()

    async def _live(self) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            cwd=self._folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        self._process = process
        self._silent_s = None
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._kill_when_it_hangs(process))
                if process.stdout is not None:
                    await self._listen(process.stdout)
                status = await process.wait()
                watching.cancel()
            return status
        finally:
            self.is_ready.clear()
            if process.returncode is None:
                process.kill()
                await process.wait()

    @property
    def _is_hung(self) -> bool:
        limit_s, silent_s = self._hung_after_s, self._silent_s
        return limit_s is not None and silent_s is not None and silent_s >= limit_s

    async def _kill_when_it_hangs(self, process: asyncio.subprocess.Process) -> None:
        # Counted, not by the clock: where this process was held up as well, as on a machine that
        # was frozen, the other's words wait to be read and no more than one second is counted.
        while not self._is_hung:
            await asyncio.sleep(BEAT_S)
            if self._silent_s is not None:
                self._silent_s += BEAT_S
        self._report(f"{self.name} gave no sign of life for {self._hung_after_s:g} s")
        with suppress(ProcessLookupError):
            process.kill()

    async def _listen(self, stdout: asyncio.StreamReader) -> None:
        line = b""
        while chunk := await stdout.read(MAX_LINE_BYTES):
            if self._silent_s is not None:
                self._silent_s = 0.0
            *whole, line = (line + chunk).split(b"\n")
            for each in whole:
                self._take(each)
            if len(line) > MAX_LINE_BYTES:
                self._take(line)
                line = b""

    def _take(self, line: bytes) -> None:
        if line.startswith(READY):
            self._was_ready = True
            self.address = line.removeprefix(READY).strip().decode(errors="replace")
            self.is_ready.set()
            self._silent_s = 0.0  # a sign of life, too: it may hang before its first beat
        elif line == ALIVE:
            self._silent_s = 0.0
        elif line:
            print(line.decode(errors="replace"), file=sys.stderr, flush=True)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


class Supervisor:
    """All parts, by the step of the stop to which they belong."""

    def __init__(self, steps: Sequence[Sequence[Part]], *, step_s: float) -> None:
        """Take the parts of each step, and the seconds that a step may take."""
        self._steps = steps
        self._step_s = step_s

    async def run(self, stop: asyncio.Event) -> None:
        """Keep every part alive until ``stop``, then stop them step by step.

        Raises:
            ExceptionGroup: With a PartRefusedError; the other parts were stopped.
        """
        async with asyncio.TaskGroup() as tasks:
            for part in self._parts:
                tasks.create_task(part.run(), name=f"part:{part.name}")
            await stop.wait()
            for step in self._steps:
                async with asyncio.TaskGroup() as stopping:
                    for part in step:
                        stopping.create_task(part.stop(within_s=self._step_s))

    async def wait_until_ready(self) -> None:
        """Return when every part has said that it is ready."""
        for part in self._parts:
            await part.is_ready.wait()

    @property
    def waiting_for(self) -> list[str]:
        """The parts that are not ready now."""
        return [part.name for part in self._parts if not part.is_ready.is_set()]

    @property
    def _parts(self) -> list[Part]:
        return [part for step in self._steps for part in step]


def variables_for(name: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that a part is given.

    The warehouse runs people's statements, which may come to see its environment: it gets no secret
    that is not its own.
    """
    if name != "warehouse":
        return dict(environment)
    return {
        key: value
        for key, value in environment.items()
        if key.startswith(PLAIN_VARIABLES) and key not in SECRET_VARIABLES
    }


def in_words(status: int) -> str:
    """Return how a process ended."""
    if status == 0:
        return "stopped"
    return f"died (signal {-status})" if status < 0 else f"died (status {status})"
