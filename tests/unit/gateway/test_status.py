"""What a tenant is told of the system, and since when a word of health holds."""

from typing import Any

import msgspec
import pytest

from gateway.core.status import (
    Counted,
    Freshness,
    WorkerDestination,
    WorkerStatus,
    destinations_of,
    joined,
    judge_worker,
)
from gateway.health import HealthProbe
from gateway.routes.status import queue_view
from gateway.worker_link import WorkerLink
from sluice.core.errors import WarehouseError, WarehouseUnavailableError
from sluice.queue.protocol import QueueState, SpoolState

AT = 1_777_123_802.0
SINCE = "2026-04-25T13:30:02Z"


def worker(heartbeat_age_s: float = 0.5, **destinations: dict[str, Any]) -> WorkerStatus:
    """Return what a worker said."""
    said = {"heartbeat_age_s": heartbeat_age_s, "destinations": destinations}
    return msgspec.convert(said, WorkerStatus)


def test_destination_is_shown_as_the_worker_says() -> None:
    said = {"backlog_age_s": 1.5, "backlog_events": 7, "parked_events": 2, "troubles": ["why"]}
    [one] = destinations_of(worker(amplitude=said), {})
    assert (one.name, one.state, one.breaker, one.detail) == ("amplitude", "waits", "closed", "")
    assert (one.backlog_events, one.oldest_age_s, one.parked_events) == (7, 1.5, 2)
    assert list(one.troubles) == ["why"]


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({}, "ok"),
        ({"parked_events": 1}, "waits"),
        ({"troubles": ["bad_credentials since …"]}, "waits"),
        ({"parked_events": 1, "breaker": "open", "state": "degraded"}, "degraded"),
    ],
)
def test_destination_waits_when_it_is_well_but_events_of_the_tenant_wait_for_it(
    said: dict[str, Any], state: str
) -> None:
    status = worker(amplitude=said)
    assert [one.state for one in destinations_of(status, {})] == [state]
    assert judge_worker(status).word == ("degraded" if state == "degraded" else "ok")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"breaker": "open", "state": "degraded"}, "does not take events now"),
        ({"backlog_age_s": 75, "state": "degraded"}, "has waited for 75 s"),
        ({"detail": "projects/p/… denied", "state": "degraded"}, "its log says why"),
    ],
)
def test_destination_that_is_not_well_says_why_in_words_for_everybody(
    said: dict[str, Any], words: str
) -> None:
    status = worker(warehouse=said)
    [one] = destinations_of(status, {})
    assert words in one.detail
    assert "projects/" not in one.detail
    assert judge_worker(status).detail == f"warehouse: {one.detail}"


def test_backlog_is_not_known_when_the_worker_cannot_read_it() -> None:
    [one] = destinations_of(worker(warehouse={"detail": "away", "state": "degraded"}), {})
    assert (one.backlog_events, one.oldest_age_s) == (None, None)


def test_destination_is_in_error_when_its_worker_is_stuck() -> None:
    [one] = destinations_of(worker(42.0, warehouse={}), {})
    assert (one.state, one.detail) == ("error", "The worker has shown no sign of life for 42 s.")


def test_destination_that_the_worker_does_not_feed_is_unknown_but_counted_where_possible() -> None:
    views = destinations_of(worker(warehouse={}), {"amplitude": Counted(3, 2.0), "workflows": None})
    found = {one.name: (one.state, one.backlog_events, one.oldest_age_s) for one in views}
    assert found == {
        "warehouse": ("ok", 0, 0.0),
        "amplitude": ("unknown", 3, 2.0),
        "workflows": ("unknown", None, None),
    }
    assert views[1].detail.startswith("No worker at SLUICE_WORKER_URL")
    [away] = destinations_of(None, {"warehouse": Counted(3, 2.0)})
    assert (away.state, away.breaker, away.backlog_events) == ("unknown", "unknown", 3)
    assert away.detail == "The worker does not answer."


