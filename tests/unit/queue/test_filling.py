"""When a store is full, from how it fills."""

import math

import pytest

from sluice.queue.filling import Filling, time_to_full_s


@pytest.mark.parametrize(
    ("levels", "seconds"),
    [
        ([], math.inf),
        ([(0.0, 10)], math.inf),
        ([(0.0, 10), (5.0, 10)], math.inf),
        ([(0.0, 10), (5.0, 4)], math.inf),
        ([(0.0, 0), (10.0, 500)], 10.0),
        ([(0.0, 0), (2.0, 900), (10.0, 500)], 10.0),
        ([(0.0, 0), (10.0, 2_000)], 0.0),
    ],
)
def test_time_to_full_follows_the_present_rate(
    levels: list[tuple[float, int]], seconds: float
) -> None:
    assert time_to_full_s(levels, max_bytes=1_000) == pytest.approx(seconds)


def test_filling_looks_back_over_its_window_only() -> None:
    filling = Filling()
    for second in range(100):
        filling.note(10 * second if second < 50 else 500, now=float(second))
    assert filling.time_to_full_s(1_000) == math.inf  # it has stood still for the whole window


def test_filling_counts_readings_of_one_second_once() -> None:
    filling = Filling()
    for tenth in range(1_000):
        filling.note(tenth, now=tenth / 10)
    assert filling.time_to_full_s(1_999) == pytest.approx(100.0)
