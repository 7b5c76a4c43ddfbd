"""The measured drain rate and what it says to those who have to come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.queue.drain import MAX_RETRY_S, MIN_RETRY_S, WINDOW_S, DrainRate


def rate_of(*readings: tuple[float, int]) -> DrainRate:
    """A rate that took these readings: when, and how many bytes had ever been freed."""
    rate = DrainRate()
    for now, freed_bytes in readings:
        rate.note(freed_bytes, now=now)
    return rate


def test_rate_is_zero_when_nothing_was_read() -> None:
    assert DrainRate().bytes_per_s(now=100) == 0


def test_rate_is_zero_when_one_reading_tells_nothing_yet() -> None:
    assert rate_of((100, 5_000)).bytes_per_s(now=100) == 0


def test_rate_is_what_was_freed_over_the_time_that_it_took() -> None:
    assert rate_of((100, 0), (102, 3_000), (104, 8_000)).bytes_per_s(now=104) == 2_000


def test_rate_sinks_when_nothing_more_is_freed() -> None:
    rate = rate_of((100, 0), (102, 8_000))
    assert rate.bytes_per_s(now=102) == 4_000
    assert rate.bytes_per_s(now=104) == 2_000


def test_rate_forgets_what_lies_before_its_window() -> None:
    rate = rate_of((100, 0), (101, 1_000_000), (101 + WINDOW_S, 1_000_000))
    assert rate.bytes_per_s(now=101 + WINDOW_S) == 0


def test_rate_starts_again_when_the_clock_is_set_back() -> None:
    rate = rate_of((100, 0), (101, 1_000), (50, 1_500), (51, 2_500))
    assert rate.bytes_per_s(now=51) == 1_000


def test_rate_starts_again_when_the_count_belongs_to_another_file() -> None:
    assert rate_of((100, 9_000), (101, 10), (102, 110)).bytes_per_s(now=102) == 100


def test_reading_is_due_when_the_last_is_older_than_a_quarter_second() -> None:
    rate = rate_of((100, 0))
    assert not rate.is_due(now=100.2)
    assert rate.is_due(now=100.3)
    assert rate.is_due(now=99)


@pytest.mark.parametrize(
    ("needed_bytes", "expected_s"),
    [(8_000, 4.0), (10, MIN_RETRY_S), (10_000_000, MAX_RETRY_S)],
    ids=["as long as it takes", "at least the shortest", "at most the longest"],
)
def test_retry_after_is_how_long_the_needed_room_takes(
    needed_bytes: int, expected_s: float
) -> None:
    rate = rate_of((100, 0), (102, 4_000))
    assert rate.retry_after_s(needed_bytes, now=102) == expected_s


def test_retry_after_is_the_longest_when_nothing_drains() -> None:
    assert rate_of((100, 7), (105, 7)).retry_after_s(1, now=105) == MAX_RETRY_S


@given(
    st.lists(
        st.tuples(st.floats(0, 1e9), st.integers(0, 10**15)),
        max_size=50,
    ),
    st.integers(-100, 10**12),
)
def test_retry_after_is_always_within_its_bounds(
    readings: list[tuple[float, int]], needed_bytes: int
) -> None:
    rate = rate_of(*readings)
    now = readings[-1][0] if readings else 0.0
    assert rate.bytes_per_s(now=now) >= 0
    assert MIN_RETRY_S <= rate.retry_after_s(needed_bytes, now=now) <= MAX_RETRY_S


@given(st.lists(st.floats(0, 5), min_size=100, max_size=300))
def test_samples_stay_few_however_often_it_is_read(steps: list[float]) -> None:
    rate = DrainRate()
    now = 0.0
    for step in steps:
        now += step / 100
        rate.note(0, now=now)
    assert len(rate._samples) <= 2 + WINDOW_S / 0.25
