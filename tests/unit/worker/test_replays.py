"""What a replay is asked to do and what is said about it."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from sluice.core.errors import ConfigError
from sluice.core.event import Event
from sluice.core.times import parse_moment
from worker.core.replays import (
    MAX_REASONS,
    Asked,
    Count,
    Plan,
    Reached,
    Reasons,
    StoredEvent,
    StoredLetter,
    page_events,
    plan_lines,
    row_of,
    slices,
    window_of,
)

NOW = datetime(2026, 3, 10, 12, 30, 0, 250_000, tzinfo=UTC)
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
ASKED = Asked(
    tenant="shop",
    destination="amplitude",
    since="2h",
    until="now",
    event_types=(),
    dead_letters=False,
)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOW),
        ("90s", NOW - timedelta(seconds=90)),
        (" 15m ", NOW - timedelta(minutes=15)),
        ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("999999999d", FIRST),
        ("900000d", FIRST),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T10:00Z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("2026-03-01T10:00:30+02:00", datetime(2026, 3, 1, 8, 0, 30, tzinfo=UTC)),
        ("2026-03-01T10:00:00.1234567", datetime(2026, 3, 1, 10, 0, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_moment_is_read_as_people_write_it(text: str, moment: datetime) -> None:
    assert parse_moment(text, now=NOW, name="--since") == moment


@pytest.mark.parametrize("text", ["", "7", "7w", "-1h", "1.5h", "soon", "1770000000", "2026-13-01"])
def test_moment_that_cannot_be_read_names_the_option(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--since is .*: use 2026-03-01T10:00Z, a date, 90m"):
        parse_moment(text, now=NOW, name="--since")


def test_window_ends_now_at_the_latest() -> None:
    window = window_of("1h", "2027-01-01", now=NOW)
    assert window.texts == ("2026-03-10T11:30:00.250000", "2026-03-10T12:30:00.250000")


@pytest.mark.parametrize(("since", "until"), [("1h", "2h"), ("1h", "1h"), ("2027-01-01", "now")])
def test_window_without_inside_is_refused(since: str, until: str) -> None:
    with pytest.raises(ConfigError, match="nothing lies between them"):
        window_of(since, until, now=NOW)


def test_same_arguments_have_the_same_files_and_others_have_others() -> None:
    assert ASKED.digest == msgspec.structs.replace(ASKED).digest
    others = [
        msgspec.structs.replace(ASKED, since="3h"),
        msgspec.structs.replace(ASKED, tenant="other"),
        msgspec.structs.replace(ASKED, event_types=("a",)),
        msgspec.structs.replace(ASKED, dead_letters=True),
    ]
    assert len({ASKED.digest, *(other.digest for other in others)}) == 5


def test_window_is_cut_at_hours_that_hold_events_and_are_not_done() -> None:
    hour = int(datetime(2026, 3, 10, 9, tzinfo=UTC).timestamp())
    since, until = "2026-03-10T09:15:00.000000", "2026-03-10T13:15:00.000000"
    hours = {hour + 3600 * number for number in (4, 0, 1, 2)}
    assert slices(since, until, hours, after="2026-03-10T10:30:00.000000") == [
        ("2026-03-10T10:00:00.000000", "2026-03-10T11:00:00.000000"),
        ("2026-03-10T11:00:00.000000", "2026-03-10T12:00:00.000000"),
        ("2026-03-10T13:00:00.000000", until),
    ]
    assert slices(since, until, [hour], after=since) == [(since, "2026-03-10T10:00:00.000000")]


@pytest.mark.parametrize(("rate", "events"), [(1, 100), (1_000, 2_000), (1_000_000, 40_000)])
def test_page_is_about_two_seconds_long_within_bounds(rate: float, events: int) -> None:
    assert page_events(rate) == events


def test_stored_event_is_made_again_as_it_travelled() -> None:
    payload = msgspec.Raw('{"path": "/a\\/b", "price": 1.50, "ü": 12345678901234567890}'.encode())
    event = Event(
        "shop", "0199", "ü", "anon", "t", "2026-03-10T12:00:00.1", "2026-03-10T12:00:00.000000",
        "batch", payload,
    )  # fmt: skip
    stored = StoredEvent(
        id="0199",
        user_id="ü",
        anonymous_id="anon",
        event_type="t",
        occurred="2026-03-10T12:00:00.100000000",
        received="2026-03-10T12:00:00.000000",
        source="batch",
        payload=bytes(event.payload).decode(),
    )
    assert row_of("shop", stored) == msgspec.json.encode(event)
    whole = msgspec.structs.replace(stored, occurred="2026-03-10T12:00:00.000000000")
    assert b'"occurred_at":"2026-03-10T12:00:00",' in row_of("shop", whole)


def test_letter_is_sent_as_it_was_kept() -> None:
    letter = StoredLetter(id="a", received="2026-03-10T12:00:00.000000", row='{"a": 1}')
    assert row_of("shop", letter) == b'{"a": 1}'


def test_reasons_are_counted_up_to_a_bound() -> None:
    reasons = Reasons()
    for number in range(MAX_REASONS + 5):
        reasons.add("rejected", f"words {number}")
    reasons.add("rejected", "words 0", 9)
    assert len(reasons.as_json()) == MAX_REASONS + 1
    assert reasons.lines()[:2] == ["  10 rejected: words 0", "  5 other"]


def test_plan_says_what_is_known_and_what_would_count_again() -> None:
    counts = [
        Count(0, "delivered", 1_000, 400),
        Count(3_600, "delivered", 10, 0),
        Count(0, "", 5, 0),
    ]
    plan = Plan(counts)
    assert (plan.matching, plan.of("delivered"), plan.of("")) == (1_015, 1_010, 5)
    assert plan.hours == {0, 3_600}
    reached = Reached(
        asked=msgspec.structs.replace(ASKED, event_types=("a", "b"), dead_letters=True),
        since="S",
        until="U",
        started_at="T",
        after_at="S",
        read=3,
    )
    lines = plan_lines(plan, reached, is_resumed=True)
    assert lines[0].startswith("shop: 1,015 dead letters of amplitude of type a, b received from S")
    assert "1,010 delivered, 0 parked, 0 dead, 0 filtered, 5 never forwarded" in lines[1]
    assert "400 were delivered over 7 days ago" in lines[2]
    assert "begun at TZ, 3 read so far; it goes on there" in lines[3]
    assert len(plan_lines(Plan(counts[1:]), reached, is_resumed=False)) == 2
