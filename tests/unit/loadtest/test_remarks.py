"""What is said beside the figures of a run."""

from html import escape

import pytest

from loadtest.latencies import Latencies
from loadtest.page import page
from loadtest.remarks import MOST_LATE_SHARE, remarks
from loadtest.results import LATE_MS, LATE_SHARE, Machine, Result, Round, Target
from loadtest.seen import Group

URL = "http://127.0.0.1:8080"


def result(*rounds: Round, url: str = URL) -> Result:
    target = Target(
        url=url, is_own=not url, backend="", parts=[], server_cores=[], load_cores=[1], generators=1
    )
    return Result(
        "track",
        "2026-01-01T00:00:00Z",
        "abc",
        {},
        Machine("a processor", 2, 1_024, "Linux"),
        target,
        {},
        list(rounds),
    )


def answered(kind: str = "track", **statuses: int) -> Round:
    """Return a round with these answers (``s401=40``); one group of what was refused."""
    counts = {name.removeprefix("s"): count for name, count in statuses.items()}
    groups = [Group("open", kind, "refused", 1, 0, Latencies().encode())]
    return Round({}, groups, [], counts, {}, [])


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (answered(s401=40), "All 40 answers were 401: look at --api-key."),
        (answered("stats", s401=40), "All 40 answers were 401: look at --token."),
        (answered("shopify", s401=2), "All 2 answers were 401: look at --shopify-secret."),
        (answered("shopify", s404=2), "All 2 answers were 404: look at --tenant."),
        (answered(s404=1_200), "All 1,200 answers were 404: look at --against."),
        (answered(s503=7), "All 7 answers were 503."),
        (answered(s0=7), "None of 7 requests was answered."),
        (
            answered(s0=3, s202=27, s503=10),
            "13 of 40 requests had no answer 2xx: 10 were 503, 3 were never answered.",
        ),
        (
            answered(s202=30, s401=10),
            "10 of 40 requests had no answer 2xx: 10 were 401; look at --api-key.",
        ),
    ],
)
def test_answers_are_counted_by_status_when_they_are_not_2xx(seen: Round, said: str) -> None:
    assert remarks(result(seen)) == [said]


def test_no_option_is_named_when_the_run_started_its_own_sluice() -> None:
    assert remarks(result(answered(s401=40), url="")) == ["All 40 answers were 401."]


def test_answers_of_all_rounds_are_counted_when_there_are_several() -> None:
    (said,) = remarks(result(answered(s202=5), answered(s503=5)))
    assert said == "5 of 10 requests had no answer 2xx: 5 were 503."


def late(share: float) -> Round:
    return Round({LATE_MS: 6.0, LATE_SHARE: share}, [], [], {"202": 1}, {}, [])


def test_lateness_is_said_with_the_page_when_one_round_had_more_than_its_share() -> None:
    bad = result(late(0.01), late(MOST_LATE_SHARE + 0.01))
    (said,) = remarks(bad)
    assert said.startswith("The generator itself sent late, by 6 ms at its p99: that is 0.11 of ")
    assert escape(said) in page(bad)


def test_nothing_is_said_when_all_is_well() -> None:
    good = result(late(MOST_LATE_SHARE), answered(s202=9, s201=1))
    assert remarks(good) == []
    assert "<strong>" not in page(good)
