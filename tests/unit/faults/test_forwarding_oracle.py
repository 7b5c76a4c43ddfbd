"""The judge of forwarding's fault tests sees each promise that is broken."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from sluice.core.outcomes import Fate
from tests.faults.forwarding.oracle import Evidence, Taken, Told, Verdict, judge
from tests.faults.forwarding.plan import SLICES, Planned, TenantPlan, make_plan

PLAN = TenantPlan(
    slug="acme",
    amplitude_key="key",
    events=[
        Planned(n, user, kind, {})
        for n, (user, kind) in enumerate(
            [("a", "view"), ("b", "view"), ("a", "view"), ("bad", "view"), ("a", "heartbeat")]
        )
    ],
    filtered_type="heartbeat",
    invalid=["bad"],
)
FATES = (Fate.DELIVERED, Fate.DELIVERED, Fate.DELIVERED, Fate.DEAD, Fate.FILTERED)
WELL = Evidence(
    event_ids={n: f"id-{n}" for n in range(5)},
    outcomes={f"id-{n}": Told(fate, "", "") for n, fate in enumerate(FATES)},
    letters={"id-3": "Amplitude answered 400"},
    taken=[Taken("id-0", "a", 1), Taken("id-1", "b", 2), Taken("id-2", "a", 1)],
)


def told(**changed: Told) -> Mapping[str, Told]:
    return {**WELL.outcomes, **{name.replace("_", "-"): one for name, one in changed.items()}}


def broken(verdict: Verdict) -> Sequence[str]:
    return [name for name, found in verdict.broken if found]


def test_all_is_well_when_each_event_became_what_it_had_to() -> None:
    verdict = judge(PLAN, PLAN.events, WELL)
    assert verdict.holds
    assert (verdict.accepted, verdict.requests_in_vain) == (5, 1)
    assert verdict.fates == {"delivered": 3, "dead": 1, "filtered": 1}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (replace(WELL, event_ids={n: f"id-{n}" for n in range(4)}), ["lost"]),
        (replace(WELL, outcomes=dict(list(WELL.outcomes.items())[:4])), ["lost"]),
        (replace(WELL, taken=[*WELL.taken, WELL.taken[1]]), ["doubled"]),
        (replace(WELL, taken=WELL.taken[:2]), ["untrue"]),
        (replace(WELL, taken=[*WELL.taken, Taken("id-3", "bad", 1)]), ["untrue"]),
        (replace(WELL, taken=[*WELL.taken, Taken("id-9", "c", 1)]), ["untrue"]),
        (replace(WELL, outcomes=told(id_2=Told("parked", "daily_quota", ""))), ["wrong"]),
        (replace(WELL, outcomes=told(id_2=Told("filtered", "", ""))), ["untrue", "wrong"]),
        (replace(WELL, letters={}), ["wordless"]),
        (replace(WELL, letters={"id-3": "no words"}), ["wordless"]),
        (replace(WELL, taken=WELL.taken[::-1]), ["disordered"]),
    ],
)
def test_a_broken_promise_is_named(found: Evidence, expected: Sequence[str]) -> None:
    verdict = judge(PLAN, PLAN.events, found)
    assert not verdict.holds
    assert broken(verdict) == expected


def test_only_users_that_are_still_throttled_may_wait() -> None:
    waiting = replace(
        WELL,
        outcomes=told(id_2=Told("parked", "throttled_user", "")),
        taken=WELL.taken[:2],
    )
    assert judge(PLAN, PLAN.events, waiting, still_throttled=["a"]).holds
    assert broken(judge(PLAN, PLAN.events, waiting, still_throttled=["b"])) == ["wrong"]


def test_a_plan_is_a_function_of_its_seed_and_no_user_meets_two_things() -> None:
    plans = make_plan(SLICES, events=1_000, tenants=3, seed=7)
    assert plans == make_plan(SLICES, events=1_000, tenants=3, seed=7)
    assert sum(len(plan.events) for plan in plans) == 1_000
    for plan in plans:
        groups = (plan.invalid, plan.forbidden, plan.too_large, plan.throttled, plan.over_quota)
        users = [user for group in groups for user in group]
        assert len(users) == len(set(users))
        assert all(groups)
        sharded = [event for shard in plan.shards(4) for event in shard]
        assert sorted(event.n for event in sharded) == [event.n for event in plan.events]
