"""In which order tests run: at random, but for those that take longest, which are begun first.

A test of a minute that is drawn last is waited for by all other processes. xdist (3.8,
``worksteal``) gives each process one stretch of the list, in order, so a long test stands at the
head of a stretch.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

import pytest

Test = TypeVar("Test")


def longest_first(
    tests: Sequence[Test], seconds_of: Callable[[Test], float], processes: int
) -> list[Test]:
    """Return the tests with the long ones at the heads of the stretches, the longest first.

    Args:
        tests: In any order, which the others keep.
        seconds_of: How long one takes; 0 for one that is not long.
        processes: How many there are for them.
    """
    marked = sorted(filter(seconds_of, tests), key=seconds_of, reverse=True)
    others = (one for one in tests if not seconds_of(one))
    ordered: list[Test] = []
    for number, size in enumerate(stretches(len(tests), processes)):
        own = marked[number::processes]
        ordered += [*own, *islice(others, max(0, size - len(own)))]
    return [*ordered, *others]


def stretches(count: int, processes: int) -> list[int]:
    """Return how many tests xdist gives each process at first."""
    sizes: list[int] = []
    for number in range(processes):
        sizes.append((count - sum(sizes)) // (processes - number))
    return sizes


def marked_seconds(item: pytest.Item) -> float:
    """Return how long a test says that it takes, by its mark ``long``."""
    marker = item.get_closest_marker("long")
    return float(marker.args[0]) if marker else 0.0
