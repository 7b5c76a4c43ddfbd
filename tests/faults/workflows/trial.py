"""Each place where a worker may die, one after the other; and whether the run knew of it."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from sluice.workflows.core.runs import ENDED
from tests.faults.workflows.killed import Order
from tests.faults.workflows.scenarios import Scenario
from tests.support.poll import poll_until
from tests.support.run_rig import RunRig, open_host
from worker.workflows.core.progress import RunRow

LEASE_S: Final = 2.0
ENDS_WITHIN_S: Final = 60.0
MAX_PLACES: Final = 200
ROOT: Final = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What became of one run."""

    number: int
    place: str
    """Where its first worker was killed; empty: nowhere."""
    state: str
    epoch: int
    done: Mapping[str, int]
    problems: Sequence[str]

    def __str__(self) -> str:
        done = ", ".join(f"{name} x {count}" for name, count in sorted(self.done.items()))
        text = f"{self.number:4}  {self.place:46.46}  {self.state:10} epoch {self.epoch}  {done}"
        return "  ".join([text, *(f"!! {one}" for one in self.problems)])


@dataclass
class Trial:
    """One scenario, killed everywhere."""

    rig: RunRig
    scenario: Scenario
    folder: Path
    lines: list[Line] = field(default_factory=list)
    _tasks: list[tuple[str, str]] = field(default_factory=list)

    async def run(self, numbers: Sequence[int] | None = None) -> None:
        """Kill at every place, or at the given ones; the first run is not killed."""
        expected = await self._one(0, None)
        for number in numbers if numbers is not None else range(1, MAX_PLACES):
            line = await self._one(number, expected)
            if not line:
                return

    @property
    def problems(self) -> list[str]:
        """What is not as it would have been without kills."""
        return [
            f"{self.scenario.name} {line.number} ({line.place}): {one}"
            for line in self.lines
            for one in line.problems
        ]

    async def _one(self, number: int, expected: RunRow | None) -> RunRow | None:
        """Run once and kill at a place; None if the run ended before it came there."""
        places = self.folder / f"{self.scenario.name}-{number}.places"
        async with worker_process() as worker:
            run = await self.scenario.new_run(number)
            assert worker.stdin is not None
            order = order_of(
                self.rig, places, kill_at=number, is_scripted=self.scenario.is_scripted
            )
            worker.stdin.write(msgspec.json.encode(order) + b"\n")
            await self.rig.start(run)
            ending = asyncio.Event()

            async def ended() -> bool:
                if worker.returncode is not None:
                    return True
                row = await self.rig.row(run)
                if row is not None and row.state in ENDED:
                    ending.set()
                return ending.is_set()

            await poll_until(ended, within_s=ENDS_WITHIN_S, what=f"the worker of {number} ended")
            if number and ending.is_set():
                # The row is there; what comes after it in the worker may still have its place.
                await _wait_for_end(worker)
            was_killed = worker.returncode == -signal.SIGKILL
        if number and not was_killed:
            return None
        passed = places.read_text().splitlines()
        if was_killed:
            async with open_host(self.rig, lease_s=LEASE_S, is_scripted=self.scenario.is_scripted):
                row = await self.rig.ended(run, within_s=ENDS_WITHIN_S)
        else:
            row = await self.rig.ended(run)
        done = await self.scenario.done(number, run)
        tasks = [(step, state) for step, state, *_ in await self.rig.tasks(run)]
        line = Line(
            number=number,
            place=passed[number - 1] if number else "",
            state=row.state,
            epoch=row.epoch,
            done=done,
            problems=self._problems(row, done, tasks, expected),
        )
        self.lines.append(line)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        if expected is None:
            self._tasks = tasks
        return row

    def _problems(
        self,
        row: RunRow,
        done: Mapping[str, int],
        tasks: Sequence[tuple[str, str]],
        expected: RunRow | None,
    ) -> list[str]:
        found = [f"{name} was done {count} times" for name, count in done.items() if count != 1]
        if expected is None:
            return found if row.state == "succeeded" else [*found, row.error_message]
        if row.state != expected.state:
            found.append(f"it is {row.state} ({row.error_type}: {row.error_message})")
        elif self.scenario.outputs(row) != self.scenario.outputs(expected):
            found.append(f"its outputs are {row.outputs}")
        if {step for step, _ in tasks} != {step for step, _ in self._tasks}:
            found.append(f"its steps are {tasks}")
        if any(state != "succeeded" for _, state in tasks):
            found.append(f"its steps ended as {tasks}")
        return found


def order_of(rig: RunRig, places: Path, *, kill_at: int = 0, is_scripted: bool = True) -> Order:
    """Return what a worker in a process of its own is told."""
    return Order(
        settings={
            "data_dir": str(rig.settings.data_dir),
            "warehouse_url": rig.settings.warehouse_url.get_secret_value(),
            "amplitude_url": rig.settings.amplitude_url,
            "erase_settle_s": str(rig.settings.erase_settle_s),
        },
        kill_at=kill_at,
        places=str(places),
        effects=str(rig.effects) if is_scripted else "",
        lease_s=LEASE_S,
    )


@asynccontextmanager
async def worker_process() -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker that waits for its order; it is dead after the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.workflows.killed",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _wait_for_end(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(1.0):
            await process.wait()
    except TimeoutError:
        return


def table(trials: Sequence[Trial]) -> str:
    """Return what was seen, in one line for each scenario."""
    return "\n".join(
        f"{trial.scenario.name}: {len(trial.lines) - 1} places, {len(trial.problems)} problems"
        for trial in trials
    )
