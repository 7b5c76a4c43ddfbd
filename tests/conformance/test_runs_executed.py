"""Runs that a worker executes, case by case (reference/amperity.md, 56 to 63).

Gateway, queue and worker are the test's own, and so is the database, so that nobody else takes the
runs. Amplitude is the simulator.
"""

import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sluice.settings import load_settings
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse
from sluice.warehouse.migrate import migrate
from sluice.warehouse.queries import Query
from tests.support.amplitude import AmplitudeProject
from tests.support.edge import Part, running
from tests.support.gateway import running_gateway
from tests.support.poll import poll_until
from tests.support.runs import Runs, database_of
from tests.support.shared import SharedParts

OVER: Final = {"canceled", "succeeded", "failed"}
WITHIN_S: Final = 60
COHORT: Final = {"config_id": "og-cohort", "inputs": {"cohortId": "c1"}}
SECRET: Final = "secret"
"""Of every project of the simulator."""
STATE_OF: Final = Query(
    "state_of_run",
    "SELECT state FROM workflow_runs FINAL"
    " WHERE tenant = {tenant:String} AND run_id = {run_id:String}",
)
UPLOAD: Final = "/2/httpapi"
SEGMENTATION: Final = "/api/2/events/segmentation"
COHORTS: Final = "/api/5/cohorts"


@asynccontextmanager
async def tenant_of(
    project: AmplitudeProject, shared: SharedParts, folder: Path
) -> AsyncIterator[Runs]:
    """Serve the runs of a tenant whose Amplitude is a project of the simulator."""
    slug = f"r-{secrets.token_hex(6)}"
    url = database_of(shared.warehouse_url, f"runs_{secrets.token_hex(6)}")
    settings = load_settings(data_dir=folder, warehouse_url=url)
    tenants = TenantsFile(settings.tenants_path)
    tenants.add_tenant(slug)
    tenants.set_value(slug, "amplitude.api_key", project.api_key)
    tenants.set_value(slug, "amplitude.secret_key", SECRET)
    async with Warehouse(settings) as warehouse:
        await migrate(warehouse)
        async with running_gateway(folder, warehouse_url=url) as gateway:
            yield Runs(gateway=gateway, slug=slug, warehouse=warehouse)


@contextmanager
def a_worker(runs: Runs, project: AmplitudeProject) -> Iterator[Part]:
    """Run a worker beside the gateway."""
    url = runs.gateway.settings.warehouse_url.get_secret_value()
    settings = {"WAREHOUSE_URL": url, "AMPLITUDE_URL": project.url}
    with running("worker", data_dir=runs.gateway.settings.data_dir, settings=settings) as worker:
        yield worker


async def verbose(runs: Runs, run_id: str) -> Mapping[str, Any]:
    """Return everything of a run."""
    answer = await runs.get(f"/{run_id}?view=verbose")
    assert answer.status == 200, answer
    found: Mapping[str, Any] = answer.json
    return found


async def when(runs: Runs, run_id: str, *states: str, tasks: int = 0) -> Mapping[str, Any]:
    """Wait until a run has one of these states and so many visits of steps, and return it."""

    async def is_so() -> Mapping[str, Any] | None:
        run = await verbose(runs, run_id)
        is_there = run["state"] in states and len(run["task_instances"]) >= tasks
        assert is_there or run["state"] not in OVER, run
        return run if is_there else None

    return await poll_until(is_so, within_s=WITHIN_S, every_s=0.2, what=f"{states} of {run_id}")


async def started(runs: Runs, body: Mapping[str, Any]) -> str:
    """Start a run and return its id."""
    answer = await runs.start(body)
    assert answer.status == 200, answer
    return str(answer.json["id"])


