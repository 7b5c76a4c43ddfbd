"""How long who waits."""

from dataclasses import replace

from worker.core.amplitude_answers import Held
from worker.core.holds import EVERYBODY, Hold, Pauses, is_due, paced, project_hold, user_hold
from worker.core.lane import Item, Settled
from worker.core.settling import Moment, by_hold, covered, holds_of

PAUSES = Pauses()
MOMENT = Moment(now=1_000.0, jitter=0.0, pauses=PAUSES)
A_HOLD = Hold(reason="throttled_user", detail="429", since=900.0, until=1_030.0)


def item(user: str) -> Item:
    return Item(tenant="acme", user_id=user, event_id="e", received_at="", row=b"", body=b"")


def held(reason: str, *, wait_s: float | None = None, before: Hold | None = None) -> Hold:
    return project_hold(Held(reason, "why", wait_s), before, now=1_000.0, pauses=PAUSES, jitter=0.0)


def test_a_refused_key_is_tried_once_a_minute() -> None:
    first = held("bad_credentials")
    assert (first.until, first.failures) == (1_060.0, 1)
    again = project_hold(
        Held("bad_credentials", "why"), first, now=1_060.0, pauses=PAUSES, jitter=0.0
    )
    assert (again.until, again.since, again.failures) == (1_120.0, 1_000.0, 2)


def test_a_throttled_project_waits_as_long_as_it_was_told() -> None:
    assert held("project_throttled", wait_s=7.0).until == 1_007.0
    assert held("project_throttled").until == 1_030.0


def test_a_project_that_may_come_back_at_once_is_tried_ever_more_seldom() -> None:
    waits: list[float] = []
    hold: Hold | None = None
    for _ in range(8):
        hold = held("project_throttled", wait_s=0.0, before=hold)
        waits.append(hold.until - 1_000.0)
    assert waits[:3] == [0.5, 1.0, 2.0]
    assert waits[-1] == 15.0


def test_an_outage_is_waited_out_longer_each_time_up_to_a_bound() -> None:
    waits: list[float] = []
    hold: Hold | None = None
    for _ in range(12):
        hold = held("unavailable", before=hold)
        waits.append(hold.until - 1_000.0)
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == 30.0
    assert hold is not None
    assert hold.is_outage


def test_another_reason_begins_anew() -> None:
    hold = held("bad_credentials", before=held("unavailable"))
    assert (hold.failures, hold.reason) == (1, "bad_credentials")


def test_a_user_over_quota_waits_longer_than_a_throttled_one() -> None:
    throttled = user_hold("throttled_user", "", None, now=0.0, pauses=PAUSES, jitter=0.5)
    quota = user_hold("daily_quota", "", None, now=0.0, pauses=PAUSES, jitter=0.0)
    assert 30.0 < throttled.until < 33.1
    assert quota.until == 3_600.0


def test_a_backlog_is_sent_at_the_pace_that_amplitude_takes() -> None:
    assert paced(A_HOLD, 60, eps=30, now=1_000.0).until == 1_002.0


def test_what_was_learned_becomes_holds() -> None:
    settled = Settled(throttled={"ada": "fast"}, over_quota={"bob": "much"})
    settled.hold(Held("unavailable", "down"))
    holds = holds_of(settled, {}, MOMENT)
    assert {user: hold.reason for user, hold in holds.items()} == {
        "ada": "throttled_user",
        "bob": "daily_quota",
        EVERYBODY: "unavailable",
    }


def test_an_event_whose_hold_ended_on_the_way_is_due_at_once() -> None:
    changed = covered([item("ada"), item("bob")], {"ada": A_HOLD}, MOMENT)
    assert list(changed) == ["bob"]
    assert changed["bob"].until == MOMENT.now


def test_parking_under_a_project_says_that_it_has_rows() -> None:
    project = Hold(reason="unavailable", detail="", since=0.0, until=0.0, has_rows=False)
    changed = covered([item("ada")], {EVERYBODY: project}, MOMENT)
    assert changed[EVERYBODY].has_rows


def test_a_parked_event_names_the_hold_of_its_user_first() -> None:
    project = Hold(reason="unavailable", detail="", since=0.0, until=0.0)
    found = by_hold([item("ada"), item("bob")], {EVERYBODY: project, "ada": A_HOLD})
    assert {hold.reason: len(items) for hold, items in found.items()} == {
        "throttled_user": 1,
        "unavailable": 1,
    }


def test_a_hold_that_ends_later_than_any_can_is_due() -> None:
    longest = PAUSES.longest_s
    ends = {900.0: True, 1_001.0: False, 1_000.0 + longest: False, 1_001.0 + longest: True}
    for until, is_over in ends.items():
        hold = replace(A_HOLD, until=until)
        assert is_due(hold, now=1_000.0, pauses=PAUSES) is is_over
