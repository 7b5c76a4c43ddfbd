from hypothesis import given
from hypothesis import strategies as st

from worker.core.bisect import isolate


def drive(items: list[int], bad: set[int]) -> tuple[list[tuple[int, str]], list[int], int]:
    """Return what was refused alone, what was taken, and the number of tries."""
    search = isolate(items)
    taken: list[int] = []
    tries = 0
    try:
        part = next(search)
        while True:
            tries += 1
            if bad & set(part):
                part = search.send("bad")
            else:
                taken += part
                part = search.send(None)
    except StopIteration as found:
        return found.value, taken, tries


@given(st.lists(st.integers(0, 60), unique=True), st.sets(st.integers(0, 60)))
def test_isolate_takes_every_good_one_and_returns_exactly_the_bad(
    items: list[int], bad: set[int]
) -> None:
    refused, taken, _ = drive(items, bad)
    assert refused == [(item, "bad") for item in items if item in bad]
    assert taken == [item for item in items if item not in bad]


def test_isolate_tries_once_when_nothing_is_bad() -> None:
    assert drive(list(range(1_000)), set())[2] == 1


def test_isolate_needs_few_tries_when_one_of_many_is_bad() -> None:
    assert drive(list(range(1_024)), {700})[2] <= 2 * 10 + 1


def test_isolate_tries_nothing_when_there_is_nothing() -> None:
    assert drive([], set()) == ([], [], 0)