async def test_cases_56_to_60_stopped_runs_end_and_a_refused_key_is_the_customer_s(
    amplitude: AmplitudeProject, shared: SharedParts, tmp_path: Path
) -> None:
    await amplitude.set(cohorts=[{"id": "c1", "user_ids": ["u-1"], "polls": 1_000}])
    async with tenant_of(amplitude, shared, tmp_path) as runs:
        never = await started(runs, COHORT)
        assert (await runs.stop(never)).json["state"] == "canceled"
        with a_worker(runs, amplitude):
            polling = await started(runs, COHORT)
            await when(runs, polling, "in progress", tasks=2)
            answer = await runs.stop(polling)
            assert (answer.status, answer.json["state"]) == (200, "stopping")
            assert (await runs.stop(polling)).status == 200
            ended = await when(runs, polling, "canceled")
            assert ended["error"]["message"] == "Workflow manually stopped"
            assert ended["ended_at"]
            again = await runs.stop(polling)
            assert (again.status, again.json["state"]) == (200, "canceled")
            # Whatever was ordered before was done by now.
            assert (await verbose(runs, never))["task_instances"] == []
            await stored(runs, never, "canceled")

            await amplitude.set(faults=[{"fault": "401", "paths": [COHORTS]}])
            refused = await when(runs, await started(runs, COHORT), "failed")
            assert refused["error"]["attribution"] == "customer"
            assert refused["error"]["type"] == "sluice.workflow.step/http"
            assert "requestExport" in refused["error"]["message"]
            assert "401" in refused["error"]["message"]
            both = b64encode(f"{amplitude.api_key}:{SECRET}".encode()).decode()
            for secret in (both, amplitude.api_key):
                assert secret not in str(refused)
            assert (await runs.stop(refused["id"])).error_type == "run_ended"


async def stored(runs: Runs, run_id: str, state: str) -> None:
    """Wait until the warehouse itself has a run in a state."""

    async def is_so() -> bool:
        found = await runs.warehouse.fetch(STATE_OF, tenant=runs.slug, run_id=run_id)
        return found == [(state,)]

    await poll_until(is_so, within_s=WITHIN_S, what=f"{state} in the warehouse")


def ingest_of(user_id: str) -> Mapping[str, Any]:
    """Return the start of an ingestion for one person."""
    today = f"{datetime.now(UTC):%Y%m%d}"
    inputs = {"userId": user_id, "eventType": f"by {user_id}", "start": today, "end": today}
    return {"config_id": "cg-ingest", "inputs": inputs}


async def test_cases_61_to_63_platform_failures_are_named_and_a_lost_worker_is_made_good(
    amplitude: AmplitudeProject, shared: SharedParts, tmp_path: Path
) -> None:
    def hang(path: str) -> Mapping[str, Any]:
        return {"fault": "hang", "paths": [path], "times": 1, "stored": True, "seconds": 90}

    away = {"fault": "503", "paths": [COHORTS], "retry_after_s": 1}
    await amplitude.set(faults=[away, hang(UPLOAD)])
    async with tenant_of(amplitude, shared, tmp_path) as runs:
        with a_worker(runs, amplitude) as first:
            failing = await started(runs, COHORT)
            during = await started(runs, ingest_of("during"))
            await poll_until(lambda: taken_of(amplitude, "during"), within_s=WITHIN_S)
            await amplitude.set(faults=[away, hang(SEGMENTATION)])
            between = await started(runs, ingest_of("between"))
            await when(runs, between, "in progress", tasks=2)
            first.kill()
        with a_worker(runs, amplitude):
            for name, run_id, copies in (("during", during, 2), ("between", between, 1)):
                ended = await when(runs, run_id, "succeeded")
                assert [task["state"] for task in ended["task_instances"]] == ["succeeded"] * 2
                assert ended["outputs"]["eventsIngested"] == 1
                [event] = await taken_of(amplitude, name)
                assert event["copies"] == copies, name
            failed = await when(runs, failing, "failed")
    assert failed["error"]["attribution"] == "platform"
    assert "503" in failed["error"]["message"]


async def taken_of(project: AmplitudeProject, user_id: str) -> list[Mapping[str, Any]]:
    """Return the events of a person that Amplitude counts."""
    return [event for event in await project.taken() if event.get("user_id") == user_id]
