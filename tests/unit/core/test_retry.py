import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.core.retry import Breaker, State, backoff_s


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_lies_in_the_upper_half_of_its_bound(failures: int, jitter: float) -> None:
    wait_s = backoff_s(failures, base_s=0.1, cap_s=5.0, jitter=jitter)
    bound = min(5.0, 0.1 * 2 ** min(failures - 1, 16))
    assert bound / 2 <= wait_s <= bound


def test_breaker_stays_closed_when_failures_are_few() -> None:
    breaker = Breaker(trip_after=3)
    breaker.failed(0, jitter=0)
    breaker.failed(1, jitter=0)
    assert breaker.state is State.CLOSED


def test_breaker_opens_when_failures_in_a_row_reach_the_limit() -> None:
    breaker = _opened()
    assert breaker.state is State.OPEN
    assert breaker.wait_s(0.0) > 0


def test_breaker_lets_one_probe_pass_when_it_has_cooled() -> None:
    breaker = _opened()
    assert breaker.wait_s(100.0) == 0
    assert breaker.state is State.HALF_OPEN


@pytest.mark.parametrize(
    ("succeeds", "state"), [(True, State.CLOSED), (False, State.OPEN)], ids=["success", "failure"]
)
def test_breaker_is_decided_by_its_probe(succeeds: bool, state: State) -> None:
    breaker = _opened()
    breaker.wait_s(100.0)
    if succeeds:
        breaker.succeeded()
    else:
        breaker.failed(100.0, jitter=0)
    assert breaker.state is state


def test_breaker_counts_anew_when_a_try_succeeded() -> None:
    breaker = Breaker(trip_after=2)
    breaker.failed(0, jitter=0)
    breaker.succeeded()
    breaker.failed(1, jitter=0)
    assert breaker.state is State.CLOSED
    assert breaker.failures == 1


def _opened() -> Breaker:
    breaker = Breaker(trip_after=3)
    for _ in range(3):
        breaker.failed(0.0, jitter=0)
    return breaker
