"""Of two hosts that want one run at most one has it, in whatever order they write and look."""

from itertools import permutations

import pytest

from worker.workflows.core.claims import (
    Claim,
    Sign,
    by_run,
    in_turn,
    living,
    next_epochs,
    placed,
    untouched,
    won,
)

KEY = ("acme", "wf-20260101-00001-abcde")


def claim(epoch: int, host: str, *, is_yielded: bool = False) -> Claim:
    return Claim(KEY, epoch, host, is_yielded)


def test_host_lives_until_its_lease_is_over_or_it_says_farewell() -> None:
    signs = [
        Sign("a", 1.0, is_stopped=False),
        Sign("b", 10.1, is_stopped=False),
        Sign("c", 0.1, is_stopped=True),
    ]
    assert living(signs, 10.0) == {"a"}


@pytest.mark.parametrize(
    ("claims", "alive", "epoch"),
    [
        ([], "", 1),
        ([claim(1, "a")], "a", None),
        ([claim(1, "a")], "b", 2),
        ([claim(1, "a"), claim(2, "b")], "a", 3),
        ([claim(1, "a"), claim(2, "b", is_yielded=True)], "ab", 3),
        ([claim(2, "b"), claim(1, "a")], "b", None),
    ],
    ids=["new", "held", "dead", "held by a dead one", "yielded", "in any order"],
)
def test_run_is_free_when_nobody_alive_has_its_newest_epoch(
    claims: list[Claim], alive: str, epoch: int | None
) -> None:
    found = next_epochs([KEY], by_run(claims), frozenset(alive))
    assert found == ({KEY: epoch} if epoch else {})


def test_run_is_won_by_who_is_alone_and_lost_by_who_is_not() -> None:
    assert won({KEY: 2}, by_run([claim(1, "a"), claim(2, "b")]), "b") == {KEY}
    assert won({KEY: 2}, by_run([claim(2, "b"), claim(2, "c")]), "b") == frozenset()
    assert won({KEY: 2}, by_run([claim(2, "b"), claim(3, "c")]), "b") == frozenset()
    assert won({KEY: 2}, {}, "b") == frozenset(), "the own claim is not there yet"


@pytest.mark.parametrize("order", set(permutations("AaBb")))
def test_two_that_race_never_both_win(order: tuple[str, ...]) -> None:
    """Capitals write a claim, small letters look; each writes before it looks."""
    if order.index("A") > order.index("a") or order.index("B") > order.index("b"):
        return
    written: list[Claim] = []
    winners = []
    for step in order:
        if step.isupper():
            written.append(claim(1, step.lower()))
        elif won({KEY: 1}, by_run(written), step):
            winners.append(step)
    assert len(winners) <= 1


def test_host_that_lost_its_lease_keeps_what_nobody_claimed_since() -> None:
    mine = {KEY: 3}
    own = frozenset({"old", "older"})
    assert untouched(mine, by_run([claim(3, "old")]), own) == {KEY: 4}
    assert untouched(mine, by_run([claim(3, "old"), claim(4, "older")]), own) == {KEY: 5}
    yielded = [claim(3, "old"), claim(4, "other", is_yielded=True)]
    assert untouched(mine, by_run(yielded), own) == {KEY: 5}
    assert untouched(mine, by_run([claim(3, "old"), claim(4, "other")]), own) == {}


def test_tenants_with_the_fewest_runs_come_first() -> None:
    wanted = [("busy", "1"), ("busy", "2"), ("calm", "3"), ("new", "4"), ("new", "5")]
    held = [("busy", "h"), ("calm", "h")]
    assert in_turn(wanted, held) == [
        ("new", "4"),
        ("busy", "1"),
        ("calm", "3"),
        ("new", "5"),
        ("busy", "2"),
    ]


def test_spare_places_are_for_tenants_that_have_few_runs() -> None:
    wanted = [("busy", "1"), ("busy", "2"), ("calm", "3"), ("calm", "4"), ("new", "5")]
    held = [("busy", "h"), ("busy", "i"), ("calm", "h")]
    places = {"spare": 2, "few": 2}
    assert placed(wanted, held, free=9, **places) == wanted
    assert placed(wanted, held, free=1, **places) == [("busy", "1"), ("calm", "3"), ("new", "5")]
    assert placed(wanted, held, free=-1, **places) == [("calm", "3")]
    assert placed(wanted, held, free=-2, **places) == []
