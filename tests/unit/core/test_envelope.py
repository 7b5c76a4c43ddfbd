"""Rows to envelopes and back: nothing is lost, doubled, reordered or grown past its bound."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sluice.core.envelope import (
    Envelope,
    EnvelopeError,
    Kind,
    Rows,
    encode,
    gather,
    seal,
    split,
    unseal,
)


@dataclass
class Thing:
    name: str
    payload: msgspec.Raw


names = st.text(max_size=30)
payloads = st.dictionaries(st.text(max_size=5), st.text(max_size=30), max_size=3).map(
    msgspec.json.encode
)
things = st.builds(Thing, names, payloads.map(msgspec.Raw))
kinds: st.SearchStrategy[Kind] = st.sampled_from(("events", "errors"))


def make_rows(*lines: bytes, kind: Kind = "events") -> Rows:
    return Rows(kind, len(lines), b"".join(line + b"\n" for line in lines))


@given(st.lists(things, max_size=20), st.integers(1, 400))
def test_encoder_keeps_every_row_in_order_within_the_bound(
    structs: list[Thing], max_bytes: int
) -> None:
    pieces = encode("events", structs, max_bytes=max_bytes)
    assert [line for piece in pieces for line in split(piece.data)] == [
        msgspec.json.encode(struct) for struct in structs
    ]
    for piece in pieces:
        assert piece.count == len(split(piece.data)) > 0
        assert len(piece.data) <= max_bytes or piece.count == 1


@given(st.lists(st.tuples(kinds, st.lists(things, min_size=1, max_size=4)), max_size=12))
def test_rows_come_back_in_order_when_gathered_sealed_and_unsealed(
    batches: list[tuple[Kind, list[Thing]]],
) -> None:
    waiting = [rows for kind, structs in batches for rows in encode(kind, structs)]
    envelopes = [seal(rows, envelope_id="e") for rows in gather(waiting, max_bytes=300)]
    for kind in ("events", "errors"):
        came = [line for one in envelopes if one.kind == kind for line in split(unseal(one))]
        assert came == [line for one in waiting if one.kind == kind for line in split(one.data)]
    assert all(one.count == len(split(unseal(one))) for one in envelopes)


def test_gathering_fills_bodies_up_to_the_bound_and_not_past_it() -> None:
    rows = [make_rows(b"x" * 9) for _ in range(7)]
    assert [len(body.data) for body in gather(rows, max_bytes=30)] == [30, 30, 10]


def test_gathering_leaves_a_body_alone_when_it_is_over_the_bound_by_itself() -> None:
    large = make_rows(b"x" * 50)
    assert gather([make_rows(b"a"), large, make_rows(b"b")], max_bytes=30) == [
        make_rows(b"a"),
        large,
        make_rows(b"b"),
    ]


def test_gathering_keeps_kinds_apart() -> None:
    bodies = gather([make_rows(b"1"), make_rows(b"2", kind="errors"), make_rows(b"3")])
    assert {body.kind: split(body.data) for body in bodies} == {
        "events": [b"1", b"3"],
        "errors": [b"2"],
    }


def test_frames_of_several_envelopes_are_one_zstd_stream() -> None:
    first, second = (seal(make_rows(row), envelope_id="e") for row in (b"1", b"2"))
    both = Envelope(
        envelope_id="e", kind="events", count=2, raw_bytes=4, body=first.body + second.body
    )
    assert unseal(both) == b"1\n2\n"


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body[:-1],
        lambda body: body[: len(body) // 2],
        lambda body: b"",
        lambda body: b"plain" + body,
        lambda body: body + body,
        lambda body: body + b"more",
        lambda body: zstandard.compress(b"x" * 10_000_000),
    ],
    ids=["cut by a byte", "cut in half", "empty", "not zstd", "doubled", "trailing", "bomb"],
)
def test_unsealing_fails_clearly_when_the_body_is_damaged(
    damage: Callable[[bytes], bytes],
) -> None:
    whole = seal(make_rows(b"1" * 100, b"2" * 100), envelope_id="e-1")
    with pytest.raises(EnvelopeError, match="e-1"):
        unseal(msgspec.structs.replace(whole, body=damage(whole.body)))


def test_no_rows_make_no_body() -> None:
    assert encode("events", []) == []
    assert gather([]) == []
    assert split(b"") == []
