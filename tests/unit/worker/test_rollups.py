"""How long a worker rests between counting."""

import pytest

from worker.rollups import MAX_PAUSE_S, MIN_PAUSE_S, pause_after


@pytest.mark.parametrize(
    ("took_s", "pause_s"),
    [(0.0, MIN_PAUSE_S), (0.05, 0.2), (0.5, 2.0), (2.5, MAX_PAUSE_S), (60.0, MAX_PAUSE_S)],
)
def test_worker_rests_four_times_as_long_as_it_counted_but_never_longer_than_its_bound(
    took_s: float, pause_s: float
) -> None:
    assert pause_after(took_s) == pause_s
