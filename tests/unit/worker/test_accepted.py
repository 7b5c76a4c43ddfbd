"""What an envelope says was accepted, whatever its ids look like."""

import os
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from sluice.core.event import derive_event_id, new_event_ids
from worker.core.accepted import Run, accepted_rows, runs_of, share_of
from worker.core.rows import Key

PLACE = ("acme", "2026-04-25T13")
AT = "2026-04-25T13:30:00.000001"


def unrolled(runs: list[Run]) -> list[str]:
    return [
        str(UUID(int=(upper << 64) | (lower + step)))
        for upper, lower, count in runs
        for step in range(count)
    ]


def batch(count: int) -> list[str]:
    return new_event_ids(1_772_366_400_000, os.urandom(10), count)


def key(event_id: str, event_type: str = "a") -> Key:
    return Key("acme", event_id, event_type, AT)


def test_batch_of_a_client_is_one_run() -> None:
    ids = batch(500)
    runs = runs_of(ids)
    assert len(runs) == 1
    assert unrolled(runs) == ids


@given(st.lists(st.integers(1, 20), max_size=10))
def test_runs_unroll_to_the_ids_in_order(sizes: list[int]) -> None:
    ids = [one for size in sizes for one in batch(size)]
    assert unrolled(runs_of(ids)) == ids


def test_what_is_no_uuid_is_in_no_run() -> None:
    good = batch(2)
    assert unrolled(runs_of([good[0], "z" * 36, "1", good[1]])) == good
    assert runs_of(["x"]) == []


def test_named_events_and_exact_repeats_are_counted_apart() -> None:
    named = derive_event_id("acme", "order-1")
    made = batch(3)
    events = [*map(key, made), key(named), key(named), key(named, "b")]
    share = share_of(PLACE, events)
    assert (share.events, share.named, share.repeats) == (6, 3, 1)
    assert unrolled(list(share.runs)) == made


def test_rows_carry_what_was_left_out_of_their_hour() -> None:
    share = share_of(PLACE, [key(batch(1)[0])])
    [row] = accepted_rows("e", [share], {PLACE: 2, ("acme", "2026-04-25T14"): 9})
    assert (row.hour, row.envelope_id, row.left_out) == ("2026-04-25T13:00:00", "e", 2)
