"""Runs are had by one host at a time, go on after it, and stop when a person says so."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from sluice.core.envelope import Envelope, Rows, seal
from sluice.workflows.core.runs import new_run_id, run_time
from sluice.workflows.files import RunFiles
from tests.support.poll import poll_until
from tests.support.run_rig import QUICK, RunRig, new_run, open_run_rig
from tests.support.scripted_runs import Step
from worker.workflows.core.progress import expiry, key_of
from worker.workflows.host import HostOptions
from worker.workflows.retention import Retention
from worker.workflows.store import new_row


@pytest.fixture
async def rig(tmp_path: Path, engine_url: str) -> AsyncIterator[RunRig]:
    """A database and a queue of its own."""
    async with open_run_rig(tmp_path, engine_url) as opened:
        yield opened


async def test_run_does_its_steps_in_order_and_says_how_it_ended(rig: RunRig) -> None:
    run = new_run(Step(), Step(wait_s=0.1), Step())
    await rig.start(run)
    async with rig.worker():
        last = await rig.ended(run)
    assert (last.state, last.outputs, last.program) == ("succeeded", '{"steps":3}', "")
    assert rig.done(run) == ["s0", "s1", "s2"]
    assert await rig.tasks(run) == [(f"s{at}", "succeeded", 1, "") for at in range(3)]


async def test_run_that_fails_names_its_step_and_its_error(rig: RunRig) -> None:
    run = new_run(Step(), Step(fails="Step s1 was answered 400"), Step())
    await rig.start(run)
    async with rig.worker():
        last = await rig.ended(run)
    assert (last.state, last.error_attribution) == ("failed", "customer")
    assert (last.error_type, last.error_message) == (
        "sluice.workflow.step/http",
        "Step s1 was answered 400",
    )
    assert [row[1] for row in await rig.tasks(run)] == ["succeeded", "failed"]


async def test_run_whose_program_raises_fails_alone_and_shows_no_trace(rig: RunRig) -> None:
    bad, good = new_run(Step(raises=True)), new_run(Step())
    await rig.start(bad, good)
    async with rig.worker():
        last = await rig.ended(bad)
        assert (await rig.ended(good)).state == "succeeded"
    assert (last.state, last.error_attribution) == ("failed", "platform")
    assert "secret" not in last.error_message
    assert "mistake" not in last.error_message


async def test_two_hosts_share_runs_and_do_each_step_once(rig: RunRig) -> None:
    runs = [new_run(Step(), Step(wait_s=0.05), Step()) for _ in range(60)]
    async with rig.worker() as one, rig.worker() as other:
        await rig.start(*runs[:30])
        await rig.start(*runs[30:])
        for run in runs:
            assert (await rig.ended(run)).state == "succeeded"
        assert one.host.lease.host_id != other.host.lease.host_id
    assert all(rig.done(run) == ["s0", "s1", "s2"] for run in runs)


async def test_two_hosts_that_find_the_same_runs_do_each_step_once(rig: RunRig) -> None:
    runs = [new_run(Step(), Step(wait_s=0.05), Step()) for _ in range(30)]
    async with rig.worker() as one, rig.worker() as other:
        await poll_until(lambda: one.host.lease.is_held and other.host.lease.is_held)
        await rig.start(*runs)
        for host in (one.host, other.host):
            host.offer([(run.tenant, run.run_id) for run in runs])
        for run in runs:
            assert (await rig.ended(run)).state == "succeeded"
    assert all(rig.done(run) == ["s0", "s1", "s2"] for run in runs)


async def test_start_that_comes_twice_runs_once(rig: RunRig) -> None:
    run = new_run(Step(), Step())
    async with rig.worker():
        await rig.start(run, run)
        await rig.ended(run)
        await rig.start(run)
        later = new_run(Step())
        await rig.start(later)
        await rig.ended(later)
        assert (await rig.ended(run)).state == "succeeded"
    assert rig.done(run) == ["s0", "s1"]


async def test_same_request_does_not_begin_another_run(rig: RunRig) -> None:
    first, second, third = (new_run(Step(), request_key="k") for _ in range(3))
    webhook = new_run(Step(), request_key="k", source="shopify")
    other = new_run(Step(), request_key="k", tenant="other")
    async with rig.worker():
        await rig.start(first, second)
        assert (await rig.ended(first)).state == "succeeded"
        await rig.start(third, webhook, other)
        for run in (second, third, second):
            last = await rig.ended(run)
            assert (last.state, last.error_type) == ("failed", "sluice.workflow.run/duplicate")
            assert first.run_id in last.error_message
        assert (await rig.ended(other)).state == "succeeded"
    assert await rig.row(webhook) is None
    assert [rig.done(run) for run in (first, second, third)] == [["s0"], [], []]


async def test_same_request_begins_another_run_when_a_day_is_over(rig: RunRig) -> None:
    moment = datetime.now(UTC)
    times = [moment - timedelta(hours=hours) for hours in (50, 25, 24.5, 0)]
    first, second, same, third = (
        new_run(
            Step(),
            request_key="k",
            run_id=new_run_id(at, uuid.uuid4().hex),
            created_at=run_time(at),
        )
        for at in times
    )
    async with rig.worker():
        for run in (first, second, same, third, second):
            await rig.start(run)
            last = await rig.ended(run)
            assert (last.state == "failed") == (run is same), last
    assert [rig.done(run) for run in (first, second, same, third)] == [["s0"], ["s0"], [], ["s0"]]
    found = await rig.row(same)
    assert found is not None
    assert second.run_id in found.error_message


async def test_scheduled_run_never_starts_when_it_was_stopped_before(rig: RunRig) -> None:
    run = new_run(Step())
    await rig.start(run)
    await rig.ask_to_stop(run)
    async with rig.worker():
        last = await rig.ended(run)
    assert (last.state, last.error_type) == ("canceled", "sluice.workflow.run/cancel")
    assert rig.done(run) == []
    assert await rig.tasks(run) == []


async def test_run_never_starts_when_its_stop_came_first(rig: RunRig) -> None:
    run = new_run(Step())
    await rig.ask_to_stop(run)
    async with rig.worker():
        await poll_until(lambda: _is_empty(rig), what="the stop is acknowledged")
        await rig.start(run)
        assert (await rig.ended(run)).state == "canceled"
    assert rig.done(run) == []


async def test_waiting_run_is_canceled_before_its_wait_is_over(rig: RunRig) -> None:
    run = new_run(Step(wait_s=60), Step())
    async with rig.worker():
        await rig.start(run)
        await rig.in_state(run, "in progress")
        await rig.ask_to_stop(run)
        last = await rig.ended(run, within_s=30)
    assert (last.state, last.error_message) == ("canceled", "Workflow manually stopped")
    assert rig.done(run) == ["s0"]


async def test_running_step_ends_before_the_run_is_canceled(rig: RunRig) -> None:
    run = new_run(Step(takes_s=3), Step())
    async with rig.worker():
        await rig.start(run)
        await rig.in_state(run, "started")
        await rig.ask_to_stop(run)
        await rig.in_state(run, "stopping")
        assert (await rig.ended(run)).state == "canceled"
    assert rig.done(run) == ["s0"]
    assert [row[1] for row in await rig.tasks(run)] == ["succeeded"]


async def test_stop_in_the_last_step_leaves_the_run_as_it_ends(rig: RunRig) -> None:
    run = new_run(Step(takes_s=3))
    async with rig.worker():
        await rig.start(run)
        await rig.in_state(run, "started")
        await rig.ask_to_stop(run)
        assert (await rig.ended(run)).state == "succeeded"


async def test_long_step_that_looks_ends_early_when_it_is_stopped(rig: RunRig) -> None:
    run = new_run(Step(takes_s=60, ends_early=True))
    async with rig.worker():
        await rig.start(run)
        await rig.in_state(run, "started")
        await rig.ask_to_stop(run)
        assert (await rig.ended(run, within_s=30)).state == "canceled"
    assert [row[1] for row in await rig.tasks(run)] == ["canceled"]


async def test_stop_reaches_a_run_that_another_worker_has(rig: RunRig) -> None:
    run = new_run(Step(wait_s=60), Step())
    async with rig.worker() as first:
        await rig.start(run)
        await rig.in_state(run, "in progress")
        async with rig.worker() as second:
            second.host.ask_to_stop([(run.tenant, run.run_id)])
            await rig.ask_to_stop(run)
            assert (await rig.ended(run, within_s=30)).state == "canceled"
        assert first.host.held == 0


async def test_worker_that_stops_gives_its_runs_to_the_next_at_once(rig: RunRig) -> None:
    waiting, acting = new_run(Step(wait_s=3), Step()), new_run(Step(takes_s=2.5), Step())
    safe = new_run(Step(takes_s=3, is_safe=True))
    async with rig.worker(lease_s=60):
        await rig.start(waiting, acting, safe)
        await rig.in_state(waiting, "in progress")
        await rig.in_state(acting, "started")
    assert rig.done(safe) == []
    async with rig.worker(lease_s=60):
        for run in (waiting, acting, safe):
            assert (await rig.ended(run)).state == "succeeded"
    assert rig.done(waiting) == ["s0", "s1"]
    assert rig.done(acting) == ["s0", "s1"]
    assert rig.done(safe) == ["s0"]


async def test_host_has_no_more_runs_than_it_may_and_stops_one_that_waits_for_a_place(
    rig: RunRig,
) -> None:
    runs = [new_run(Step(wait_s=0.5), Step()) for _ in range(6)]
    long, waiting = new_run(Step(wait_s=60)), new_run(Step())
    options = _few(2)
    async with rig.worker(options=options) as worker:
        await rig.start(*runs)
        most = 0

        async def all_ended() -> bool:
            nonlocal most
            most = max(most, worker.host.held)
            rows = [await rig.row(run) for run in runs]
            return all(row is not None and row.state == "succeeded" for row in rows)

        await poll_until(all_ended, within_s=30)
        assert most <= 2
        more = new_run(Step(wait_s=60))
        await rig.start(long, more)
        await rig.in_state(long, "in progress")
        await rig.in_state(more, "in progress")
        await rig.start(waiting)
        await rig.in_state(waiting, "scheduled")
        await rig.ask_to_stop(waiting)
        assert (await rig.ended(waiting)).state == "canceled"
    assert rig.done(waiting) == []


async def test_malformed_commands_are_dropped_and_the_others_go_on(rig: RunRig) -> None:
    run = new_run(Step())
    broken = new_run(Step(), created_at="the day before yesterday")
    nameless = new_run(Step(), run_id="wf-1")
    async with rig.worker():
        await rig.queue.publish("commands", [_envelope(b'{"command":"start"}\nnot json\n')])
        await rig.start(broken, nameless, run)
        assert (await rig.ended(run)).state == "succeeded"
        await poll_until(lambda: _is_empty(rig), what="all commands are acknowledged")
    assert await rig.row(broken) is None
    assert await rig.row(nameless) is None


async def test_rows_that_name_a_person_are_deleted_when_the_run_has_ended(rig: RunRig) -> None:
    ended, live = new_run(Step(), type="data-request"), new_run(Step(), type="data-request")
    rows = [new_row(ended), new_row(live)]
    last = msgspec.structs.replace(rows[0], state="failed", epoch=1, inputs="{}")
    await rig.store.add_runs([*rows, last])
    await rig.store.forget_people()

    async def inputs() -> bool:
        kept = await rig.rows("SELECT run_id, state FROM workflow_runs")
        return sorted(kept) == sorted([(ended.run_id, "failed"), (live.run_id, "scheduled")])

    await poll_until(inputs, what="of the ended run only the last row is left")


async def test_files_of_runs_that_are_not_kept_any_more_are_removed(
    rig: RunRig, tmp_path: Path
) -> None:
    files = RunFiles(tmp_path / "files", max_bytes=100)
    now = datetime.now(UTC)
    created = run_time(now - timedelta(days=9))
    moment = now - timedelta(days=9)
    kept, expired, unknown = (
        new_run(Step(), run_id=new_run_id(moment, name), created_at=created) for name in "abc"
    )
    young = new_run(Step())
    rows = [
        msgspec.structs.replace(
            new_row(run), state="failed", expires_at=expiry(now, 1 if run is kept else -1)
        )
        for run in (kept, expired)
    ]
    await rig.store.add_runs(rows)
    for run in (kept, expired, unknown, young):
        async with files.writing(run.tenant, run.run_id, "a.csv") as file:
            await file.write(b"a")
    assert await Retention(rig.store, files).remove_expired(now) == 2
    assert set(await files.runs()) == {key_of(kept), key_of(young)}


async def test_tenant_gets_a_place_when_another_has_all_the_usual_ones(rig: RunRig) -> None:
    slow = [new_run(Step(wait_s=60), tenant="busy") for _ in range(12)]
    quick = [new_run(Step(), Step()) for _ in range(3)]
    async with rig.worker(options=replace(QUICK, max_runs=4, spare_runs=1, few_runs=1)) as worker:
        await rig.start(*slow)
        await poll_until(lambda: worker.host.held == 4, what="the places are taken")
        await rig.start(*quick)
        for run in quick:
            assert (await rig.ended(run)).state == "succeeded"
        await poll_until(lambda: worker.host.held == 4, what="only the slow ones are left")


def _few(runs: int) -> HostOptions:
    return replace(QUICK, max_runs=runs, spare_runs=0)


def _envelope(data: bytes) -> Envelope:
    return seal(Rows("commands", data.count(b"\n"), data), envelope_id=str(uuid.uuid4()))


async def _is_empty(rig: RunRig) -> bool:
    return (await rig.queue.backlog("workflows")).messages == 0
