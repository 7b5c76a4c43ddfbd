"""A lane settles each event once, in the order of each user, whatever is answered."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from worker.core.amplitude_answers import (
    Held,
    Refused,
    Suspect,
    Taken,
    Throttled,
    TooLarge,
    Verdict,
)
from worker.core.lane import Item, Lane, LaneLimits, Probe, Settled

MAX_DRAWN = 60
Service = Callable[[Sequence[Item] | Probe], Verdict | None]
"""What is answered to a request; None: nothing comes, and the caller tries again."""


def items_of(users: Sequence[str], *, size: int = 10) -> list[Item]:
    return [
        Item(
            tenant="acme",
            user_id=user,
            event_id=str(number),
            received_at="",
            row=b"",
            body=b"x" * size,
        )
        for number, user in enumerate(users)
    ]


def ids(items: Sequence[Item]) -> list[int]:
    return [int(item.event_id) for item in items]


def run(items: Sequence[Item], service: Service) -> Settled:
    settled = Settled()
    lane = Lane(items, LaneLimits(max_events=4, max_bytes=1_000), settled)
    for _ in range(10_000):
        todo = lane.next()
        if todo is None:
            return settled
        verdict = service(todo)
        if verdict is None:
            lane.retry()
        else:
            lane.answered(verdict)
    message = "the lane does not end"
    raise AssertionError(message)


def test_events_go_in_order_and_within_the_bounds_of_a_request() -> None:
    sizes: list[int] = []

    def take(todo: Sequence[Item] | Probe) -> Verdict:
        assert not isinstance(todo, Probe)
        sizes.append(len(todo))
        return Taken()

    settled = run(items_of(["a"] * 9), take)
    assert ids(settled.delivered) == list(range(9))
    assert sizes == [4, 4, 1]
    sizes.clear()
    run(items_of(["a"] * 5, size=400), take)
    assert sizes == [2, 2, 1]


def test_named_events_are_dead_and_the_rest_goes_again_at_once() -> None:
    def refuse_threes(todo: Sequence[Item] | Probe) -> Verdict:
        assert not isinstance(todo, Probe)
        bad = {place: "bad" for place, item in enumerate(todo) if int(item.event_id) % 3 == 0}
        return Refused(dict(list(bad.items())[:1])) if bad else Taken()

    settled = run(items_of(["a"] * 8), refuse_threes)
    assert ids(settled.delivered) == [1, 2, 4, 5, 7]
    assert [int(item.event_id) for item, *_ in settled.dead] == [0, 3, 6]


def test_a_throttled_user_waits_with_all_later_events_and_the_others_go_on() -> None:
    def throttle(todo: Sequence[Item] | Probe) -> Verdict:
        assert not isinstance(todo, Probe)
        is_fast = any(item.user_id == "fast" for item in todo)
        return Throttled(frozenset({"fast"}), frozenset(), "429", 30) if is_fast else Taken()

    settled = run(items_of(["a", "fast", "b", "fast", "a", "a", "fast"]), throttle)
    assert ids(settled.parked) == [1, 3, 6]
    assert ids(settled.delivered) == [0, 2, 4, 5]
    assert settled.throttled == {"fast": "429"}


def test_a_request_that_is_too_large_is_halved_in_order() -> None:
    def at_most_two(todo: Sequence[Item] | Probe) -> Verdict:
        return TooLarge("413") if len(list(todo)) > 2 else Taken()  # type: ignore[arg-type]  # no probe comes

    settled = run(items_of(["a"] * 8), at_most_two)
    assert ids(settled.delivered) == list(range(8))
    assert settled.smallest_refused_bytes == 44


def test_one_event_that_is_too_large_alone_is_dead() -> None:
    def bounded(todo: Sequence[Item] | Probe) -> Verdict:
        return Taken() if isinstance(todo, Probe) else TooLarge("413")

    settled = run(items_of(["a"]), bounded)
    assert [(item.event_id, reason) for item, reason, _ in settled.dead] == [("0", "too_large")]


def test_poison_that_is_not_named_is_found_by_halving() -> None:
    def wall(todo: Sequence[Item] | Probe) -> Verdict:
        if isinstance(todo, Probe):
            return Taken()
        return Suspect("refused", "403") if 5 in ids(todo) else Taken()

    settled = run(items_of(["a"] * 8), wall)
    assert ids(settled.delivered) == [0, 1, 2, 3, 4, 6, 7]
    assert [(item.event_id, reason) for item, reason, _ in settled.dead] == [("5", "refused")]


def test_a_wall_that_refuses_a_harmless_probe_too_kills_no_event() -> None:
    settled = run(items_of(["a"] * 8), lambda _todo: Suspect("refused", "403"))
    assert not settled.dead
    assert ids(settled.left) == list(range(8))
    assert settled.held is not None
    assert settled.held.reason == "unavailable"


def test_a_413_to_everything_kills_no_event() -> None:
    settled = run(items_of(["a"] * 8), lambda _todo: TooLarge("413"))
    assert not settled.dead
    assert ids(settled.left) == list(range(8))
    assert settled.held == Held("unavailable", "413")


def test_an_event_that_is_taken_after_the_probe_is_not_dead() -> None:
    answers: Iterator[Verdict] = iter([Suspect("refused", "403"), Taken(), Taken()])
    settled = run(items_of(["a"]), lambda _todo: next(answers))
    assert ids(settled.delivered) == [0]
    assert not settled.dead


def test_an_event_that_amplitude_does_not_count_is_not_called_dead() -> None:
    settled = run(items_of(["a"]), lambda _todo: Suspect("not_counted", "counted 0 of 1"))
    assert ids(settled.delivered) == [0]


def test_a_held_project_leaves_the_rest_in_order() -> None:
    def second_fails(todo: Sequence[Item] | Probe) -> Verdict:
        assert not isinstance(todo, Probe)
        return Held("bad_credentials", "400") if 4 in ids(todo) else Taken()

    settled = run(items_of(["a"] * 10), second_fails)
    assert ids(settled.delivered) == [0, 1, 2, 3]
    assert ids(settled.left) == [4, 5, 6, 7, 8, 9]


@st.composite
def verdicts(draw: st.DrawFn, todo: Sequence[Item] | Probe) -> Verdict | None:
    if isinstance(todo, Probe):
        answers: list[Verdict] = [
            Taken(),
            Suspect("refused", ""),
            TooLarge(""),
            Held("unavailable", ""),
        ]
        return draw(st.sampled_from(answers))
    places = st.integers(0, len(todo) - 1)
    users = frozenset(draw(st.sets(st.sampled_from([item.user_id for item in todo]), min_size=1)))
    kinds: list[Verdict | None] = [
        None,
        *[Taken()] * 4,
        Refused(draw(st.dictionaries(places, st.just("bad"), min_size=1))),
        Throttled(users, frozenset(), "", 30),
        Throttled(frozenset(), users, "", 30),
        TooLarge(""),
        Suspect("refused", ""),
        Suspect("not_counted", ""),
        Held("unavailable", ""),
    ]
    verdict: Verdict | None = draw(st.sampled_from(kinds))
    return verdict


@given(data=st.data(), users=st.lists(st.sampled_from("abcd"), max_size=30))
def test_each_event_is_settled_once_and_no_user_is_overtaken(
    data: st.DataObject, users: list[str]
) -> None:
    items = items_of(users)
    drawn = count()

    def answer(todo: Sequence[Item] | Probe) -> Verdict | None:
        # Nobody tries for ever: an example that goes on and on takes minutes to draw.
        return data.draw(verdicts(todo)) if next(drawn) < MAX_DRAWN else Taken()

    settled = run(items, answer)
    ends = [
        *ids(settled.delivered),
        *ids([item for item, *_ in settled.dead]),
        *ids(settled.parked),
        *ids(settled.left),
    ]
    assert Counter(ends) == Counter(ids(items))
    for group in (settled.delivered, settled.parked, settled.left):
        for user in set(users):
            mine = [int(item.event_id) for item in group if item.user_id == user]
            assert mine == sorted(mine)
    waiting = {item.user_id for item in (*settled.parked, *settled.left)}
    for user in waiting:
        first = min(
            int(item.event_id) for item in (*settled.parked, *settled.left) if item.user_id == user
        )
        went = [int(item.event_id) for item in settled.delivered if item.user_id == user]
        assert all(number < first for number in went)
