from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.freshness import LEAST_S, MOST_S, SPAN_S, FreshnessWindow, age_of

NOW = datetime(2026, 4, 25, 13, 30, 2, tzinfo=UTC)


def test_window_says_nothing_when_nothing_was_stored() -> None:
    assert FreshnessWindow().quantiles(5.0) is None


def test_window_weighs_ages_by_events() -> None:
    window = FreshnessWindow()
    window.add(10.0, 0.2, 990)
    window.add(11.0, 40.0, 11)
    found = window.quantiles(12.0)
    assert found is not None
    assert found.p50 == pytest.approx(0.2, rel=0.05)
    assert found.p99 == pytest.approx(40.0, rel=0.05)


def test_window_forgets_what_is_older_than_a_minute() -> None:
    window = FreshnessWindow()
    window.add(10.0, 40.0, 1)
    window.add(30.0, 0.2, 1)
    found = window.quantiles(10.0 + SPAN_S)
    assert found is not None
    assert found.p99 == pytest.approx(0.2, rel=0.05)
    assert window.quantiles(30.0 + SPAN_S) is None


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 2 * MOST_S)), max_size=300))
def test_window_stays_within_its_bounds_whatever_comes(seen: list[tuple[float, float]]) -> None:
    window = FreshnessWindow()
    for now, age_s in sorted(seen):
        window.add(now, age_s, 3)
        found = window.quantiles(now)
        assert found is not None
        assert LEAST_S <= found.p50 <= found.p99 <= MOST_S * 1.05
    assert len(window._seconds) <= SPAN_S


@given(st.lists(st.floats(LEAST_S, MOST_S), min_size=1, max_size=200))
def test_median_is_within_a_twentieth_of_the_true_one(ages: list[float]) -> None:
    window = FreshnessWindow()
    for age_s in ages:
        window.add(1.0, age_s, 1)
    found = window.quantiles(1.0)
    assert found is not None
    true = sorted(ages)[(len(ages) - 1) // 2]
    assert found.p50 == pytest.approx(true, rel=0.05, abs=0.001)


@pytest.mark.parametrize(("ahead_s", "age_s"), [(-1.5, 1.5), (0, 0), (3, 0)])
def test_age_is_never_negative_when_the_clock_of_the_edge_is_ahead(
    ahead_s: float, age_s: float
) -> None:
    received = (NOW + timedelta(seconds=ahead_s)).replace(tzinfo=None)
    assert age_of(received.isoformat(timespec="microseconds"), NOW) == age_s
