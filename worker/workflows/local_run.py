"""Runs a program in this process, once, without queue, warehouse or other workers.

It keeps the order of the host of runs, so a document behaves as it does there; what is missing is
that nothing is written down, so nothing survives the process.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, assert_never

from sluice.workflows.core.runs import CANCELED, RunError
from sluice.workflows.files import NAME, RunFiles
from worker.workflows.core.state import Elapsed, Failed, StepEnd, Stop, Wait
from worker.workflows.program import Act, Finished, Program

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    outputs: Mapping[str, Any] | None = None
    error: RunError | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run waits."""

    seconds: float
    is_poll: bool


Told = Act | StepEnd | Waiting


class FolderFiles(RunFiles):
    """Files of one run, straight in a folder; one of the same name is replaced."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        super().__init__(folder, max_bytes=max_bytes)
        self.folder = folder

    def path(self, tenant: str, run_id: str, name: str) -> Path | None:
        """Return where a file is or would be; None for a name that no file has."""
        return self.folder / name if NAME.fullmatch(name) else None


async def run_locally(
    program: Program[S], tell: Callable[[Told], None], stop: asyncio.Event
) -> Outcome:
    """Drive a program from its beginning to its end.

    Args:
        program: What is run.
        tell: Hears what happens, as it happens.
        stop: Set it to stop the run.
    """
    state = program.begin(time.time())
    if isinstance(state, RunError):
        return Outcome(error=state)
    while True:
        move = program.next_move(state)
        match move:
            case Finished(outputs):
                return Outcome(outputs=outputs)
            case Failed(error):
                return Outcome(error=error)
            case Act():
                tell(move)
                event = await program.perform(state, move, stop)
            case Wait():
                tell(Waiting(max(move.until - time.time(), 0.0), move.is_poll))
                event = await _waited(move.until, stop)
            case _:
                assert_never(move)
        if isinstance(event, Stop):
            return Outcome(error=CANCELED)
        state = program.apply(state, event, time.time())
        for end in program.ended(state):
            tell(end)
        if stop.is_set():
            return Outcome(error=CANCELED)


async def _waited(until: float, stop: asyncio.Event) -> Elapsed | Stop:
    try:
        async with asyncio.timeout(max(until - time.time(), 0.0)):
            await stop.wait()
    except TimeoutError:
        return Elapsed()
    return Stop()
