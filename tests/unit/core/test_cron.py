from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.core.cron import MAX_CHARS, check_cron, missed_time, next_time
from sluice.core.errors import ConfigError

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15 3 * * *", "2026-11-22T03:15"),
        ("0 12 * * *", "2026-11-22T12:00"),
        ("*/10 * * * *", "2026-11-21T12:10"),
        ("0 6 * * MON-FRI", "2026-11-23T06:00"),
        ("0 0 1 * *", "2026-12-01T00:00"),
        ("0 0 L * *", "2026-11-30T00:00"),
        ("0 0 * * mon#1", "2026-12-07T00:00"),
        ("0 0 13 * FRI", "2026-11-27T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("@hourly", "2026-11-21T13:00"),
        ("@daily", "2026-11-22T00:00"),
        ("@Weekly", "2026-11-22T00:00"),
        ("@monthly", "2026-12-01T00:00"),
        ("@yearly", "2027-01-01T00:00"),
    ],
)
def test_schedule_names_the_next_time_after_a_moment(text: str, expected: str) -> None:
    assert check_cron(text, "schedule") == text
    assert next_time(text, NOON) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "daily",
        "@reboot",
        "* * * *",
        "* * * * * *",  # with seconds it could fire more often than once a minute
        "60 * * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "*/0 * * * *",
        "0 0 30 2 *",
        "0 0 31 4,6 *",
        "0 0 * 2 MON#5",  # next in 2044
        "0 0 * * \N{LATIN SMALL LETTER LONG S}un",
        "9" * 5_000 + " * * * *",
        "0 " * MAX_CHARS,
    ],
)
def test_schedule_is_refused_with_its_place_when_it_cannot_fire(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^tenants\.shop\.schedule is '") as refused:
        check_cron(text, "tenants.shop.schedule")
    assert len(str(refused.value)) < 600


def test_schedule_is_read_in_utc_when_the_moment_has_another_zone() -> None:
    evening = datetime(2026, 11, 21, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert next_time("0 5 * * *", evening) == datetime(2026, 11, 22, 5, tzinfo=UTC)


def test_missed_time_is_the_newest_one_when_several_passed() -> None:
    since = NOON - timedelta(days=3)
    assert missed_time("0 6 * * *", since=since, now=NOON) == NOON.replace(hour=6)


def test_missed_time_is_this_very_second_when_it_is_due_now() -> None:
    now = NOON.replace(microsecond=400_000)
    assert missed_time("0 12 * * *", since=NOON - timedelta(seconds=1), now=now) == NOON


def test_missed_time_is_none_when_it_was_seen_already() -> None:
    assert missed_time("0 12 * * *", since=NOON, now=NOON + timedelta(hours=5)) is None
    assert missed_time("0 12 * * *", since=NOON, now=NOON - timedelta(hours=5)) is None


_FIELD = st.sampled_from(["*", "0", "1", "5", "28", "*/7", "2-5", "1,3", "7", "MON", "L", "12"])


@given(st.lists(_FIELD, min_size=5, max_size=5), st.integers(0, 10_000_000))
def test_next_time_and_missed_time_agree_when_a_schedule_is_accepted(
    fields: list[str], minutes: int
) -> None:
    text = " ".join(fields)
    try:
        check_cron(text, "schedule")
    except ConfigError:
        return
    moment = NOON + timedelta(minutes=minutes)
    following = next_time(text, moment)
    assert following > moment
    assert missed_time(text, since=moment, now=following) == following
    assert missed_time(text, since=moment, now=following - timedelta(seconds=1)) is None
