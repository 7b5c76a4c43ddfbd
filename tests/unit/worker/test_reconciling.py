"""The arithmetic of the ledger."""

from datetime import UTC, datetime
from typing import Any

import pytest

from worker.core.reconciling import (
    MODULUS,
    NAMED,
    Balance,
    Difference,
    Differences,
    Terms,
    hour_text,
    span_of,
    summary,
)

HOUR = 1_772_366_400
STARTED = datetime(2026, 3, 2, 9, 30, tzinfo=UTC).timestamp()


def terms(**given: Any) -> Terms:
    """Return an hour of ten events, four of them named, that adds up unless changed."""
    even = {
        "accepted": 10,
        "named": 4,
        "made": 6,
        "made_sum": MODULUS - 1,
        "stored": 10,
        "stored_named": 4,
        "stored_made_sum": MODULUS - 1,
        "stored_named_sum": 7,
        "firsts": 4,
        "firsts_sum": 7,
    }
    return Terms(hour=HOUR, **(even | given))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"accepted": 13, "named": 7, "copies": 2, "repeats": 1, "left_out": 3},
        {"stored": 8, "dead": 2, "stored_made_sum": MODULUS - 4, "dead_made_sum": 3},
        {"stored": 9, "erased": 1, "stored_made_sum": 5, "erased_made_sum": MODULUS - 6},
        {"accepted": 12, "named": 6, "left_out": 2},
        {"has_keys": False, "firsts": 0, "firsts_sum": 0},
        {"accepted": None, "made_sum": 0},
    ],
    ids=["all", "copies", "dead", "erased", "same row twice", "no keys", "before"],
)
def test_hour_is_equal_when_every_event_is_somewhere(given: dict[str, Any]) -> None:
    found = terms(**given)
    assert found.is_equal, found


@pytest.mark.parametrize(
    ("given", "difference"),
    [
        ({"stored": 9, "stored_made_sum": 3}, 1),
        ({"stored": 11, "stored_made_sum": 3}, -1),
        ({"stored_made_sum": 3}, 0),
        ({"stored_named_sum": 3}, 0),
        ({"has_keys": False, "stored": 9}, 1),
        ({"accepted": None, "stored_named": 3, "stored_named_sum": 3}, 1),
    ],
    ids=["lost", "doubled", "one lost, one doubled", "so of named", "no keys", "before"],
)
def test_hour_differs_when_number_or_ids_do(given: dict[str, Any], difference: int) -> None:
    found = terms(**given)
    assert not found.is_equal
    assert found.difference == difference


def test_copies_are_not_counted_twice_when_their_keys_were_erased() -> None:
    erased = {"erased": 2, "erased_named": 2, "firsts": 3, "firsts_sum": 5, "stored": 9}
    found = terms(accepted=11, named=5, left_out=1, stored_named=3, stored_named_sum=5, **erased)
    assert (found.duplicates, found.difference) == (0, 0)


@pytest.mark.parametrize(
    ("since", "until", "hours"),
    [
        (None, None, 24),
        ("2026-03-01T10:30:00.000", "2026-03-01T10:45:00.000", 1),
        ("2026-03-01T10:00:00.000", "2026-03-01T12:00:00.001", 3),
    ],
)
def test_window_is_whole_hours_and_the_day_before_unless_said(
    since: str | None, until: str | None, hours: int
) -> None:
    span = span_of(since, until, started_at=STARTED)
    assert len(span.hours) == hours
    assert span.since.day == 1


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("2026-03-01T10:00:00.000", None),
        ("2026-03-01T10:00:00.000", "2026-03-01T10:00:00.000"),
        ("2026-01-01T10:00:00.000", "2026-03-01T10:00:00.000"),
    ],
    ids=["half", "empty", "long"],
)
def test_window_is_refused_when_it_cannot_be_read_at_once(since: str, until: str | None) -> None:
    with pytest.raises(ValueError, match="range"):
        span_of(since, until, started_at=STARTED)


def test_differences_are_counted_beyond_the_bound_and_named_up_to_it() -> None:
    found = Differences()
    for number in range(NAMED + 5):
        found.add(Difference(kind="missing", hour="h", event_id=str(number), seen_in=["accepted"]))
    assert (len(found.named), found.total) == (NAMED, NAMED + 5)


