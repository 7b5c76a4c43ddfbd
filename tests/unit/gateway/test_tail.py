"""What a tail shows of events, and that each is told once, however late it becomes visible."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.tail import (
    MAX_EVENTS,
    MAX_POSITION_GROUPS,
    OVERLAP_MS,
    Position,
    Seen,
    TailData,
    advanced,
    is_to_show,
    known_to_all,
    last_piece,
    masked,
    merged,
    piece,
    read_position,
    types_of,
    write_position,
)
from gateway.routes.tail import LONGEST, parse_filter
from sluice.core.errors import ErrorType, Rejected
from sluice.warehouse.tail import TailFilter

NOW = 1_795_314_363_641


def data(count: int, *names: str) -> TailData:
    """Return a piece with events of these ids."""
    events = [Seen(name, "2026-04-25T13:30:00Z", "a", "…", "track", {}) for name in names]
    return TailData("2026-04-25T13:30:02.000Z", count, count - len(names), events)


groups = st.dictionaries(
    st.integers(NOW - OVERLAP_MS, NOW), st.integers(1, 10**6), max_size=MAX_POSITION_GROUPS
)


@given(groups)
def test_position_goes_through_the_id_of_a_piece(found: dict[int, int]) -> None:
    position = advanced(found, now_ms=NOW)
    assert read_position(write_position(position)) == position


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1,", "1,2", "1,2:", "1,2:3,", "1 ,2:3", "9" * 16, "1,2:3\n", "\u0661"]
)
def test_what_is_no_id_of_ours_is_no_position(text: str) -> None:
    assert read_position(text) is None


@given(st.text(string.digits + ",:", max_size=400))
def test_reading_a_position_never_fails(text: str) -> None:
    position = read_position(text)
    assert position is None or len(position.groups) <= MAX_POSITION_GROUPS


def test_position_forgets_what_is_older_than_the_overlap() -> None:
    position = advanced({NOW - OVERLAP_MS - 1: 5, NOW - 100: 7}, now_ms=NOW)
    assert position == Position(NOW - OVERLAP_MS, {NOW - 100: 7})
    assert advanced({NOW - 100: 7}, now_ms=NOW, since_ms=NOW - 50) == Position(NOW - 50, {})


def test_position_is_bounded_and_counts_nothing_twice_when_there_are_too_many_inserts() -> None:
    found = {NOW - at: 1 for at in range(5_000)}
    position = advanced(found, now_ms=NOW)
    assert len(position.groups) == MAX_POSITION_GROUPS
    assert position.count_new(found) == 0
    assert len(write_position(position)) < 4_000


@given(groups, groups)
def test_every_event_is_counted_once_whenever_it_becomes_visible(
    early: dict[int, int], late: dict[int, int]
) -> None:
    start = Position(NOW - OVERLAP_MS, {})
    everything = {
        at_ms: early.get(at_ms, 0) + late.get(at_ms, 0) for at_ms in early.keys() | late.keys()
    }
    first = start.count_new(early)
    then = advanced(early, now_ms=NOW).count_new(everything)
    assert first + then == sum(early.values()) + sum(late.values())
    assert advanced(everything, now_ms=NOW).count_new(everything) == 0


def test_count_never_falls_when_a_redelivered_row_has_collapsed() -> None:
    assert Position(0, {5: 3, 6: 1}).count_new({5: 2, 6: 2}) == 1


def test_event_is_shown_once_when_two_inserts_share_a_millisecond() -> None:
    position = Position(100, {105: 1})
    found = {104: 1, 105: 2, 106: 1}
    assert is_to_show(position, (106, "new"), found, {"first"})
    assert is_to_show(position, (104, "late"), found, {"first"})
    assert is_to_show(position, (105, "second"), found, {"first"})
    assert not is_to_show(position, (105, "first"), found, {"first"})
    assert not is_to_show(position, (105, "before"), {105: 1}, set())
    assert not is_to_show(position, (99, "old"), found, set())


def test_only_what_all_know_alike_is_left_out_of_a_look() -> None:
    mine, other = Position(0, {1: 1, 2: 2, 3: 3}), Position(0, {1: 1, 2: 3})
    assert known_to_all([mine]) == {1: 1, 2: 2, 3: 3}
    assert known_to_all([mine, other]) == {1: 1}


@pytest.mark.parametrize(
    ("user_id", "shown"),
    [
        ("", "…"),
        ("u-1", "…"),
        ("user-12", "…"),
        ("user-123", "us…23"),
        ("alice@example.com", "al…om"),
        ("Zoë-Müller", "Zo…er"),
    ],
)
def test_user_is_hinted_at_and_never_named(user_id: str, shown: str) -> None:
    assert masked(user_id) == shown


def test_payload_is_shown_as_names_and_types() -> None:
    members = [("s", '"'), ("o", "{"), ("a", "["), ("t", "t"), ("f", "f"), ("z", "n"), ("m", "-")]
    assert types_of([*members, ("i", "1")]) == {
        "s": "string",
        "o": "object",
        "a": "array",
        "t": "boolean",
        "f": "boolean",
        "z": "null",
        "m": "number",
        "i": "number",
    }


def test_slow_reader_gets_the_newest_and_hears_how_many_were_left_off() -> None:
    waiting = data(2, "b", "a")
    for second in range(1_000):
        waiting = merged(waiting, data(60, *(f"{second}-{number}" for number in range(50))))
    assert len(waiting.events) == MAX_EVENTS
    assert waiting.events[0].event_id == "999-0"
    assert (waiting.count, waiting.left_off) == (60_002, 60_002 - MAX_EVENTS)
    both = merged(data(1, "a"), data(2, "c", "b"))
    assert [event.event_id for event in both.events] == ["c", "b", "a"]
    assert (both.count, both.left_off) == (3, 0)


def test_piece_is_one_server_sent_event() -> None:
    text = piece(data(1, "a\nb"), Position(7, {9: 1})).decode()
    kind, number, said, *rest = text.split("\n")
    assert (kind, number, rest) == ("event: events", "id: 7,2:1", ["", ""])
    assert said.startswith('data: {"as_of":"2026-04-25T13:30:02.000Z","count":1,"left_off":0,')
    assert last_piece("time_limit") == b'event: end\ndata: {"reason":"time_limit"}\n\n'


def test_filter_takes_what_events_may_have_and_no_more() -> None:
    longest = {name: "x" * size for name, size in LONGEST.items()}
    assert parse_filter(dict(longest)) == TailFilter(**longest)
    assert parse_filter(dict.fromkeys(LONGEST)) == parse_filter(dict.fromkeys(LONGEST, ""))
    for name in LONGEST:
        refused = parse_filter({**longest, name: longest[name] + "x"})
        assert isinstance(refused, Rejected)
        assert (refused.error_type, refused.field) == (ErrorType.PARAMETER_INVALID, name)
