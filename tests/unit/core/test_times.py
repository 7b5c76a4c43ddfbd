"""Times as clients write them (reference/segops.md, 5.3)."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.core.errors import ErrorType
from sluice.core.times import (
    END,
    FIRST,
    parse_all_occurred_at,
    parse_epoch,
    parse_occurred_at,
)

INVALID = ErrorType.OCCURRED_AT_INVALID
OUT_OF_RANGE = ErrorType.OCCURRED_AT_OUT_OF_RANGE

READ = {
    "2026-04-25T14:32:00Z": "2026-04-25T14:32:00",
    "2026-04-25T14:32:00z": "2026-04-25T14:32:00",
    "2026-04-25t14:32:00Z": "2026-04-25T14:32:00",
    "2026-04-25T16:32:00+02:00": "2026-04-25T14:32:00",
    "2026-04-25T16:32:00+0200": "2026-04-25T14:32:00",
    "2026-04-25T16:32:00+02": "2026-04-25T14:32:00",
    "2026-04-24T14:33:00-23:59": "2026-04-25T14:32:00",
    "2026-04-25T14:32:00.5-00:00": "2026-04-25T14:32:00.5",
    "2026-04-25T14:32:00.123456789Z": "2026-04-25T14:32:00.123456789",
    "2026-04-25T14:32:00.1234567899Z": "2026-04-25T14:32:00.123456789",
    "2026-04-25T14:32:00,5Z": "2026-04-25T14:32:00.5",
    "2026-04-25T14:32:00": "2026-04-25T14:32:00",
    "2026-04-25 14:32": "2026-04-25T14:32:00",
    "2026-04-25": "2026-04-25T00:00:00",
    "20260425": "2026-04-25T00:00:00",
    "20260425T1432": "2026-04-25T14:32:00",
    "20260425T143200.25Z": "2026-04-25T14:32:00.25",
    "2026-04-25T143200+0200": "2026-04-25T12:32:00",
    "2026-04-25T14:32:00.123456+00:00": "2026-04-25T14:32:00.123456",
    "2024-02-29T00:00:00Z": "2024-02-29T00:00:00",
    "2026-01-31T23:30:00.25-01:00": "2026-02-01T00:30:00.25",
    "1970-01-01T00:00:00Z": "1970-01-01T00:00:00",
    "1969-12-31T23:00:00-02:00": "1970-01-01T01:00:00",
    "2261-12-31T23:59:59Z": "2261-12-31T23:59:59",
    "2261-12-31T23:59:59.9999999999Z": "2261-12-31T23:59:59.999999999",
    "1777127520": "2026-04-25T14:32:00",
    "1777127520.25": "2026-04-25T14:32:00.25",
    1777127520: "2026-04-25T14:32:00",
    1777127520000: "2026-04-25T14:32:00.000",
    1777127520123456: "2026-04-25T14:32:00.123456",
    1777127520123456789: "2026-04-25T14:32:00.123456789",
}


@pytest.mark.parametrize(("sent", "expected"), READ.items(), ids=map(repr, READ))
def test_time_is_read_when_its_form_is_documented(sent: str | int, expected: str) -> None:
    assert parse_occurred_at(sent) == expected


@pytest.mark.parametrize("sent", [None, ""], ids=repr)
def test_time_is_the_receive_time_when_nothing_is_sent(sent: str | None) -> None:
    assert parse_occurred_at(sent) is None


@pytest.mark.parametrize(
    "sent",
    [
        *("tomorrow", "14:32:00", "2026-W17-6", "2026-115", "2026-04", "2026", " 2026-04-25"),
        *("2026-02-29", "2026-02-29T10:00:00Z", "2026-04-31T10:00:00+02:00", "2026-13-01"),
        *("2026-04-25T24:00:00Z", "2026-04-25T23:60:00Z", "2026-04-25T23:59:60Z"),
        *("2026-04-25T14:32:00Z ", "2026-04-25T14:32:00Z\n", "2026-04-25T", "2026-04-25Z"),
        *(
            "2026-04-25T14",
            "2026-04-25  14:32",
            "2026-04-25_14:32",
            "2026-0425",
            "2026-04-25T14:3200",
        ),
        *("2026-04-25T14:32.5", "2026-04-25T14:32:00.", "2026-04-25T14:32:00.Z"),
        *("2026-04-25T14:32:00+24:00", "2026-04-25T14:32:00+02:60", "2026-04-25T14:32:00 Z"),
        *(
            "\uff12\uff10\uff12\uff16-04-25",
            "2026-04-25T14:32:00.\uff11Z",
            "177712752",
            "17771275200",
            "-1777127520",
        ),
        *("1e9", "0x1777127520", "NaN", "1777127520.", ".5", "9" * 1000),
        *(177712752, 0, 10**19, -5, 10**999, True, False, 1777127520.5, [], {}),
    ],
    ids=lambda sent: repr(sent)[:40],
)
def test_time_is_invalid_when_its_form_is_not_documented(sent: object) -> None:
    assert parse_occurred_at(sent) is INVALID


@pytest.mark.parametrize(
    "sent",
    [
        *("1969-12-31T23:59:59Z", "2262-01-01T00:00:00Z", "2262-01-01", "1969-12-31T23:59:59"),
        *("1970-01-01T00:59:59+01:00", "2261-12-31T23:00:00-01:00", "0001-01-01T00:00:00+01:00"),
        *("0001-01-01T00:00+01", "9999-12-31T23:59:59-01:00", 9999999999, -1777127520),
    ],
    ids=repr,
)
def test_time_is_out_of_range_when_the_columns_cannot_hold_it(sent: str | int) -> None:
    assert parse_occurred_at(sent) is OUT_OF_RANGE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1777127520.123456789123", "2026-04-25T14:32:00.123456789"),
        ("1777127520123.5", "2026-04-25T14:32:00.1235"),
        ("1777127520.0", "2026-04-25T14:32:00.0"),
        ("1777127520e0", INVALID),
        ("1.777127520e9", INVALID),
        ("17.5", INVALID),
        ("-1777127520.5", OUT_OF_RANGE),
    ],
)
def test_epoch_keeps_its_digits_when_it_has_a_fraction(text: str, expected: str) -> None:
    assert parse_epoch(text) == expected


zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(FIRST + timedelta(days=1), END - timedelta(days=1)), zones)
def test_time_is_the_same_instant_in_every_zone(moment: datetime, zone: timezone) -> None:
    local = moment.replace(tzinfo=UTC).astimezone(zone)
    read = parse_occurred_at(local.isoformat())
    assert isinstance(read, str)
    assert datetime.fromisoformat(read) == moment


@given(st.datetimes(FIRST, END - timedelta(seconds=1)))
def test_epoch_and_text_agree_on_every_second(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    seconds = int(moment.replace(tzinfo=UTC).timestamp())
    assert parse_occurred_at(f"{seconds:010}") == moment.isoformat()
    assert parse_occurred_at(f"{moment:%Y%m%d%H%M%S}") is INVALID  # fourteen digits are no unit


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d{1,12})?)?[Zz]?"))
def test_parser_never_fails_and_reads_its_own_output(text: str) -> None:
    read = parse_occurred_at(text)
    if read is not None and not isinstance(read, ErrorType):
        assert parse_occurred_at(read) == read


common = st.datetimes(FIRST - timedelta(days=2), END + timedelta(days=2)).map(
    lambda moment: f"{moment.isoformat()}Z"
)
odd = st.sampled_from([*READ, "2026-02-30T00:00:00Z", "2026-04-25T24:00:00Z", "", "a\nb"])
written = st.lists(common, max_size=5) | st.lists(
    common
    | odd
    | st.none()
    | st.integers()
    | st.lists(common, min_size=2, max_size=2).map("\n".join)
    | st.text(max_size=30),
    max_size=5,
)


@given(written)
def test_times_of_a_batch_are_read_as_each_alone(values: list[object]) -> None:
    assert list(parse_all_occurred_at(values)) == [parse_occurred_at(value) for value in values]


def test_line_feed_in_a_time_makes_no_second_time() -> None:
    """Two values in three lines, each of which looks like a time."""
    time = "2026-04-25T14:32:00Z"
    assert list(parse_all_occurred_at([f"{time}\n{time}", time])) == [
        INVALID,
        "2026-04-25T14:32:00",
    ]