def test_event_that_several_know_of_is_one_difference() -> None:
    found = Differences()
    found.add(Difference(kind="missing", hour="h", event_id="1", seen_in=["accepted"]))
    found.add(Difference(kind="missing", hour="h", event_id="1", seen_in=["outcomes"]))
    assert found.total == 1
    assert found.named[0].seen_in == ["accepted", "outcomes"]


def test_terms_of_a_window_are_sums_over_its_hours() -> None:
    balance = Balance({HOUR: terms(), HOUR + 3600: terms(accepted=None, made_sum=0)})
    balance.take([{"hour": HOUR, "events": 2}], {"events": "dead"})
    assert (balance.total("accepted"), balance.total("stored")) == (10, 20)
    assert [one.hour for one in balance.unequal] == [HOUR]


def test_summary_says_what_kind_of_differences_there_are_and_why_it_is_not_final() -> None:
    span = span_of(None, None, started_at=STARTED)
    ledger = dict.fromkeys(("accepted", "stored", "duplicates", "dead", "erased"), 1)
    outputs = {
        "ledger": ledger,
        "is_balanced": False,
        "is_final": False,
        "notes": ["the time is not over"],
        "difference_counts": {"missing": 2},
    }
    said = summary(tenant="acme", span=span, outputs=outputs)
    assert said == (
        f"acme, {hour_text(span.hours[0])} to 2026-03-02T00:00:00Z: it does not add up: 2 missing."
        " Not final: the time is not over."
    )


@pytest.mark.parametrize(
    ("delivered", "asked", "said"),
    [
        (0, {"asked": False, "reason": "no key"}, ""),
        (5, {"asked": False, "reason": "no key"}, " Amplitude was not asked: no key."),
        (
            5,
            {"asked": True, "delivered": 2},
            " Amplitude was asked about 2 of 5 delivered events.",
        ),
    ],
)
def test_summary_says_how_many_events_amplitude_was_asked_about(
    delivered: int, asked: dict[str, object], said: str
) -> None:
    ledger = dict.fromkeys(("accepted", "stored", "duplicates", "dead", "erased"), 1)
    outputs = {
        "ledger": ledger,
        "is_balanced": True,
        "is_final": True,
        "notes": [],
        "destinations": {"amplitude": {"delivered": delivered}},
        "amplitude": asked,
    }
    text = summary(tenant="acme", span=span_of(None, None, started_at=STARTED), outputs=outputs)
    assert text.endswith(f"1 erased.{said}")


NOTHING = "in this range, so there was nothing to compare."
BEFORE = " What was accepted before the ledger began (2026-03-01T03:00:00Z) is not written down."


@pytest.mark.parametrize(
    ("known", "is_final", "said"),
    [
        ({}, True, f"no event was accepted {NOTHING}"),
        (
            {},
            False,
            f"no event is known to have been accepted {NOTHING} Not final: it is not over.",
        ),
        (
            {"hours_unknown": 3, "began_at": "2026-03-01T03:00:00Z"},
            True,
            f"no event is known to have been accepted {NOTHING}{BEFORE}",
        ),
        (
            {"accepted": None, "hours_unknown": 24, "began_at": "2026-03-01T03:00:00Z"},
            True,
            f"no event is known to have been accepted {NOTHING}{BEFORE}",
        ),
    ],
    ids=["empty", "not over", "partly unknown", "unknown"],
)
def test_summary_does_not_say_that_everything_adds_up_when_nothing_was_accepted(
    known: dict[str, object], is_final: bool, said: str
) -> None:
    ledger = dict.fromkeys(
        ("accepted", "stored", "duplicates", "dead", "erased", "hours_unknown"), 0
    )
    outputs = {
        "ledger": {**ledger, **known},
        "is_balanced": True,
        "is_final": is_final,
        "notes": ["it is not over"],
        "destinations": {"amplitude": {"delivered": 0}},
        "amplitude": {"asked": False, "reason": "no key"},
    }
    text = summary(tenant="acme", span=span_of(None, None, started_at=STARTED), outputs=outputs)
    assert text == f"acme, 2026-03-01T00:00:00Z to 2026-03-02T00:00:00Z: {said}"
