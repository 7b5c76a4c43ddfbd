"""Receive times and ids, made cheaply, are still what the event needs."""

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from gateway.stamps import IDS_AHEAD, Stamps
from sluice.core.event import format_ts


@given(st.lists(st.floats(0, 4_000_000_000), min_size=1, max_size=5))
def test_received_at_is_written_as_every_other_time(moments: list[float]) -> None:
    clock = iter(moments)
    stamps = Stamps(unix_s=lambda: next(clock))
    for moment in moments:
        micros = int(moment * 1_000_000)
        exact = datetime.fromtimestamp(micros // 1_000_000, UTC).replace(
            microsecond=micros % 1_000_000
        )
        assert stamps.received_at() == format_ts(exact)


def test_ids_are_unique_ascending_version_7_uuids_of_their_millisecond() -> None:
    now = 1_800_000_000.0
    stamps = Stamps(unix_s=lambda: now)
    singles = [stamps.new_id() for _ in range(3 * IDS_AHEAD)]
    batch = list(stamps.new_ids(500))
    now += 0.001
    later = [stamps.new_id() for _ in range(3)]
    every = singles + batch + later
    assert len(set(every)) == len(every)
    assert batch == sorted(batch)
    assert max(singles + batch) < min(later)
    for text in every:
        assert UUID(text).version == 7
        assert str(UUID(text)) == text
    assert {UUID(text).int >> 80 for text in singles} == {1_800_000_000_000}


def test_ids_of_two_processes_differ_at_the_same_moment() -> None:
    first, second = Stamps(unix_s=lambda: 1.0), Stamps(unix_s=lambda: 1.0)
    assert {first.new_id() for _ in range(2_000)}.isdisjoint(
        {second.new_id() for _ in range(2_000)}
    )
