"""``POST /api/workflow/runs`` and ``GET`` of one run, case by case (reference/amperity.md)."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.core.runs_start import StartAsk, read_start, request_key
from sluice.core.run_tasks import RunTask
from sluice.workflows.core.runs import RUN_ID
from tests.support.runs import COHORT, RUNS, Runs, a_run, bearer_of, commands, running_runs
from tests.support.segops import Answer
from tests.support.shared import SharedParts

UNKNOWN = "wf-20240101-00000-abcde"
REPLAY = {"config_id": "cg-replay", "range_from": "2026-01-01"}


def assert_refused(answer: Answer, status: int, error_type: str, *words: str) -> None:
    assert (answer.status, answer.error_type) == (status, error_type), answer
    for word in words:
        assert word in answer.json["message"], answer


async def test_case_36_start_answers_the_whole_run(runs: Runs) -> None:
    answer = await runs.start(COHORT)
    assert answer.status == 200, answer
    run = answer.json
    assert (run["state"], run["task_instances"]) == ("scheduled", [])
    assert (run["tenant"], run["type"]) == (runs.slug, "amplitude.export-cohort")
    assert RUN_ID.fullmatch(run["id"])
    assert answer.headers["Location"] == f"{RUNS}/{run['id']}"
    created = datetime.fromisoformat(run["created_at"])
    _, day, second, _ = run["id"].split("-")
    assert day == f"{created:%Y%m%d}"
    assert int(second) == created.hour * 3600 + created.minute * 60 + created.second
    assert abs((datetime.now(UTC) - created).total_seconds()) < 60
    for name in ("launched_version", "current_version"):
        assert re.fullmatch(r"etv-\d{8}-\d{5}-[0-9A-Za-z]{6}", run[name])
    assert run["inputs"] == {"cohortId": "c1", "basicAuth": "***"}
    assert "ended_at" not in run
    assert "error" not in run


async def test_start_is_a_command_in_the_queue_when_it_was_answered(
    shared: SharedParts, tmp_path: Path
) -> None:
    person = {"sub": "auth0|7", "name": "Ann\x00 Lee", "email": "ann@example.org"}
    async with running_runs(tmp_path, shared.warehouse_url) as runs:
        header = runs.bearer(None, **person)
        body = orjson.dumps(COHORT)
        answer = await runs.ask("POST", RUNS, body=body, bearer=header)
        settings = runs.gateway.settings
    assert answer.status == 200, answer
    [start] = await commands(settings)
    run = start["run"]
    assert (start["command"], run["run_id"]) == ("start", answer.json["id"])
    assert (run["tenant"], run["source"], run["inputs"]) == (runs.slug, "api", '{"cohortId":"c1"}')
    for found in (run, answer.json):
        assert found["principal_id"] == "auth0|7"
        assert found["principal_name"] == "Ann Lee"
        assert found["principal_email"] == "ann@example.org"


async def test_case_37_run_is_seen_at_once(runs: Runs) -> None:
    run_id = (await runs.start(COHORT)).json["id"]
    answer = await runs.get(f"/{run_id}")
    assert (answer.status, answer.json["state"]) == (200, "scheduled")
    listed = (await runs.get("?with_total=true&state=scheduled")).json
    assert ([run["id"] for run in listed["data"]], listed["total"]) == ([run_id], 1)
    assert await runs.listed("?state=started") == []
    # Once the warehouse shows it, that is what counts.
    started = a_run(
        runs.slug, state="started", run_id=run_id, created_at=answer.json["created_at"][:-1]
    )
    await runs.insert(started)
    assert (await runs.get(f"/{run_id}")).json["state"] == "started"
    assert await runs.listed("?state=started") == [run_id]
    assert (await runs.get("?with_total=true")).json["total"] == 1


@pytest.mark.parametrize("body", [{}, {"config_id": ""}, {"config_id": 7}, {"config_id": None}])
async def test_case_38_config_id_must_be_there_and_well_formed(
    runs: Runs, body: dict[str, Any]
) -> None:
    assert_refused(await runs.start(body), 400, "run_request_invalid", "config_id")


async def test_case_39_body_that_is_no_json_is_refused_with_its_position(runs: Runs) -> None:
    answer = await runs.start(b'{"config_id"="cg-1"}')
    assert_refused(answer, 400, "json_invalid", "column 13", "expected ':'")
    answer = await runs.start(b'{"config_id":"cg-1"}&{"range_from":"2026"}')
    assert_refused(answer, 400, "json_invalid", "column 21")
    assert_refused(await runs.start(b"[1]"), 400, "body_not_object")
    assert_refused(await runs.start(b" "), 400, "body_empty")
    assert_refused(await runs.start(b'{"config_id":"\xff"}'), 400, "json_invalid")
    assert_refused(await runs.start(b"[" * 60_000), 400, "json_invalid")


async def test_case_40_json_is_read_whatever_the_type_says(runs: Runs) -> None:
    form = ("Content-Type", "application/x-www-form-urlencoded")
    assert (await runs.start(COHORT, form)).status == 200
    parts = ("Content-Type", "multipart/form-data; boundary=x")
    assert_refused(await runs.start(COHORT, parts), 415, "content_type_unsupported")


async def test_body_over_64_kib_is_413(runs: Runs) -> None:
    big = {**COHORT, "inputs": {"cohortId": "c" * 70_000}}
    assert_refused(await runs.start(big), 413, "body_too_large")


async def test_case_41_unknown_configuration_is_404(runs: Runs) -> None:
    assert_refused(await runs.start({"config_id": "cg-zzzz"}), 404, "workflow_unknown", "cg-zzzz")


async def test_case_42_range_and_mode_are_for_cg_only(runs: Runs) -> None:
    for name, value in (("range_from", "2026"), ("range_to", "2026"), ("run_mode", "full")):
        answer = await runs.start({**COHORT, name: value})
        assert_refused(answer, 400, "run_request_invalid", name, "cg-")


async def test_case_43_and_44_replay_needs_a_range_from_its_begin(runs: Runs) -> None:
    answer = await runs.start({"config_id": "cg-replay"})
    assert_refused(answer, 400, "run_request_invalid", "range_from")
    answer = await runs.start({"config_id": "cg-replay", "range_to": "2026-01-01"})
    assert_refused(answer, 400, "run_request_invalid", "range_from")


async def test_case_45_range_is_one_day_when_it_has_no_end(runs: Runs) -> None:
    run = (await runs.start(REPLAY)).json
    assert run["range_from"] == "2026-01-01T00:00:00.000Z"
    assert run["range_to"] == "2026-01-02T00:00:00.000Z"
    assert run["run_mode"] == "full"


async def test_case_46_range_must_end_after_it_begins(runs: Runs) -> None:
    for end in ("2026-01-01", "2025-12-31"):
        answer = await runs.start({**REPLAY, "range_to": end})
        assert_refused(answer, 400, "run_request_invalid", "range_to")
    for wrong in ("yesterday", "1969", "9999", 2026):
        answer = await runs.start({**REPLAY, "range_from": wrong})
        assert_refused(answer, 400, "run_request_invalid", "range_from")


async def test_case_47_mode_is_one_of_three_in_any_case(runs: Runs) -> None:
    answer = await runs.start({**REPLAY, "run_mode": "FULL"})
    assert (answer.status, answer.json["run_mode"]) == (200, "full")
    answer = await runs.start({**REPLAY, "run_mode": "fast"})
    assert_refused(answer, 400, "run_request_invalid", "run_mode", "`fast`", "refresh")


async def test_mode_is_refused_when_the_type_would_send_all_the_same(runs: Runs) -> None:
    for mode in ("source", "Refresh"):
        answer = await runs.start({"config_id": "cg-ingest", "run_mode": mode})
        assert_refused(answer, 400, "run_request_invalid", f"run_mode is {mode.lower()}", "full")
        answer = await runs.start({"config_id": "cg-reconcile", "run_mode": mode})
        assert (answer.status, answer.json["run_mode"]) == (200, mode.lower())


async def test_case_48_unknown_key_is_refused_by_its_name(runs: Runs) -> None:
    answer = await runs.start({**REPLAY, "rangefrom": "2026"})
    assert_refused(answer, 400, "run_request_invalid", "`rangefrom`", "range_from")


async def test_case_49_inputs_are_refused_with_their_place_and_without_their_value(
    runs: Runs,
) -> None:
    answer = await runs.start(
        {"config_id": "og-cohort", "inputs": {"cohortId": "c1", "includeProps": 3}}
    )
    assert_refused(answer, 400, "run_inputs_invalid", "/inputs/includeProps")
    answer = await runs.start(
        {"config_id": "og-cohort", "inputs": {"cohortId": "c1", "basicAuth": "hunter2"}}
    )
    assert_refused(answer, 400, "run_inputs_invalid", "/inputs/basicAuth")
    assert b"hunter2" not in answer.body
    undeclared = {"cohortId": "c1", "apiKey": "hunter2"}
    answer = await runs.start({"config_id": "og-cohort", "inputs": undeclared})
    assert_refused(answer, 400, "run_inputs_invalid", "/inputs/apiKey")
    assert b"hunter2" not in answer.body
    answer = await runs.start({"config_id": "og-cohort"})
    assert_refused(answer, 400, "run_inputs_invalid", "cohortId")
    deep = b'{"config_id":"og-cohort","inputs":{"cohortId":%s1%s}}' % (b"[" * 900, b"]" * 900)
    assert_refused(await runs.start(deep), 400, "run_inputs_invalid", "deeply")


async def test_case_50_same_key_and_body_are_the_same_run(runs: Runs) -> None:
    key = ("Idempotency-Key", "k-1")
    first = await runs.start(COHORT, key)
    again = await runs.start(b'{"inputs" : {"cohortId":"c1"}, "config_id":"og-cohort"}', key)
    assert (first.status, again.status) == (200, 200)
    assert first.json["id"] == again.json["id"]
    other = await runs.start({"config_id": "og-cohort", "inputs": {"cohortId": "c2"}}, key)
    assert_refused(other, 409, "idempotency_key_reused", first.json["id"])
    assert (await runs.start(COHORT, ("Idempotency-Key", "k-2"))).json["id"] != first.json["id"]
    assert (await runs.get("?with_total=true")).json["total"] == 2
    wrong = await runs.start(COHORT, ("Idempotency-Key", "a b"))
    assert_refused(wrong, 400, "idempotency_key_invalid")


async def test_case_50_same_key_is_known_from_the_warehouse_too(
    runs: Runs, shared: SharedParts, tmp_path: Path
) -> None:
    key = ("Idempotency-Key", "k-1")
    async with running_runs(tmp_path / "other", shared.warehouse_url, slug=runs.slug) as other:
        first = await runs.start(COHORT, key)
        ask = read_start(orjson.dumps(COHORT))
        assert isinstance(ask, StartAsk)
        stored = a_run(
            runs.slug,
            state="started",
            run_id=first.json["id"],
            created_at=first.json["created_at"].removesuffix("Z"),
            request_key=request_key(runs.slug, "k-1"),
            request_digest=ask.digest,
        )
        await runs.insert(stored)
        again = await other.start(COHORT, key)
        assert first.json["id"] == again.json["id"]
        changed = await other.start({"config_id": "og-erase", "inputs": {"user_ids": ["u"]}}, key)
        assert_refused(changed, 409, "idempotency_key_reused")


async def test_case_51_one_run_too_many_is_refused_with_those_that_go_on(runs: Runs) -> None:
    first = (await runs.start(REPLAY)).json["id"]
    assert_refused(await runs.start(REPLAY), 409, "runs_at_limit", first)
    await runs.stop(first)
    second = await runs.start(REPLAY)
    assert second.status == 200, "what is canceled does not count"
    stored = [a_run(runs.slug, number, state="in progress") for number in range(5)]
    await runs.insert(*stored)
    answer = await runs.start(COHORT)
    assert_refused(answer, 409, "runs_at_limit", *(run.run_id for run in stored))


async def test_no_run_too_many_starts_when_all_ask_at_once(runs: Runs) -> None:
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(runs.start(REPLAY)) for _ in range(5)]
    statuses = [task.result().status for task in asked]
    assert sorted(statuses) == [200, 409, 409, 409, 409]


async def test_one_run_starts_when_the_same_request_comes_several_times_at_once(
    runs: Runs,
) -> None:
    key = ("Idempotency-Key", "k-1")
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(runs.start(COHORT, key)) for _ in range(5)]
    assert len({task.result().json["id"] for task in asked}) == 1
    assert (await runs.get("?with_total=true")).json["total"] == 1


async def test_case_52_overview_has_seven_fields(runs: Runs) -> None:
    ended, running = a_run(runs.slug, 0, state="failed"), a_run(runs.slug, 1, state="started")
    await runs.insert(ended, running)
    fields = {"created_at", "ended_at", "id", "name", "state", "tenant", "type"}
    assert set((await runs.get(f"/{ended.run_id}")).json) == fields
    answer = await runs.get(f"/{running.run_id}?view=overview")
    assert set(answer.json) == fields - {"ended_at"}


async def test_case_53_verbose_has_everything_but_secrets(runs: Runs) -> None:
    run = a_run(
        runs.slug,
        state="failed",
        inputs='{"cohortId":"c1"}',
        outputs='{"rows":3}',
        error_attribution="customer",
        error_type="sluice.workflow.step/http",
        error_message="getCohort was answered 401.",
    )
    visit = RunTask(
        task_instance_id="t-1",
        workflow_id="export-cohort-members",
        step_id="poll",
        visit=1,
        state="succeeded",
        execution_type="arazzo",
        started_at=run.created_at,
        ended_at=run.created_at,
        timeout_ms=30_000,
        created_at=run.created_at,
        state_changed_at=run.created_at,
    )
    failed = RunTask(
        task_instance_id="t-2",
        workflow_id="export-cohort-members",
        step_id="poll",
        visit=2,
        state="failed",
        execution_type="arazzo",
        error_attribution="platform",
        error_type="sluice.workflow.step/timeout",
        error_message="No answer.",
        created_at=run.created_at,
        state_changed_at=run.created_at,
    )
    await runs.insert(run)
    await runs.insert_tasks(run, visit, failed)
    found = (await runs.get(f"/{run.run_id}?view=verbose")).json
    assert found["inputs"] == {"cohortId": "c1", "basicAuth": "***"}
    assert found["outputs"] == {"rows": 3}
    assert found["error"] == {
        "attribution": "customer",
        "type": "sluice.workflow.step/http",
        "message": "getCohort was answered 401.",
    }
    assert found["launched_version"] == "etv-20240210-43200-6AbCDE"
    assert found["current_version"] != found["launched_version"]
    first, second = found["task_instances"]
    assert first == {
        "id": "t-1",
        "task_instance_id": "t-1",
        "run_id": run.run_id,
        "tenant": runs.slug,
        "workflow_id": "export-cohort-members",
        "label": "poll",
        "state": "succeeded",
        "state_changed_at": f"{run.created_at}Z",
        "created_at": f"{run.created_at}Z",
        "started_at": f"{run.created_at}Z",
        "ended_at": f"{run.created_at}Z",
        "execution_type": "arazzo",
        "task_definition_id": "export-cohort-members/poll",
        "task_definition_type": "amplitude.export-cohort",
        "timeout_ms": 30_000,
    }
    assert second["label"] == "poll 2"
    assert second["error"]["attribution"] == "platform"
    assert "ended_at" not in second


async def test_case_54_view_is_one_of_two(runs: Runs) -> None:
    await runs.refused(f"/{UNKNOWN}?view=x", "view", "overview", "verbose")


async def test_case_55_foreign_run_is_unknown_as_one_that_is_not_there(runs: Runs) -> None:
    foreign = a_run("acme")
    await runs.insert(foreign)
    own = bearer_of(runs.gateway.settings, "acme", "read")
    assert (await runs.ask("GET", f"{RUNS}/{foreign.run_id}", bearer=own)).status == 200
    answers = [
        await runs.ask(method, f"{RUNS}/{run_id}{rest}")
        for method, rest in (("GET", ""), ("GET", "?view=verbose"), ("POST", "/stop"))
        for run_id in (foreign.run_id, UNKNOWN, "wf-99999999-99999-abcde", "x", "%00")
    ]
    for answer in answers:
        assert_refused(answer, 404, "run_unknown")
        assert answer.json["message"] == answers[0].json["message"]
    assert await runs.listed() == []


async def test_token_that_only_reads_neither_starts_nor_stops(runs: Runs) -> None:
    run = a_run(runs.slug, state="started")
    await runs.insert(run)
    for path in (RUNS, f"{RUNS}/{run.run_id}/stop"):
        answer = await runs.ask("POST", path, body=b"{}", bearer=runs.bearer("read"))
        assert_refused(answer, 403, "scope_denied", "`runs`")
    assert (await runs.ask("GET", RUNS, bearer=runs.bearer("read"))).status == 200
    answer = await runs.ask("POST", f"{RUNS}/{run.run_id}/stop", bearer=runs.bearer(None))
    assert answer.status == 200, "a token without a scope may"
