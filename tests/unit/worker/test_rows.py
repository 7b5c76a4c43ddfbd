import msgspec
import pytest

from sluice.core.event import Candidate, Event, stamp
from worker.core.rows import Key, is_well_formed, keep, read_facts, traits_of

NEW_ID = "019700aa-0000-7000-8000-000000000001"


def event(
    *,
    client_id: str | None = None,
    event_type: str = "page_viewed",
    received_at: str = "2026-04-25T13:30:00.000001",
    occurred_at: str | None = None,
    payload: bytes = b"{}",
) -> Event:
    candidate = Candidate(
        user_id="u",
        event_type=event_type,
        occurred_at=occurred_at,
        payload=payload,
        client_id=client_id,
    )
    return stamp(candidate, tenant="acme", source="track", received_at=received_at, new_id=NEW_ID)


def lines(*events: Event) -> bytes:
    return msgspec.json.Encoder().encode_lines(events)


def test_facts_name_the_events_that_clients_named_and_the_hours_of_all() -> None:
    facts = read_facts(
        lines(event(), event(client_id="k", received_at="2026-04-25T14:00:00.000000"), event())
    )
    assert list(facts.positions) == [1]
    assert [key.received_at for key in facts.named] == ["2026-04-25T14:00:00.000000"]
    assert facts.hours == {("acme", "2026-04-25T13"), ("acme", "2026-04-25T14")}
    assert list(facts.poison) == []


def test_facts_are_positions_of_all_when_clients_named_all() -> None:
    facts = read_facts(lines(event(client_id="a"), event(client_id="b")))
    assert list(facts.positions) == [0, 1]


def test_facts_of_nothing_are_empty() -> None:
    facts = read_facts(b"")
    assert (facts.named, facts.hours, facts.received_from) == ([], frozenset(), "")


def test_facts_say_since_when_rows_waited_whichever_came_first() -> None:
    early, late = "2026-04-25T13:30:00.000001", "2026-04-25T14:00:00.000000"
    for times in ((early, late), (late, early)):
        facts = read_facts(lines(*(event(received_at=time) for time in times)))
        assert facts.received_from == early
    facts = read_facts(b"{\n" + lines(event(received_at="soon"), event(received_at=late)))
    assert facts.received_from == late


def test_facts_tell_poison_from_good_rows_when_a_body_holds_both() -> None:
    good = lines(event(client_id="k"))
    bad_time = lines(event(received_at="soon"))
    bad_id = good.replace(b'"event_id":"', b'"event_id":"x')
    facts = read_facts(b"".join([good, b"{\n", bad_time, good, bad_id, b'{"tenant":1}\n']))
    assert sorted(one.index for one in facts.poison) == [1, 2, 4, 5]
    assert list(facts.positions) == [0, 3]
    assert facts.hours == {("acme", "2026-04-25T13")}


def test_facts_find_the_events_that_carry_traits() -> None:
    facts = read_facts(lines(event(), event(event_type="context_identified")))
    assert list(facts.identified) == [1]


@pytest.mark.parametrize(
    ("dropped", "kept"), [((), b"a\nb\nc\n"), ((1,), b"a\nc\n"), ((0, 1, 2), b"")]
)
def test_keep_leaves_out_exactly_the_dropped_rows(dropped: tuple[int, ...], kept: bytes) -> None:
    assert keep(b"a\nb\nc\n", dropped) == kept


@pytest.mark.parametrize(
    ("event_id", "received_at", "expected"),
    [
        (NEW_ID, "2026-04-25T13:30:00.000001", True),
        ("z" * 36, "2026-04-25T13:30:00.000001", False),
        (NEW_ID, "2026-04-25T13:99:00.000001", False),
    ],
)
def test_key_is_well_formed_when_clickhouse_can_read_it(
    event_id: str, received_at: str, expected: bool
) -> None:
    assert is_well_formed(Key("acme", event_id, "t", received_at)) is expected


@pytest.mark.parametrize(
    ("occurred_at", "effective"),
    [
        (None, "2026-04-25T13:30:00.000001000"),
        ("2026-04-25T13:30:00", "2026-04-25T13:30:00.000000000"),
        ("2026-04-25T13:30:00.000000999", "2026-04-25T13:30:00.000000999"),
        ("2026-04-25T13:30:00.00001", "2026-04-25T13:30:00.000001000"),
        ("2200-01-01T00:00:00", "2026-04-25T13:30:00.000001000"),
    ],
    ids=["not said", "no fraction", "nanoseconds", "after receipt", "in the far future"],
)
def test_effective_time_is_the_earlier_of_occurred_and_received(
    occurred_at: str | None, effective: str
) -> None:
    [mark] = traits_of(lines(event(occurred_at=occurred_at)).strip())
    assert mark.first_at == mark.last_at == mark.latest[0] == effective


def test_traits_are_top_level_members_with_their_own_text() -> None:
    payload = b'{"a":{"b":[1, 2]},"n":1.10,"gone":null}'
    mark, *said = traits_of(lines(event(payload=payload)).strip())
    assert (mark.is_trait, mark.trait) == (0, "")
    assert {one.trait: one.latest[3] for one in said} == {
        "a": '{"b":[1, 2]}',
        "n": "1.10",
        "gone": "null",
    }


def test_traits_are_read_when_the_payload_travels_as_a_string() -> None:
    _, one = traits_of(lines(event(payload=b'{\n"a": 1}')).strip())
    assert (one.trait, one.latest[3]) == ("a", "1")


@pytest.mark.parametrize("payload", [b"[]", b"1", b'"x"', b"null"])
def test_traits_are_none_when_the_payload_is_no_object(payload: bytes) -> None:
    row = lines(event()).strip().replace(b'"payload":{}', b'"payload":' + payload)
    assert traits_of(row) == []
