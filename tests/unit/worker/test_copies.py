"""What is counted is a function of the set of accepted copies, whatever races."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.copies import Other, is_alone, is_complete, judge
from worker.core.rows import HOUR_CHARS, SLOT_CHARS, Key

START = datetime.fromisoformat("2026-04-25T13:30:00")
ID = "6f6a3f0e-6d0c-5b7e-9c55-0f4a8a1b7d10"


def key(after: timedelta, event_type: str = "a", event_id: str = ID) -> Key:
    at = (START + after).isoformat(timespec="microseconds")
    return Key("demo", event_id, event_type, at)


FIRST = key(timedelta(0))
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def test_new_events_are_all_kept() -> None:
    verdict = judge([FIRST, key(MINUTE, event_id=ID.replace("6", "7"))], [])
    assert (verdict.dropped, verdict.stored_before) == (frozenset(), ())


@pytest.mark.parametrize(
    ("copy", "is_dropped"),
    [
        (key(MINUTE), True),
        (key(HOUR), True),
        (key(7 * DAY), True),
        (key(7 * DAY + timedelta(microseconds=1)), False),
        (key(MINUTE, "b"), True),
        (key(timedelta(0), "b"), True),
        (FIRST, False),
    ],
    ids=[
        "same hour",
        "next hour",
        "after seven days",
        "after more than seven days",
        "other type",
        "same microsecond, other type",
        "redelivered",
    ],
)
def test_later_copy_is_dropped_when_the_first_is_known(copy: Key, is_dropped: bool) -> None:
    assert judge([copy], [FIRST, copy]).dropped == ({0} if is_dropped else set())


def test_first_in_order_is_kept_when_a_batch_holds_the_same_copy_twice() -> None:
    assert judge([FIRST, FIRST], []).dropped == {1}


def test_first_accepted_is_kept_when_a_batch_holds_copies_in_another_order() -> None:
    assert judge([key(HOUR), FIRST, key(MINUTE)], []).dropped == {0, 2}


def test_stored_copy_is_named_when_an_earlier_one_arrives() -> None:
    verdict = judge([FIRST], [FIRST, key(HOUR), key(HOUR + MINUTE)])
    assert verdict.dropped == frozenset()
    assert set(verdict.stored_before) == {key(HOUR), key(HOUR + MINUTE)}


def test_stored_copy_is_named_when_it_collapses_into_the_first_from_another_slot() -> None:
    assert judge([FIRST], [FIRST, key(MINUTE)]).stored_before == (key(MINUTE),)


def test_stored_copy_is_not_named_again_when_a_third_arrives() -> None:
    assert judge([key(2 * HOUR)], [FIRST, key(HOUR), key(2 * HOUR)]).stored_before == ()


copies = st.lists(
    st.builds(
        key,
        st.sampled_from([timedelta(0), MINUTE, HOUR, HOUR + MINUTE, 6 * DAY, 7 * DAY, 9 * DAY]),
        st.sampled_from(["a", "b"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(copies, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=40))
def test_only_first_accepted_copies_count_whatever_races_and_crashes(
    sent: list[Key], schedule: list[tuple[int, int]]
) -> None:
    """Each copy is a worker of its own: write, look, settle, in any interleaving."""
    model = Model()
    todo = [[model.write, model.look, model.settle] for _ in sent]
    in_turn = [(which, 1) for which in range(len(sent)) for _ in range(3)]
    for turn, dice in [*schedule, *in_turn]:
        which = turn % len(sent)
        if todo[which]:
            todo[which].pop(0)(which, sent[which])
        if dice == 0:
            todo[which] = [model.write, model.look, model.settle]  # crashed, delivered again
    assert model.counted() == expected(sent)
    assert model.counted_apart_by(SLOT_CHARS) == expected(sent)


def expected(sent: list[Key]) -> set[Key]:
    """The rule, said another way: each (hour, type) group whose earliest copy has none before."""
    ordered = sorted(set(sent), key=lambda one: (one.received_at, one.event_type))
    moments = [datetime.fromisoformat(one.received_at) for one in ordered]
    return {
        one
        for position, one in enumerate(ordered)
        if not any(moments[position] - before <= 7 * DAY for before in moments[:position])
    }


class Model:
    """The tables, as far as copies are concerned."""

    def __init__(self) -> None:
        self.keys: set[Key] = set()
        self.events: set[Key] = set()
        self.named: set[Key] = set()
        self.looks: dict[int, set[Key]] = {}

    def write(self, _worker: int, candidate: Key) -> None:
        self.keys.add(candidate)

    def look(self, worker: int, _candidate: Key) -> None:
        self.looks[worker] = set(self.keys)

    def settle(self, worker: int, candidate: Key) -> None:
        verdict = judge([candidate], self.looks[worker])
        if not verdict.dropped:
            self.events.add(candidate)
        self.named.update(verdict.stored_before)

    def counted(self) -> set[Key]:
        """What a rollup counts: the earliest of each sorting key, unless it was named."""
        return self.counted_apart_by(HOUR_CHARS)

    def counted_apart_by(self, chars: int) -> set[Key]:
        """The same where each span is counted by itself."""
        groups: dict[tuple[str, str], Key] = {}
        for row in sorted(self.events, key=lambda one: one.received_at):
            groups.setdefault((row.received_at[:chars], row.event_type), row)
        return set(groups.values()) - self.named


@pytest.mark.parametrize(
    ("others", "alone", "complete"),
    [
        ([], True, True),
        ([Other("b", 59.9, is_stopped=False)], False, False),
        ([Other("b", 60.0, is_stopped=False)], True, True),
        ([Other("b", 5.0, is_stopped=True)], True, False),
        ([Other("b", 31.0, is_stopped=True)], True, True),
        ([Other("b", 90.0, is_stopped=False), Other("c", 1.0, is_stopped=False)], False, False),
    ],
    ids=["none", "live", "dead", "left since", "left before", "one of two"],
)
def test_filter_holds_every_key_only_while_nobody_else_wrote(
    others: list[Other], alone: bool, complete: bool
) -> None:
    assert is_alone(others) is alone
    assert is_complete(others, loaded_age_s=30.0) is complete
