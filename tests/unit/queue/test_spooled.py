"""When the spool is full, from how it fills."""

import math

import pytest

from sluice.queue.spooled import time_to_full_s


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
