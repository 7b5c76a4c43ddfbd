"""Rows of a run and of its tasks say how far it is."""

from datetime import UTC, datetime

import msgspec

from sluice.workflows.core.runs import CANCELED, Run, RunError
from worker.workflows.core.progress import (
    Book,
    Progress,
    RunRow,
    ended_row,
    read_progress,
    write_progress,
)
from worker.workflows.core.state import StepEnd
from worker.workflows.program import Act

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
LATER = datetime(2026, 3, 1, 11, tzinfo=UTC)
RUN = Run(
    tenant="acme",
    run_id="wf-20260301-36000-abcde",
    config_id="cg-x",
    type="arazzo.w",
    name="X",
    workflow_id="w",
    source="api",
    created_at="2026-03-01T10:00:00.000",
)
BROKEN = RunError("platform", "sluice.workflow.step/http", "Step a was answered 503")


def book(progress: Progress | None = None) -> Book:
    return Book(RUN, progress or Progress(digest="d"), execution="arazzo", retention_days=10)


def act(step: str = "a", *, visit: int = 1, attempt: int = 1) -> Act:
    return Act(workflow_id="w", step_id=step, visit=visit, attempt=attempt, timeout_s=2.5)


def end(step: str = "a", outcome: str = "succeeded", error: RunError | None = None) -> StepEnd:
    return StepEnd("w", step, 1, 1, outcome, 200, error)  # type: ignore[arg-type]


def test_visit_of_a_step_is_one_row_from_its_beginning_to_its_end() -> None:
    tasks = book()
    tasks.began(act(), NOW)
    (row,) = tasks.taken(epoch=2, seq=1)
    assert row.task_instance_id == "wf-20260301-36000-abcde/w/a#1"
    assert (row.state, row.position, row.timeout_ms, row.epoch, row.seq) == (
        "running",
        0,
        2500,
        2,
        1,
    )
    tasks.ended([end()], LATER)
    (last,) = tasks.taken(epoch=2, seq=2)
    assert last.task_instance_id == row.task_instance_id
    assert (last.state, last.started_at, last.ended_at) == (
        "succeeded",
        "2026-03-01T10:00:00.000",
        "2026-03-01T11:00:00.000",
    )
    assert tasks.taken(epoch=2, seq=3) == []


def test_step_up_for_retry_is_named_until_its_next_attempt() -> None:
    tasks = book()
    tasks.began(act(), NOW)
    tasks.ended([end(outcome="up for retry", error=BROKEN)], NOW)
    assert (tasks.has_retry, tasks.has_ended_step) == (True, False)
    (row,) = tasks.taken(epoch=1, seq=1)
    assert (row.state, row.error_type, row.ended_at) == ("up for retry", BROKEN.type, None)
    tasks.began(act(attempt=2), LATER)
    assert (tasks.has_retry, tasks.has_ended_step) == (False, False)
    (row,) = tasks.taken(epoch=1, seq=2)
    assert (row.state, row.attempt, row.position) == ("running", 2, 0)


def test_host_that_takes_over_goes_on_with_the_same_tasks() -> None:
    before = book()
    before.began(act("a"), NOW)
    before.ended([end("a")], NOW)
    before.began(act("b"), NOW)
    text = write_progress(before.progress("d", '{"at":1}', is_acting=True))
    progress = read_progress(text)
    assert (bytes(progress.state), progress.is_acting, progress.digest) == (b'{"at":1}', True, "d")
    after = book(progress)
    assert after.has_ended_step
    after.ended([end("b")], LATER)
    after.began(act("c"), LATER)
    found = {row.step_id: row for row in after.taken(epoch=2, seq=9)}
    assert (found["b"].position, found["b"].started_at) == (1, "2026-03-01T10:00:00.000")
    assert found["c"].position == 2


def test_run_that_ends_ends_what_is_open() -> None:
    for state, error, expected in (
        ("canceled", CANCELED, ("canceled", "")),
        ("failed", BROKEN, ("failed", BROKEN.type)),
    ):
        tasks = book()
        tasks.began(act(), NOW)
        tasks.closed(state, error, LATER)  # type: ignore[arg-type]
        (row,) = tasks.taken(epoch=1, seq=1)
        assert (row.state, row.error_type) == expected


def test_last_row_drops_what_was_needed_to_go_on_and_says_how_long_it_is_kept() -> None:
    row = RunRow(**msgspec.structs.asdict(RUN), program="p", resume_at="2026-03-01T10:00:00.000")
    last = ended_row(row, error=None, outputs='{"a":1}', now=LATER, retention_days=2)
    assert (last.state, last.program, last.resume_at, last.outputs) == (
        "succeeded",
        "",
        None,
        '{"a":1}',
    )
    assert (last.ended_at, last.expires_at) == ("2026-03-01T11:00:00.000", "2026-03-03T11:00:00")
    canceled = ended_row(row, error=CANCELED, outputs="{}", now=LATER, retention_days=2)
    assert (canceled.state, canceled.error) == ("canceled", CANCELED)
    failed = ended_row(row, error=BROKEN, outputs="{}", now=LATER, retention_days=2)
    assert (failed.state, failed.error) == ("failed", BROKEN)
