"""Tests that take longest are begun first, each by a process of its own."""

import pytest

from tests.support.order import longest_first, stretches


def test_stretches_are_those_that_xdist_gives() -> None:
    assert stretches(11, 3) == [3, 4, 4]
    assert stretches(2, 5) == [0, 0, 0, 1, 1]


def test_longest_stand_at_the_heads_of_the_stretches() -> None:
    tests = [0, 0, 5, 0, 0, 9, 0, 90, 0, 0]
    assert longest_first(tests, float, 2) == [90, 5, 0, 0, 0, 9, 0, 0, 0, 0]


@pytest.mark.parametrize("processes", [1, 3, 8, 40])
def test_every_test_is_there_once_and_the_others_keep_their_order(processes: int) -> None:
    tests = [(number, 7 - number if number % 3 == 0 else 0) for number in range(8)]
    ordered = longest_first(tests, lambda one: one[1], processes)
    assert sorted(ordered) == tests
    others = [one for one in tests if not one[1]]
    assert [one for one in ordered if not one[1]] == others
