"""The token buckets: what a client may send in a second."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.limits import BURST_S, ONE_FLUSH, RateLimits, Spender

TEN = Spender("key", 10)


def test_client_within_its_rate_never_waits() -> None:
    limits = RateLimits()
    assert all(limits.take([TEN], 1, n / 10) == 0 for n in range(1_000))


def test_client_waits_until_its_bucket_holds_an_event_again() -> None:
    limits = RateLimits()
    for _ in range(10 * BURST_S):
        assert limits.take([TEN], 1, 0.0) == 0
    assert limits.take([TEN], 1, 0.0) == 0.1
    assert limits.wait_s([TEN], 0.05) > 0
    assert limits.take([TEN], 1, 0.101) == 0


def test_batch_larger_than_the_bucket_is_let_in_and_paid_for() -> None:
    limits = RateLimits()
    assert limits.take([TEN], 500, 0.0) == 0
    assert limits.take([TEN], 1, 0.0) == (500 - 10 * BURST_S + 1) / 10
    assert limits.take([TEN], 1, 46.0) == 0


def test_refused_request_costs_nothing_in_any_bucket() -> None:
    limits = RateLimits()
    session = Spender("session", 1)
    assert limits.take([TEN, session], BURST_S, 0.0) == 0
    assert limits.take([TEN, session], 1, 0.0) == 1.0
    left = 10 * BURST_S - BURST_S
    assert all(limits.take([TEN], 1, 0.0) == 0 for _ in range(left))
    assert limits.take([TEN], 1, 0.0) > 0


def test_session_over_its_limit_costs_its_key_nothing() -> None:
    """One large batch of one session must not keep the others of its key out."""
    limits = RateLimits()
    session = Spender("session", 1, may_owe=False)
    other = Spender("other", 1, may_owe=False)
    for events in (500, ONE_FLUSH + 1):
        assert limits.take([TEN, session], events, 0.0) == 1.0, "never lets so many in"
    assert len(limits) == 0
    assert limits.take([TEN, session], ONE_FLUSH, 0.0) == 0
    assert limits.take([TEN, session], 5, 0.0) == 5.0
    assert limits.take([TEN, session], 500, 0.0) == ONE_FLUSH
    assert limits.take([TEN, other], ONE_FLUSH, 0.0) == 0
    assert limits.take([TEN, session], 5, 5.0) == 0
    assert limits.take([TEN, session], 1, 5.0) == 1.0


def test_lowered_rate_holds_from_the_next_request_on() -> None:
    limits = RateLimits()
    assert limits.take([Spender("key", 1_000)], 1, 0.0) == 0
    slow = Spender("key", 1)
    for _ in range(BURST_S):
        assert limits.take([slow], 1, 0.0) == 0
    assert limits.take([slow], 1, 0.0) == 1.0


def test_table_is_bounded_and_keeps_those_who_owe_before_those_who_do_not() -> None:
    limits = RateLimits(max_buckets=4)
    assert limits.take([TEN], 500, 0.0) == 0
    for n in range(100):
        assert limits.take([Spender(f"session {n}", 10)], 1, 0.0) == 0
        assert len(limits) <= 4
    assert limits.take([TEN], 1, 0.0) > 0


@given(
    rate=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 100)), max_size=60),
)
def test_nobody_gets_more_than_the_rate_and_one_burst_and_one_batch(
    rate: int, steps: list[tuple[float, int]]
) -> None:
    limits, one, now, taken = RateLimits(), Spender("key", rate), 0.0, 0
    for pause, events in steps:
        now += pause
        if limits.take([one], events, now) == 0:
            taken += events
    assert taken <= rate * (now + BURST_S) + 100
