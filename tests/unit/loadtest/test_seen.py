from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.latencies import DIGITS, HIGHEST_US, Latencies
from loadtest.seen import NO_ANSWER, Columns, Mark, Names, Seen, fold, merge, merged

LATENCIES = st.lists(st.integers(min_value=1, max_value=HIGHEST_US), max_size=50)


def latencies(values: list[int]) -> Latencies:
    counted = Latencies()
    counted.add(values)
    return counted


@given(LATENCIES, LATENCIES)
def test_merged_histogram_is_that_of_all_values_when_generators_counted_apart(
    a: list[int], b: list[int]
) -> None:
    apart = merged(latencies(values).encode() for values in (a, b))
    together = latencies(a + b)
    assert len(apart) == len(a) + len(b)
    for share in (0.5, 0.99, 1.0):
        assert apart.quantile_ms(share) == together.quantile_ms(share)


@given(st.lists(st.integers(min_value=1, max_value=HIGHEST_US), min_size=1, max_size=50))
def test_quantiles_are_exact_to_three_digits_when_values_are_within_bounds(
    values: list[int],
) -> None:
    assert latencies(values).max_ms() == pytest.approx(max(values) / 1e3, rel=10**-DIGITS)
    ordered = sorted(values)
    middle = ordered[(len(ordered) + 1) // 2 - 1]
    assert latencies(values).quantile_ms(0.5) == pytest.approx(middle / 1e3, rel=10**-DIGITS)


def test_histogram_counts_the_nearest_when_values_are_out_of_bounds() -> None:
    counted = latencies([0, HIGHEST_US * 2])
    assert len(counted) == 2
    assert counted.max_ms() == pytest.approx(HIGHEST_US / 1e3, rel=10**-DIGITS)
    assert latencies([]).quantile_ms(0.5) == 0


NAMES = Names(["ceiling", "half"], ["track", "batch"], [1, 500])
STATUSES = st.sampled_from([202, 503, NO_ANSWER])
ROWS = st.lists(
    st.tuples(
        st.integers(0, 5_000),  # due_ms
        st.integers(1, 10**6),  # latency_us
        STATUSES,
        st.integers(0, 1),  # kind
        st.integers(0, 1),  # phase
    ),
    max_size=60,
)
Rows = list[tuple[int, int, int, int, int]]


def seen_of(rows: Rows) -> Seen:
    values = by_column(rows)
    columns = Columns(*(array(code, each) for code, each in zip("IIHBB", values, strict=True)))
    groups, seconds, statuses = fold(columns, NAMES)
    return Seen(groups, seconds, statuses, latencies([]).encode(), {"half": 1.0}, 0.5, 1, 2, {})


def by_column(rows: Rows) -> list[list[int]]:
    return [[row[at] for row in rows] for at in range(5)]


@given(ROWS)
def test_fold_counts_each_request_once_when_fates_kinds_and_phases_are_mixed(rows: Rows) -> None:
    seen = seen_of(rows)
    assert sum(group.requests for group in seen.groups) == len(rows)
    assert sum(len(merged([group.histogram])) for group in seen.groups) == len(rows)
    assert sum(s.good + s.refused + s.unanswered for s in seen.seconds) == len(rows)
    events = sum((1, 500)[kind] for _, _, status, kind, _ in rows if status == 202)
    assert sum(group.events for group in seen.groups) == events
    assert sum(second.events for second in seen.seconds) == events
    assert sum(seen.statuses.values()) == len(rows)
    assert [second.at for second in seen.seconds] == sorted({row[0] // 1000 for row in rows})


@given(ROWS, ROWS)
def test_merge_is_the_fold_of_all_when_two_generators_saw_parts(a: Rows, b: Rows) -> None:
    whole, parts = seen_of(a + b), merge([seen_of(a), seen_of(b)])
    assert parts.statuses == whole.statuses
    assert {(g.phase, g.kind, g.fate): (g.requests, g.events) for g in parts.groups} == {
        (g.phase, g.kind, g.fate): (g.requests, g.events) for g in whole.groups
    }
    assert [(s.at, s.good, s.refused, s.unanswered) for s in parts.seconds] == [
        (s.at, s.good, s.refused, s.unanswered) for s in whole.seconds
    ]
    for mine, other in zip(parts.seconds, whole.seconds, strict=True):
        assert merged([mine.histogram]).quantile_ms(0.5) == merged([other.histogram]).quantile_ms(
            0.5
        )
    assert (parts.cpu_s, parts.broken_connections, parts.without_retry_after) == (1.0, 2, 4)
    assert parts.durations_s == {"half": 1.0}


def test_merge_keeps_the_first_beginning_of_each_phase_when_generators_differ() -> None:
    a, b = seen_of([]), seen_of([])
    a.marks = [Mark("ceiling", 0.0), Mark("half", 2.1)]
    b.marks = [Mark("ceiling", 0.1), Mark("half", 2.0)]
    assert merge([a, b]).marks == [Mark("ceiling", 0.0), Mark("half", 2.0)]


def test_histogram_takes_arrays_when_they_come_from_columns() -> None:
    counted = Latencies()
    counted.add(np.array([5, 5, 9], dtype=np.uint32))
    assert len(counted) == 3
