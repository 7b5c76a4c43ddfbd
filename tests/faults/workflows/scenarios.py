"""What is run while workers are killed, and how one sees what was done outside."""

import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import msgspec
import orjson

from sluice.core.workflows import DEFAULTS
from sluice.tenants import TenantsFile
from sluice.workflows.core.runs import Run, new_run_id, run_time
from tests.support.amplitude import AmplitudeProject
from tests.support.run_rig import RunRig, new_run
from tests.support.scripted_runs import Step
from tests.support.worker_rig import Rig, make_event
from worker.workflows.core.progress import RunRow

TENANT: Final = "acme"
DAY: Final = "%Y%m%d"
EVENTS: Final = 300
SAME: Final = frozenset(
    {"matching", "before", "sent", "read", "delivered", "filtered", "refused", "is_balanced"}
    | {"ledger", "destinations", "difference_counts", "differences"}
)
"""Outputs that are the same over every hour."""


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
class OverEvents:
    """A built-in type that reads stored events: each run has an hour of its own."""

    rig: RunRig
    project: AmplitudeProject
    config_id: str
    name: str
    is_scripted: bool = False

    async def new_run(self, number: int) -> Run:
        """Return a run over an hour with events that were not forwarded."""
        moment = datetime.now(UTC)
        hour = moment.replace(minute=0, second=0, microsecond=0) - timedelta(hours=number + 2)
        storing = Rig(self.rig.settings, self.rig.queue, self.rig.warehouse)
        destination = storing.destination()
        events = [
            make_event(user_id=f"person-{number}", received_at=hour + timedelta(seconds=at))
            for at in range(EVENTS)
        ]
        await storing.deliver(destination, *events)
        await destination.rollups.recompute()
        config = DEFAULTS[self.config_id]
        return Run(
            tenant=TENANT,
            run_id=new_run_id(moment, uuid.uuid4().hex),
            config_id=self.config_id,
            type=config.type,
            name=config.name,
            workflow_id=config.type,
            source="api",
            created_at=run_time(moment),
            run_mode=config.run_mode,
            range_from=run_time(hour),
            range_to=run_time(hour + timedelta(hours=1)),
            inputs='{"rate":400}' if config.type == "replay" else "{}",
        )

    async def done(self, number: int, run: Run) -> Mapping[str, int]:
        """Return the events of the person that Amplitude has; all of them are one thing."""
        if run.type != "replay":
            return {}
        taken = await self.project.taken()
        ids = Counter(
            event["insert_id"] for event in taken if event["user_id"] == f"person-{number}"
        )
        return {"all events": len(ids) // EVENTS, "each event": max(ids.values(), default=0)}

    def outputs(self, row: RunRow) -> object:
        """Return the outputs without times."""
        found: dict[str, Any] = orjson.loads(row.outputs)
        return {name: one for name, one in found.items() if name in SAME}


def add_tenant(path: Any, api_key: str) -> None:
    """Make the tenant whose workflows run."""
    tenants = TenantsFile(path)
    tenants.add_tenant(TENANT)
    tenants.set_value(TENANT, "amplitude.api_key", api_key)
    tenants.set_value(TENANT, "amplitude.secret_key", "secret")
