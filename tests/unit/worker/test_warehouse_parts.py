"""How what is left of a batch becomes the shares of inserts."""

from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from sluice.core.envelope import Envelope
from sluice.queue.protocol import Delivery
from worker.warehouse_parts import SHARE_OVERRUN, Part, Prepared, rows_of, shares_of


def part(count: int, raw_bytes: int, left_out: int = 0) -> Part:
    """Return a part of so many rows."""
    envelope = Envelope(
        envelope_id=str(uuid4()), kind="events", count=count, raw_bytes=raw_bytes, body=b""
    )
    delivery = Delivery(
        subscription="warehouse",
        message_id=1,
        lease_id="l",
        attempt=1,
        published_at=0.0,
        envelope=envelope,
    )
    return Part(Prepared(delivery=delivery), frozenset(range(left_out)), b"")


def test_batch_is_one_insert_when_it_hardly_passes_the_bounds_of_one() -> None:
    parts = [part(500, 300_000)] * 120
    assert shares_of(parts, max_rows=50_000, max_bytes=32_000_000) == [parts]
    assert shares_of([], max_rows=1, max_bytes=1) == []


def test_batch_is_two_inserts_when_it_is_two_full_ones() -> None:
    parts = [part(500, 300_000)] * 200
    shares = shares_of(parts, max_rows=50_000, max_bytes=10**9)
    assert [sum(map(rows_of, share)) for share in shares] == [50_000, 50_000]
    shares = shares_of(parts, max_rows=10**9, max_bytes=30_000_000)
    assert [len(share) for share in shares] == [100, 100]


def test_rows_that_are_left_out_fill_no_insert_when_they_are_counted() -> None:
    parts = [part(500, 300, left_out=400)] * 100
    assert len(shares_of(parts, max_rows=10_000, max_bytes=10**9)) == 1


@given(
    sizes=st.lists(st.tuples(st.integers(1, 500), st.integers(1, 900_000)), max_size=60),
    max_rows=st.integers(1, 5_000),
    max_bytes=st.integers(1, 10_000_000),
)
def test_shares_hold_every_part_once_and_in_order_when_they_are_cut(
    sizes: list[tuple[int, int]], max_rows: int, max_bytes: int
) -> None:
    parts = [part(count, size) for count, size in sizes]
    shares = shares_of(parts, max_rows=max_rows, max_bytes=max_bytes)
    assert [one for share in shares for one in share] == parts
    assert all(shares)
    size = sum(size for _, size in sizes)
    filled = max(sum(count for count, _ in sizes) / max_rows, size / max_bytes)
    assert len(shares) <= filled / SHARE_OVERRUN + 1
    largest = max((size for _, size in sizes), default=0)
    for share in shares:
        mine = sum(one.source.envelope.raw_bytes for one in share)
        assert mine <= max_bytes * SHARE_OVERRUN + largest
