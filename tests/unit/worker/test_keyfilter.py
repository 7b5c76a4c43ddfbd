from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.core.event import derive_event_id
from worker.core.keyfilter import KeyFilter, halves_of_row_binary, halves_of_text


def ids_of(names: range) -> list[str]:
    return [derive_event_id("demo", str(name)) for name in names]


@given(st.sets(st.integers(0, 5_000), min_size=1))
def test_filter_never_takes_a_member_for_new(names: set[int]) -> None:
    members = KeyFilter(1_000)
    ids = halves_of_text([derive_event_id("demo", str(name)) for name in names])
    members.add(ids)
    assert members.contains(ids).all()


def test_filter_takes_few_new_ids_for_members_when_it_is_full() -> None:
    members = KeyFilter(20_000)
    members.add(halves_of_text(ids_of(range(20_000))))
    wrong = members.contains(halves_of_text(ids_of(range(20_000, 40_000)))).mean()
    assert members.is_full
    assert wrong < 0.02


def test_filter_knows_nothing_when_it_is_new() -> None:
    assert not KeyFilter(100).contains(halves_of_text(ids_of(range(50)))).any()


def test_filter_takes_no_ids_as_an_answer() -> None:
    assert KeyFilter(100).contains(halves_of_text([])).shape == (0,)


def test_halves_are_the_same_from_text_and_from_row_binary() -> None:
    ids = ids_of(range(20))
    # ClickHouse writes a UUID as two little-endian halves, the upper one first.
    data = b"".join(UUID(text).bytes[7::-1] + UUID(text).bytes[:7:-1] for text in ids)
    assert np.array_equal(halves_of_text(ids), halves_of_row_binary(data))


@pytest.mark.parametrize("text", ["", "xyz", "0" * 36, "00000000-0000-5000-8000-00000000000"])
def test_halves_refuse_text_that_is_no_uuid(text: str) -> None:
    with pytest.raises(ValueError, match=r"UUID|hexadecimal"):
        halves_of_text([text])
