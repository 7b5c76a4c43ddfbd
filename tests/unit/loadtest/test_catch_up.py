"""What the catch-up command says of a run."""

import pytest

from loadtest.catch_up import growth, rows
from loadtest.results import Round, Sample

FIGURES = {
    "catch_up/began_at_s": 100.0,
    "catch_up/ended_at_s": 200.0,
    "catch_up/backlog_events": 1_000_000.0,
    "catch_up/accepted_events": 1_500_000.0,
    "catch_up/visible_events": 1_500_000.0,
    "catch_up/queue_file_mb": 150.0,
    "catch_up/queue_file_after_mb": 1.0,
    "catch_up/events_per_s": 50_000.0,
    "catch_up/took_s": 100.0,
    "catch_up/arrivals_s": 166.0,
    "catch_up/over_arrivals": 10.0,
    "worker/peak_mb": 999.0,
}


def test_growth_is_in_mb_for_a_million_events_when_memory_grows_by_the_second() -> None:
    samples = [Sample("worker", at, 0.0, 100 + at / 10) for at in range(100)]
    found = growth(samples, 50_000.0)
    assert found is not None
    assert found[0] == pytest.approx(2.0)  # 0.1 MB a second, 20 s a million
    assert found[1] == pytest.approx(0.0, abs=1e-6)


def test_growth_is_not_said_when_there_are_too_few_samples() -> None:
    assert growth([Sample("worker", 1.0, 0.0, 1.0)], 50_000.0) is None


def test_table_has_only_the_memory_of_the_catching_up_when_more_was_sampled() -> None:
    samples = [Sample("worker", at, 0.0, 900.0 if at < 100 else 120.0) for at in range(300)]
    lines = rows(Round(FIGURES, [], [], {}, {}, samples))
    assert lines[0][:2] == [
        "backlog of 1,000,000 events, 5,000 more a second",
        "50,000 events/s, 100 s: 10.0 times what arrives",
    ]
    assert lines[1][:2] == [
        "each accepted event is there once, also those that arrived in 166 s",
        "1,500,000 of 1,500,000",
    ]
    assert lines[2][1] == "120 MB at most; +0.00 ± 0.00 MB for a million events"
    assert lines[-1][1] == "150 MB, 1 MB"
