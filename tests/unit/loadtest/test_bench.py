"""How often the bench looks at what it measures."""

import pytest

from loadtest.bench import LOOK_S, look_again_s


@pytest.mark.parametrize(
    ("seen", "took_s", "pause_s"),
    [
        (0, 0.1, 0.25),  # nothing yet
        (100_000, 1.0, LOOK_S[1]),  # four seconds to go
        (400_000, 2.0, 0.25),  # half a second to go
        (500_000, 5.0, LOOK_S[0]),  # the rows are there, one last look
    ],
)
def test_looks_come_closer_together_when_the_end_is_near(
    seen: int, took_s: float, pause_s: float
) -> None:
    assert look_again_s(seen, 500_000, took_s) == pytest.approx(pause_s)
