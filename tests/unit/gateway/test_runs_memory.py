"""What was asked of runs a moment ago is shown until the warehouse shows it, and within bounds."""

from gateway.core.runs_memory import RecentRuns, merge, stopped
from sluice.workflows.core.runs import CANCELED
from tests.support.runs import a_run

STOP_AT = "2024-02-10T12:30:00.000"


def started(number: int = 0, tenant: str = "acme") -> RecentRuns:
    recent = RecentRuns()
    run = a_run(tenant, number, state="scheduled", run_id=f"wf-20240210-00000-0000{number}")
    recent.reserve(run)
    recent.confirm(run.run_id)
    return recent


def test_run_is_shown_until_the_warehouse_has_it() -> None:
    recent = started()
    [run_id] = recent.ids("acme")
    assert [run.run_id for run in recent.settle("acme", [run_id], {})] == [run_id]
    stored = a_run("acme", state="started", run_id=run_id)
    assert recent.settle("acme", [run_id], {run_id: stored}) == []
    assert len(recent) == 0
    assert recent.ids("acme") == []


def test_run_that_is_not_durable_yet_counts_and_is_not_shown() -> None:
    recent = RecentRuns()
    run = a_run("acme", state="scheduled")
    recent.reserve(run)
    assert recent.live("acme", run.config_id) == {run.run_id}
    assert recent.settle("acme", [run.run_id], {}) == []
    assert recent.find("acme", lambda _: True) is None
    recent.confirm(run.run_id)
    assert recent.find("acme", lambda _: True) == run
    recent.forget(run.run_id)
    assert recent.live("acme", run.config_id) == set()


def test_run_of_another_tenant_is_never_shown() -> None:
    recent = started()
    [run_id] = recent.ids("acme")
    assert recent.ids("other") == []
    assert recent.settle("other", [run_id], {}) == []
    assert recent.live("other", "og-cohort") == set()
    assert recent.find("other", lambda _: True) is None


def test_stop_is_shown_until_the_warehouse_shows_that_it_was_heard() -> None:
    recent = RecentRuns()
    run = a_run("acme", state="in progress")
    shown = stopped(run, STOP_AT)
    assert (shown.state, shown.ended_at) == ("stopping", None)
    recent.stop(shown)
    [run_id] = recent.ids("acme")
    assert recent.settle("acme", [run_id], {run_id: run}) == [shown]
    for state in ("stopping", "canceled", "succeeded", "failed"):
        recent.stop(shown)
        heard = a_run("acme", state=state, run_id=run_id)
        assert recent.settle("acme", [run_id], {run_id: heard}) == []


def test_canceled_run_is_not_shown_as_stopping_again() -> None:
    recent = RecentRuns()
    run = a_run("acme", state="scheduled")
    shown = stopped(run, STOP_AT)
    recent.stop(shown)
    heard = a_run("acme", state="stopping", run_id=run.run_id)
    assert recent.settle("acme", [run.run_id], {run.run_id: heard}) == [shown]
    over = a_run("acme", state="canceled", run_id=run.run_id)
    assert recent.settle("acme", [run.run_id], {run.run_id: over}) == []


def test_scheduled_run_is_canceled_when_it_is_stopped() -> None:
    shown = stopped(a_run("acme", state="scheduled"), STOP_AT)
    assert (shown.state, shown.ended_at, shown.error) == ("canceled", STOP_AT, CANCELED)


def test_oldest_run_is_forgotten_when_there_are_too_many_or_they_are_too_large() -> None:
    recent = RecentRuns(max_runs=3, max_bytes=20_000)
    made = [a_run(f"t{number % 2}", number, state="scheduled") for number in range(5)]
    for run in made:
        recent.reserve(run)
    assert len(recent) == 3
    assert {*recent.ids("t0"), *recent.ids("t1")} == {run.run_id for run in made[2:]}
    recent.reserve(a_run("t0", 9, state="scheduled", inputs="x" * 17_000))
    assert len(recent) == 1
    recent.reserve(a_run("t0", 10, state="scheduled", inputs="x" * 30_000))
    assert len(recent) == 0
    recent.reserve(made[0])
    assert len(recent) == 1, "what was forgotten takes no room"


def test_merged_runs_are_the_newest_of_both() -> None:
    runs = [a_run("acme", number) for number in range(6)]
    assert merge(runs[1::2][::-1], [runs[4], runs[0]], 4) == [runs[5], runs[4], runs[3], runs[1]]