def test_spool_that_does_not_grow_has_no_time_to_full() -> None:
    state = QueueState(
        condition="degraded",
        detail="Events go to the spool.",
        since=AT,
        stored_bytes=0,
        max_bytes=0,
        drain_bytes_per_s=0.0,
        spool=SpoolState(
            stored_bytes=5,
            max_bytes=10,
            oldest_age_s=1.23456,
            time_to_full_s=float("inf"),
            is_in_use=True,
        ),
    )
    view = queue_view(state)
    assert (view.condition, view.since) == ("degraded", SINCE)
    assert view.spool is not None
    assert (view.spool.time_to_full_s, view.spool.oldest_age_s) == (None, 1.235)


class IdleQueue:
    """A queue that is well and empty."""

    async def state(self) -> QueueState:
        """Return that it is well."""
        return QueueState(
            condition="ok",
            detail="",
            since=AT - 60,
            stored_bytes=0,
            max_bytes=1,
            drain_bytes_per_s=0.0,
        )


@pytest.mark.parametrize(
    "lie",
    [
        {"heartbeat_age_s": -0.1},
        {"heartbeat_age_s": 1e300},
        {"destinations": {"warehouse": {"backlog_age_s": -1}}},
        {"destinations": {"warehouse": {"backlog_age_s": 1e300}}},
        {"destinations": {"warehouse": {"backlog_events": -1}}},
        {"destinations": {"warehouse": {"backlog_events": 2**53}}},
        {"destinations": {"warehouse": {"parked_events": -1}}},
        {"freshness_s": {"p50": -0.5, "p99": 1}},
        {"freshness_s": {"p50": 0.5, "p99": -1}},
    ],
)
def test_what_no_worker_can_say_is_no_answer_of_one(lie: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"heartbeat_age_s": 0.0, **lie}, WorkerStatus)


async def test_word_of_health_holds_since_it_changed_and_says_why() -> None:
    clock = [AT]
    monotonic = [100.0]
    fault: list[Exception] = []

    async def ping() -> None:
        if fault:
            raise fault[0]

    link = WorkerLink(["http://127.0.0.1:1"])
    probe = HealthProbe(
        IdleQueue(),
        worker=link,
        ping=ping,
        monotonic=lambda: monotonic[0],
        now=lambda: clock[0],
    )

    async def look(after_s: float) -> tuple[str, str, str]:
        clock[0] += after_s
        monotonic[0] += after_s
        found = (await probe.report()).clickhouse
        return found.state, found.since, found.detail

    assert await look(0) == ("ok", SINCE, "")
    assert await look(30) == ("ok", SINCE, "")
    fault[:] = [WarehouseUnavailableError("http://user:secret@host did not answer")]
    assert await look(30) == ("error", "2026-04-25T13:31:02Z", "ClickHouse does not answer.")
    assert (await look(30))[1] == "2026-04-25T13:31:02Z"
    fault[:] = [WarehouseError("no", code=60)]
    state, since, detail = await look(30)
    assert (state, since) == ("degraded", "2026-04-25T13:32:02Z")
    assert detail == "ClickHouse answered with error code 60."
    fault.clear()
    assert await look(30) == ("ok", "2026-04-25T13:32:32Z", "")
    report = await probe.report()
    assert report.pubsub_topic.since == "2026-04-25T13:29:02Z"
    assert (report.worker.state, report.worker.detail) == ("error", "The worker does not answer.")
    assert await probe.check() == await probe.check()
    await link.close()


async def test_link_tells_what_all_workers_say_and_nothing_while_one_never_answered() -> None:
    link = WorkerLink(["http://127.0.0.1:1", "http://127.0.0.1:2"])
    assert await link.heard() is None
    assert await link.seen_by("acme") is None
    await link.close()


def test_several_workers_count_as_the_one_that_was_silent_longest_with_all_destinations() -> None:
    fresh = Freshness(p50=0.5, p99=1.0)
    told = joined(
        [
            WorkerStatus(0.1, {"amplitude": WorkerDestination(parked_events=3)}),
            WorkerStatus(40.0, {"warehouse": WorkerDestination()}, fresh),
        ]
    )
    assert (told.heartbeat_age_s, told.freshness_s) == (40.0, fresh)
    assert {name: one.parked_events for name, one in told.destinations.items()} == {
        "amplitude": 3,
        "warehouse": 0,
    }
    assert judge_worker(told).word == "error"
