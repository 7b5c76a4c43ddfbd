"""What the query of the runs API selects, and what it refuses."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.runs_query import (
    LIST_NAMES,
    ListAsk,
    check_version,
    digest_of,
    matches,
    read_list,
    read_parameters,
)
from gateway.core.runs_times import millis_of, next_milli, parse_time, text_of
from gateway.core.runs_words import RETRYING, SELECTS, select_states, shown
from sluice.core.errors import Rejected
from sluice.core.run_filters import FOREVER_MS, RunFilters
from sluice.workflows.core.runs import ENDED, LIVE, run_time
from tests.support.runs import a_run

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(
    min_value=datetime.fromisoformat("0001-01-02"),
    max_value=datetime.fromisoformat("9998-12-30"),
    timezones=st.just(UTC),
)


def nanos(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def ask(query: str) -> ListAsk | Rejected:
    parameters = read_parameters(query, LIST_NAMES)
    return parameters if isinstance(parameters, Rejected) else read_list(parameters)


def filters(query: str) -> RunFilters:
    found = ask(query)
    assert isinstance(found, ListAsk), found
    return found.filters


@given(MOMENTS)
def test_partial_time_is_the_first_instant_that_it_means(moment: datetime) -> None:
    whole = moment.isoformat(timespec="microseconds")[:26]
    cuts = {
        4: moment.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0),
        7: moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0),
        10: moment.replace(hour=0, minute=0, second=0, microsecond=0),
        13: moment.replace(minute=0, second=0, microsecond=0),
        16: moment.replace(second=0, microsecond=0),
        19: moment.replace(microsecond=0),
        26: moment,
    }
    for length, first in cuts.items():
        text = whole[:length]
        assert parse_time(text) == nanos(first), text
        if length > 10:
            assert parse_time(f"{text}Z") == nanos(first)


@given(MOMENTS, st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_offset_is_subtracted_and_a_blank_before_it_is_a_plus(
    moment: datetime, minutes: int
) -> None:
    sign = "-" if minutes < 0 else "+"
    offset = f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    text = moment.isoformat()[:19]
    expected = nanos(moment.replace(microsecond=0)) - minutes * 60 * 10**9
    assert parse_time(text + offset) == expected
    assert parse_time(text + offset.replace(":", "")) == expected
    assert parse_time(text + offset.replace("+", " ")) == expected


@given(st.text("0123456789", min_size=1, max_size=9))
def test_fraction_keeps_every_digit(digits: str) -> None:
    expected = int(digits.ljust(9, "0"))
    found = parse_time(f"1970-01-01T00:00:00.{digits}Z")
    assert found == expected
    assert next_milli(expected) == (expected + 999_999) // 1_000_000


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "24", "20240210", "2024-2-1", "2024-02-30", "2024-13", "2024-00", "0000"),
        *("2024-02-10T24", "2024-02-10T08:60", "2024-02-10T08:00:60", "2024-02-10T08:00:00."),
        *("2024-02-10T08:00:00.1234567890", "2024-02-10T08:00+24:00", "2024-02-10T08+01:60"),
        *("2024Z", "2024-02-10Z", " 2024", "2024 ", "2024-02-10 08:00", "yesterday", "٢٠٢٤"),
    ],
)
def test_text_that_is_no_time_is_refused(text: str) -> None:
    assert parse_time(text) is None


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_none(text: str) -> None:
    assert parse_time(text) is None or text[:4].isdigit()


@given(MOMENTS)
def test_time_of_a_run_is_read_as_it_was_written(moment: datetime) -> None:
    text = run_time(moment)
    assert text_of(millis_of(text)) == text


@given(
    st.sampled_from(sorted(SELECTS)),
    st.lists(st.sampled_from([" ", "_", "-", "+", "  "]), min_size=4, max_size=4),
    st.data(),
)
def test_state_is_known_in_every_spelling(word: str, gaps: list[str], data: st.DataObject) -> None:
    letters = [data.draw(st.sampled_from([char, char.upper()])) for char in word]
    spelt = "".join(gaps[at % 4] if char == " " else char for at, char in enumerate(letters))
    assert select_states(f"{gaps[0]}{spelt}{gaps[1]}") == SELECTS[word]


def test_states_are_those_of_runs() -> None:
    selected = {state for states in SELECTS.values() for state in states}
    assert selected == {*LIVE, *ENDED, RETRYING}
    assert all(SELECTS[state] == (state,) for state in {*LIVE, *ENDED})


@given(st.text(max_size=30))
def test_other_words_select_nothing(word: str) -> None:
    folded = " ".join(word.lower().replace("_", " ").replace("-", " ").replace("+", " ").split())
    assert (select_states(word) is None) == (folded not in SELECTS)


@given(st.text(max_size=200))
def test_shown_value_is_short_and_printable(value: str) -> None:
    assert len(shown(value)) <= 63
    assert shown(value).isprintable()


@given(st.text(max_size=60))
def test_any_query_is_answered(query: str) -> None:
    found = ask(query)
    assert isinstance(found, ListAsk | Rejected)
    if isinstance(found, Rejected):
        assert found.detail.isprintable()


def test_bounds_are_milliseconds_and_open_where_none_is_given() -> None:
    assert filters("") == RunFilters()
    found = filters("created_from=0001&created_to=9999&ended_from=2024")
    assert (found.created_from, found.created_to) == (0, FOREVER_MS)
    assert (found.is_ended, found.ended_to) == (True, FOREVER_MS)
    # Half a millisecond: the next whole one is the first that is not before it, on both sides.
    found = filters("created_from=1970-01-01T00:00:00.0015Z&created_to=1970-01-01T00:00:00.0025Z")
    assert (found.created_from, found.created_to) == (2, 3)


def test_digest_tells_filters_apart_and_not_their_spelling() -> None:
    assert digest_of(filters("state=In+progress")) == digest_of(filters("state=in_progress"))
    assert digest_of(filters("type=X&limit=3")) == digest_of(filters("with_total=true&type=x"))
    different = [
        *("", "state=paused", "state=failed", "type=x", "ended_from=1970", "created_from=2024"),
        *("created_to=2024", "ended_to=2024", "state=running", "state=retrying_"),
    ]
    digests = [digest_of(filters(query)) for query in different[:-1]]
    assert len(set(digests)) == len(digests)
    assert isinstance(ask(different[-1]), Rejected), "the word inside is not one of the API"


def test_version_must_be_known_wherever_it_stands() -> None:
    assert check_version({}, []) is None
    assert check_version({"api_version": ["2024-04-01"]}, ["2024-04-01"]) is None
    assert check_version({"api_version": ["2024-04-01"]}, ["2024-04-02"]) is not None
    assert check_version({}, [""]) is not None


@pytest.mark.parametrize(
    ("query", "is_in"),
    [
        ("", True),
        ("state=failed", True),
        ("state=running,failed", True),
        ("state=running", False),
        ("type=AMPLITUDE.EXPORT-COHORT", True),
        ("type=erase", False),
        ("created_from=2024-02-10T12:00:00Z", True),
        ("created_to=2024-02-10T12:00:00Z", False),
        ("ended_from=2024-02-10T12:01:00Z", True),
        ("ended_to=2024-02-10T12:01:00Z", False),
    ],
)
def test_run_in_memory_is_selected_as_one_in_the_warehouse(query: str, is_in: bool) -> None:
    assert matches(a_run("acme", state="failed"), filters(query)) is is_in


def test_run_that_goes_on_never_ended() -> None:
    running = a_run("acme", state="in progress")
    assert not matches(running, filters("ended_from=1970"))
    assert not matches(running, filters("state=running+with+failures"))
    retrying = a_run("acme", state="in progress", has_retry=1)
    assert matches(retrying, filters("state=running_with_failures"))
