"""Heads that are known to all connections: when they are learned, and that they are bounded."""

from gateway.known_heads import REPLACED_ONE_OF, KnownHeads

A, B, C = b"head a", b"head b", b"head c"


def test_a_head_is_worth_learning_when_it_comes_for_the_second_time() -> None:
    heads = KnownHeads[str](lambda _: True)
    assert not heads.is_worth_learning(A)
    assert not heads.is_worth_learning(B)
    assert heads.is_worth_learning(A)
    assert heads.get(A) is None
    heads.learn(A, "granted")
    assert heads.get(A) == "granted"
    assert heads.get(B) is None


def test_nothing_is_kept_of_the_time_of_a_grant_that_does_not_hold_any_more() -> None:
    valid = {"old", "other"}
    heads = KnownHeads[str](valid.__contains__)
    heads.learn(A, "old")
    heads.learn(B, "other")
    valid.remove("old")
    assert heads.get(A) is None
    assert heads.get(B) is None


def test_past_the_bound_few_new_heads_take_the_place_of_the_oldest() -> None:
    heads = KnownHeads[str](lambda _: True, most=2)
    heads.learn(A, "a")
    heads.learn(B, "b")
    heads.is_worth_learning(C)
    worth = [heads.is_worth_learning(C) for _ in range(2 * REPLACED_ONE_OF)]
    assert worth.count(True) == 2
    heads.learn(C, "c")
    assert [heads.get(shape) for shape in (A, B, C)] == [None, "b", "c"]
    heads.learn(C, "again")
    assert [heads.get(shape) for shape in (A, B, C)] == [None, "b", "again"]


def test_what_was_seen_is_forgotten_past_the_bound() -> None:
    heads = KnownHeads[str](lambda _: True, most=2)
    for shape in (A, B, C):
        assert not heads.is_worth_learning(shape)
    assert not heads.is_worth_learning(A)
    assert heads.is_worth_learning(C)
