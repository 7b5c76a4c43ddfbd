"""``python -m tests.faults.workflows``: a worker killed at every place of every shipped workflow.

Everything is on loopback. Exit status 1: a run ended otherwise than it would have, or something
that must be done once was done twice or not at all.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import aiohttp
import uvloop

from tests.faults.workflows.scenarios import Builtins, Documents, Scenario, Scripted, add_tenant
from tests.faults.workflows.trial import Trial, table
from tests.support.amplitude import AmplitudeProject, running_simulator
from tests.support.run_rig import open_run_rig
from tests.support.warehouse import warehouse_process

DOCUMENTS = {"ingest": "cg-ingest", "cohort": "og-cohort"}
BUILTINS = {
    "data-request": "og-data-request",
    "erase": "og-erase",
    "reconcile": "cg-reconcile",
    "replay": "cg-replay",
}
NAMES = ("script", *DOCUMENTS, *BUILTINS)
API_KEY = "key-of-the-killed"


async def kill_everywhere(
    names: list[str], folder: Path, numbers: list[int] | None = None
) -> list[Trial]:
    """Run the scenarios beside each other, each with a database and a queue of its own."""
    await asyncio.to_thread(_make_folders, folder, names)
    with warehouse_process(folder / "engine") as engine, running_simulator() as simulator:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(
                    _one(name, folder / name, engine, simulator, session, numbers), name=name
                )
                for name in names
            ]
        return [task.result() for task in running]


def _make_folders(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).mkdir()


async def _one(
    name: str,
    folder: Path,
    engine: str,
    simulator: str,
    session: aiohttp.ClientSession,
    numbers: list[int] | None,
) -> Trial:
    project = AmplitudeProject(simulator, session, f"{API_KEY}-{name}")
    await project.set()
    # Amplitude deletes a person within a month: what it answers is in the tests of that step.
    add_tenant(folder / "tenants.toml", "" if name == "erase" else project.api_key)
    async with open_run_rig(folder, engine, amplitude_url=simulator, erase_settle_s=2.0) as rig:
        scenario: Scenario = Scripted(rig)
        if name in DOCUMENTS:
            scenario = Documents(project, DOCUMENTS[name], name)
        elif name in BUILTINS:
            scenario = Builtins(rig, BUILTINS[name], name)
        trial = Trial(rig, scenario, folder)
        await trial.run(numbers)
        return trial


def main() -> int:
    """Run what the command line asks for; exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(NAMES), help="one workflow instead of all")
    parser.add_argument("--at", type=int, nargs="*", help="places instead of all")
    options = parser.parse_args()
    names = [options.only] if options.only else list(NAMES)
    with (
        tempfile.TemporaryDirectory(prefix="sluice-workflows-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        trials = runner.run(kill_everywhere(names, Path(folder), options.at))
    problems = [problem for trial in trials for problem in trial.problems]
    sys.stdout.write("\n".join([table(trials), *problems, ""]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
