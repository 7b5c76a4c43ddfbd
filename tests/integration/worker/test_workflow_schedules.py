"""Schedules fire once for each time, however many workers there are, and make one time good."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import pytest

from sluice.core.tenant import Directory, Tenant
from sluice.core.workflows import DEFAULTS
from sluice.tenants import TenantsFile
from sluice.warehouse.queries import Query
from sluice.workflows.catalogue import Catalogue
from sluice.workflows.core.runs import Run, Start
from tests.support.run_rig import RunRig, open_run_rig
from tests.support.scripted_runs import ScriptedPrograms
from worker.destinations.workflows import WorkflowsDestination
from worker.workflows.host import Host
from worker.workflows.journal import Journal
from worker.workflows.lease import Lease
from worker.workflows.schedules import Schedules

HOURLY = "0 * * * *"


class GivenTenants(TenantsFile):
    """Tenants that a test gives."""

    def __init__(self, folder: Path, *tenants: Tenant) -> None:
        super().__init__(folder / "no-tenants.toml")
        self._given = Directory(MappingProxyType({one.slug: one for one in tenants}))

    @property
    def directory(self) -> Directory:
        """The given ones."""
        return self._given


@pytest.fixture
async def rig(tmp_path: Path, engine_url: str) -> AsyncIterator[RunRig]:
    """A database and a queue of its own."""
    async with open_run_rig(tmp_path, engine_url) as opened:
        yield opened


@pytest.fixture
def schedules(rig: RunRig, tmp_path: Path) -> Callable[..., Schedules]:
    """Makes the schedules of a worker."""

    def make(config_id: str = "cg-replay", **members: object) -> Schedules:
        config = replace(DEFAULTS[config_id], schedule=HOURLY, **members)  # type: ignore[arg-type]
        tenant = Tenant(slug="acme", workflows={**DEFAULTS, config_id: config})
        return Schedules(
            store=rig.store,
            tenants=GivenTenants(tmp_path, tenant, Tenant(slug="off", enabled=False)),
            catalogue=Catalogue(tmp_path / "workflows"),
            queue=rig.queue,
        )

    return make


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def taken(rig: RunRig) -> list[Run]:
    """Deliver the commands that wait, and return the runs that they start."""
    programs = ScriptedPrograms(rig.effects)
    host = Host(
        store=rig.store,
        journal=Journal(rig.warehouse),
        programs=programs,
        queue=rig.queue,
        lease=Lease(rig.store),
    )
    destination = WorkflowsDestination(rig.warehouse, rig.store, host, programs=programs)
    deliveries = await rig.queue.pull(
        "workflows", max_messages=100, max_bytes=10**7, lease_s=60, wait_s=0
    )
    prepared = [destination.prepare(one) for one in deliveries]
    await destination.deliver(prepared)
    await rig.queue.ack(deliveries)
    return [one.run for some in prepared for one in some if isinstance(one, Start)]


async def test_schedule_fires_at_its_time_and_not_before_it_was_known(
    rig: RunRig, schedules: Callable[..., Schedules]
) -> None:
    worker = schedules()
    assert await worker.start_due(at("2026-03-01T10:30:00")) == 0
    assert await worker.start_due(at("2026-03-01T10:59:59")) == 0
    assert await worker.start_due(at("2026-03-01T11:00:00")) == 1
    assert await worker.start_due(at("2026-03-01T11:00:01")) == 0
    (run,) = await taken(rig)
    assert (run.source, run.principal_name, run.principal_id) == (
        "schedule",
        "Automated workflow",
        "sluice|schedule",
    )
    assert run.created_at == "2026-03-01T11:00:00.000"
    assert (run.range_from, run.range_to) == (
        "2026-02-28T00:00:00.000",
        "2026-03-01T00:00:00.000",
    )
    assert (run.type, run.run_mode, run.config_id) == ("replay", "full", "cg-replay")


async def test_two_workers_start_one_run_for_one_time(
    rig: RunRig, schedules: Callable[..., Schedules]
) -> None:
    one, other = schedules(), schedules()
    for worker in (one, other):
        await worker.start_due(at("2026-03-01T10:30:00"))
    for worker in (one, other):
        await worker.start_due(at("2026-03-01T11:00:00"))
    found = await taken(rig)
    assert len(found) == 2
    assert len({run.run_id for run in found}) == 1
    rows = await rig.rows("SELECT count() FROM workflow_runs FINAL")
    assert rows == [(1,)]


async def test_times_that_passed_without_workers_are_made_good_once(
    rig: RunRig, schedules: Callable[..., Schedules]
) -> None:
    now = datetime.now(UTC).replace(minute=30)
    await schedules().start_due(now - timedelta(hours=9))
    later = schedules(max_concurrent=2)
    assert await later.start_due(now) == 1
    assert await later.start_due(now) == 0
    (run,) = await taken(rig)
    due = now.replace(minute=0, second=0, microsecond=0, tzinfo=None)
    assert run.created_at == due.isoformat(timespec="milliseconds")
    again = schedules(max_concurrent=2)
    assert await again.start_due(now) == 0, "what ran is known to a worker that starts"


async def test_schedule_waits_while_as_many_runs_live_as_may(
    rig: RunRig, schedules: Callable[..., Schedules]
) -> None:
    now = datetime.now(UTC).replace(minute=30)
    worker = schedules(max_concurrent=1)
    await worker.start_due(now - timedelta(hours=2))
    assert await worker.start_due(now - timedelta(hours=1)) == 1
    await taken(rig)
    assert await worker.start_due(now) == 0


async def test_time_that_was_run_is_not_run_again_when_its_run_is_forgotten(
    rig: RunRig, schedules: Callable[..., Schedules]
) -> None:
    now = datetime.now(UTC).replace(minute=30)
    worker = schedules()
    await worker.start_due(now - timedelta(days=90, hours=1))
    assert await worker.start_due(now - timedelta(days=90)) == 1
    assert await schedules().start_due(now - timedelta(days=90)) == 0
    await rig.warehouse.run(Query("forget", "TRUNCATE TABLE workflow_runs"))
    await rig.warehouse.run(Query("merge", "OPTIMIZE TABLE workflow_schedules FINAL"))
    assert await schedules().start_due(now - timedelta(days=90)) == 0


async def test_schedule_goes_on_when_the_clock_was_ahead_for_a_while(
    rig: RunRig, schedules: Callable[..., Schedules]
) -> None:
    now = datetime.now(UTC).replace(minute=30)
    worker = schedules(max_concurrent=100)
    await worker.start_due(now)
    assert await worker.start_due(now + timedelta(days=30)) == 1
    restarted = schedules(max_concurrent=100)
    for one in (worker, restarted):
        assert await one.start_due(now) == 0
        assert await one.start_due(now + timedelta(hours=1)) == 1
