"""``POST /api/workflow/runs/{id}/stop`` and what happens while the queue is away, case by case."""

import asyncio
import os
from pathlib import Path

import pytest

from sluice.settings import MIB
from sluice.warehouse.client import Warehouse
from sluice.workflows.core.runs import RunState
from tests.support.gateway import TENANT, running_gateway
from tests.support.runs import COHORT, Runs, a_run, commands, running_runs
from tests.support.shared import SharedParts
from worker.workflows.store import Store

CANCELED = {
    "attribution": "customer",
    "type": "sluice.workflow.run/cancel",
    "message": "Workflow manually stopped",
}


async def test_case_56_scheduled_run_is_canceled_at_once(
    shared: SharedParts, tmp_path: Path
) -> None:
    async with running_runs(tmp_path, shared.warehouse_url) as runs:
        run_id = (await runs.start(COHORT)).json["id"]
        answer = await runs.stop(run_id)
        assert (answer.status, answer.json["state"]) == (200, "canceled")
        assert answer.json["error"] == CANCELED
        assert answer.json["ended_at"]
        listed = (await runs.get("?state=canceled")).json["data"]
        assert [(run["id"], run["error"]) for run in listed] == [(run_id, CANCELED)]
        assert await runs.listed("?state=scheduled") == []
        settings = runs.gateway.settings
    start, stop = await commands(settings)
    assert (start["command"], stop["command"]) == ("start", "stop")
    assert (stop["run_id"], stop["tenant"]) == (run_id, start["run"]["tenant"])


async def test_case_57_running_run_is_stopping_until_its_step_has_ended(runs: Runs) -> None:
    run = a_run(runs.slug, state="in progress", inputs='{"cohortId":"c1"}')
    await runs.insert(run)
    answer = await runs.stop(run.run_id)
    assert (answer.status, answer.json["state"]) == (200, "stopping")
    assert answer.json["inputs"]["cohortId"] == "c1"
    assert (await runs.get(f"/{run.run_id}")).json["state"] == "stopping"
    assert await runs.listed("?state=in+progress") == []
    assert await runs.listed("?state=stopping") == [run.run_id]
    over = a_run(
        runs.slug,
        state="canceled",
        run_id=run.run_id,
        error_attribution="customer",
        error_type=CANCELED["type"],
        error_message=CANCELED["message"],
    )
    await runs.insert(over, version=2)
    found = (await runs.get(f"/{run.run_id}?view=verbose")).json
    assert (found["state"], found["error"]) == ("canceled", CANCELED)
    assert await runs.listed("?state=canceled") == [run.run_id]


@pytest.mark.parametrize(
    ("becomes", "status", "shown"),
    [("started", 200, "stopping"), ("canceled", 200, "canceled"), ("succeeded", 409, None)],
)
async def test_stop_says_what_is_true_when_the_run_begins_meanwhile(
    runs: Runs, becomes: RunState, status: int, shown: str | None
) -> None:
    run = a_run(runs.slug, state="scheduled")
    await runs.insert(run)
    async with asyncio.TaskGroup() as tasks:
        stopping = tasks.create_task(runs.stop(run.run_id))
        await runs.insert(a_run(runs.slug, state=becomes, run_id=run.run_id), version=2)
    answer = stopping.result()
    assert (answer.status, answer.json.get("state")) == (status, shown)


async def test_stopped_run_is_not_called_canceled_when_a_worker_may_have_begun_it(
    runs: Runs,
) -> None:
    run = a_run(runs.slug, state="scheduled")
    await runs.insert(run)
    await Store(runs.warehouse).claim({(run.tenant, run.run_id): 1}, "a-host")
    assert (await runs.stop(run.run_id)).json["state"] == "stopping"
    assert await runs.listed("?state=stopping") == [run.run_id]


async def test_case_58_second_stop_changes_nothing(shared: SharedParts, tmp_path: Path) -> None:
    async with running_runs(tmp_path, shared.warehouse_url) as runs:
        run = a_run(runs.slug, state="started")
        stopping = a_run(runs.slug, 1, state="stopping")
        await runs.insert(run, stopping)
        answers = [await runs.stop(run.run_id) for _ in range(2)]
        assert [answer.json["state"] for answer in answers] == ["stopping", "stopping"]
        assert (await runs.stop(stopping.run_id)).status == 200
        settings = runs.gateway.settings
    assert [one["run_id"] for one in await commands(settings)] == [run.run_id]


async def test_case_59_ended_run_cannot_be_stopped(runs: Runs) -> None:
    ended = [a_run(runs.slug, 0, state="succeeded"), a_run(runs.slug, 1, state="failed")]
    await runs.insert(*ended)
    for run in ended:
        answer = await runs.stop(run.run_id)
        assert (answer.status, answer.error_type) == (409, "run_ended")
        assert run.state in answer.json["message"]


async def test_case_64_nothing_is_started_while_the_queue_takes_nothing(
    shared: SharedParts, tmp_path: Path
) -> None:
    async with running_runs(tmp_path, shared.warehouse_url, queue_max_bytes=MIB) as runs:
        live = a_run(runs.slug, state="started")
        await runs.insert(live)
        await fill(runs)
        key = ("Idempotency-Key", "k-1")
        refused = await runs.start(COHORT, key)
        assert (refused.status, refused.error_type) == (503, "spool_full")
        assert 1 <= int(refused.headers["Retry-After"]) <= 30
        stop = await runs.stop(live.run_id)
        assert (stop.status, stop.error_type) == (503, "spool_full")
        listed = (await runs.get("?with_total=true")).json
        assert listed["total"] == 1
        assert [run["state"] for run in listed["data"]] == ["started"]
        settings = runs.gateway.settings
    assert await commands(settings) == []


async def fill(runs: Runs) -> None:
    """Send events that nobody takes out until the queue has no room for a small one either."""
    body = b'{"user_id":"u","event_type":"x","payload":{"a":"%s"}}'
    for size in (24_000, 6_000, 1_500, 400, 100, 1):
        for _ in range(100):
            noise = os.urandom(size).hex().encode()
            answer = await runs.gateway.send(runs.gateway.track_bytes(body % noise))
            if answer.status == 503:
                break
        else:
            message = "the queue never became full"
            raise AssertionError(message)


async def test_nothing_is_started_or_read_while_the_warehouse_is_away(tmp_path: Path) -> None:
    gateway_of = running_gateway(tmp_path, warehouse_url="http://u:p@127.0.0.1:1/sluice")
    async with gateway_of as gateway, Warehouse(gateway.settings) as away:
        runs = Runs(gateway=gateway, slug=TENANT, warehouse=away)
        for answer in (
            await runs.start(COHORT),
            await runs.get(),
            await runs.get("/wf-20240101-00000-abcde"),
            await runs.stop("wf-20240101-00000-abcde"),
        ):
            assert (answer.status, answer.error_type) == (503, "warehouse_unavailable")
            assert answer.headers["Retry-After"] == "5"
        settings = runs.gateway.settings
    assert await commands(settings) == []
