"""What an event costs on the hot path, counted; a shared machine's speed does not matter to it."""

import pytest

from loadtest.counts import PYTHON, count_all, grown, kept_counts

TOLERANCE = 0.02


def test_hot_path_takes_no_more_steps_and_memory_than_kept_when_an_event_is_accepted() -> None:
    kept = kept_counts()
    if kept is None:
        pytest.skip(f"loadtest/counts.json has no figures for Python {PYTHON}: make counts")
    now = count_all()
    assert now.keys() == kept.keys()
    # A change that is worth its cost keeps new figures: `make counts ARGS=--write`.
    assert grown(kept, now, TOLERANCE) == []


def test_grown_names_only_what_grew_when_counts_differ() -> None:
    kept = {"track": {"bytecodes": 100.0, "calls": 10.0}}
    assert grown(kept, {"track": {"bytecodes": 101.9, "calls": 5.0}}, TOLERANCE) == []
    (said,) = grown(kept, {"track": {"bytecodes": 103.0, "calls": 10.0}}, TOLERANCE)
    assert said == "track: 103.0 bytecodes an event, 100.0 are kept"
