"""When a part that died starts again."""

from sluice.core.restarts import MAX_WAIT_S, SETTLED_AFTER_S, Restarts


def test_waits_double_up_to_their_bound_when_a_part_keeps_dying() -> None:
    restarts = Restarts()
    waits = [restarts.wait_s(lived_s=0.1) for _ in range(8)]
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, MAX_WAIT_S, MAX_WAIT_S]


def test_waits_start_over_when_a_part_lived_long_enough() -> None:
    restarts = Restarts()
    for _ in range(5):
        restarts.wait_s(lived_s=0)
    assert restarts.wait_s(lived_s=SETTLED_AFTER_S) == 0.2
    assert restarts.wait_s(lived_s=0) == 0.4
