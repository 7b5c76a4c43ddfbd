"""What is run while workers are killed, and how one sees what was done outside."""

import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import orjson

from sluice.core.workflows import DEFAULTS
from sluice.tenants import TenantsFile
from sluice.workflows.core.runs import Run, new_run_id, run_time
from tests.support.amplitude import AmplitudeProject
from tests.support.run_rig import RunRig, new_run
from tests.support.scripted_runs import Step
from tests.support.worker_rig import make_event
from worker.encoding import frames
from worker.workflows.core.progress import RunRow

TENANT: Final = "acme"
DAY: Final = "%Y%m%d"
EVENTS: Final = 3


class Scenario(Protocol):
    """A workflow that is run again and again, each time with a kill at another place."""

    name: str
    is_scripted: bool

    async def new_run(self, number: int) -> Run:
        """Get ready and return the run to start."""

    async def done(self, number: int, run: Run) -> Mapping[str, int]:
        """Return what was done outside, as often as it was: only what must be done once."""

    def outputs(self, row: RunRow) -> object:
        """Return the part of the outputs that is the same in every run."""


@dataclass
class Scripted:
    """Steps that must not be repeated, safe ones, and waits between."""

    rig: RunRig
    name: str = "script"
    is_scripted: bool = True

    async def new_run(self, number: int) -> Run:
        """Return a run of the script."""
        return new_run(Step(), Step(wait_s=0.2), Step(takes_s=0.05))

    async def done(self, number: int, run: Run) -> Mapping[str, int]:
        """Return how often each step was done."""
        return Counter(self.rig.done(run))

    def outputs(self, row: RunRow) -> object:
        """Return the outputs."""
        return orjson.loads(row.outputs)


@dataclass
class Documents:
    """A shipped document against the simulated Amplitude."""

    project: AmplitudeProject
    config_id: str
    name: str
    is_scripted: bool = False
    cohorts: list[dict[str, Any]] = field(default_factory=list)

    async def new_run(self, number: int) -> Run:
        """Return a run with a person or a cohort of its own."""
        moment = datetime.now(UTC)
        config = DEFAULTS[self.config_id]
        if self.config_id == "cg-ingest":
            inputs: dict[str, Any] = {
                "userId": f"person-{number}",
                "eventType": f"killed-{number}",
                "start": moment.strftime(DAY),
                "end": moment.strftime(DAY),
            }
        else:
            users = [f"member-{number}-{at}" for at in range(3)]
            self.cohorts.append({"id": f"c{number}", "user_ids": users, "polls": 1})
            await self.project.set(cohorts=self.cohorts)
            inputs = {"cohortId": f"c{number}"}
        return Run(
            tenant=TENANT,
            run_id=new_run_id(moment, uuid.uuid4().hex),
            config_id=self.config_id,
            type=config.type,
            name=config.name,
            workflow_id=config.type,
            source="api",
            created_at=run_time(moment),
            inputs=msgspec.json.encode(inputs).decode(),
        )

    async def done(self, number: int, run: Run) -> Mapping[str, int]:
        """Return the events of the person that Amplitude has."""
        taken = await self.project.taken()
        return Counter(
            event["event_type"] for event in taken if event.get("user_id") == f"person-{number}"
        )

    def outputs(self, row: RunRow) -> object:
        """Return the outputs without times and ids that Amplitude makes up."""
        found: dict[str, Any] = orjson.loads(row.outputs)
        file = found.get("cohortFile")
        if isinstance(file, str):
            found["cohortFile"] = file.count("\n")
        return {name: one for name, one in found.items() if name != "requestId"}


@dataclass
class Builtins:
    """A built-in type over events that are in the warehouse."""

    rig: RunRig
    config_id: str
    name: str
    is_scripted: bool = False

    async def new_run(self, number: int) -> Run:
        """Return a run about a person of its own, whose events are there, or about yesterday."""
        moment = datetime.now(UTC)
        config = DEFAULTS[self.config_id]
        day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        events = [
            make_event(user_id=f"person-{number}", received_at=day - timedelta(hours=3))
            for _ in range(EVENTS)
        ]
        await self.rig.warehouse.insert_rows("events", frames(events))
        inputs: dict[str, Any] = {}
        if self.config_id == "og-erase":
            inputs = {"user_ids": [f"person-{number}"]}
        elif self.config_id == "og-data-request":
            inputs = {"user_id": f"person-{number}"}
        return Run(
            tenant=TENANT,
            run_id=new_run_id(moment, uuid.uuid4().hex),
            config_id=self.config_id,
            type=config.type,
            name=config.name,
            workflow_id=config.type,
            source="api",
            created_at=run_time(moment),
            run_mode="refresh" if config.needs_range else "",
            range_from=run_time(day - timedelta(days=1)) if config.needs_range else None,
            range_to=run_time(day) if config.needs_range else None,
            inputs=msgspec.json.encode(inputs).decode(),
        )

    async def done(self, number: int, run: Run) -> Mapping[str, int]:
        """Return what became of the person's events: 1 is as it should be."""
        left = await self.rig.rows(
            "SELECT count() FROM events FINAL WHERE user_id = {user_id:String}",
            user_id=f"person-{number}",
        )
        is_right = left[0][0] == (0 if self.config_id == "og-erase" else EVENTS)
        return {"events": int(is_right)}

    def outputs(self, row: RunRow) -> object:
        """Return the names of the outputs: numbers grow with the runs before."""
        return sorted(orjson.loads(row.outputs))


def add_tenant(path: Path, api_key: str) -> None:
    """Make the tenant whose workflows run; without a key it forwards nothing."""
    tenants = TenantsFile(path)
    tenants.add_tenant(TENANT)
    if not api_key:
        return
    tenants.set_value(TENANT, "amplitude.api_key", api_key)
    tenants.set_value(TENANT, "amplitude.secret_key", "secret")
