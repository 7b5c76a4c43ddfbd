"""What the official Python SDK writes beyond RFC 8259 is repaired, and nothing else is touched."""

from collections.abc import Callable, Iterable

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.json_repair import LONE_SURROGATE, MAX_REPAIRS, NAN, Repaired, reasons, repair

REPLACED = {b"NaN": b"null", b"Infinity": b"null", b"-Infinity": b"null"}
LONE = (rb"\ud800", rb"\uDBFF", rb"\udc00", rb"\uDFFF")

Parts = list[tuple[bytes, bytes]]
"""Stretches of JSON text, each as sent and as it is to be kept."""


def same(text: bytes) -> Parts:
    return [(text, text)]


def joined(parts: Iterable[Parts], between: bytes) -> Parts:
    result: Parts = []
    for part in parts:
        result += (same(between) if result else []) + part
    return result


# Between escapes of surrogates stands a letter, so that two halves are never a pair by accident.
pieces = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(
        lambda text: same(msgspec.json.encode(text)[1:-1])
    ),
    st.sampled_from([rb"\\", rb"\"", rb"\\ud800", rb"\ud83d\ude00", b"NaN", b", -Infinity]"]).map(
        same
    ),
    st.sampled_from(LONE).map(lambda escape: [(escape, rb"\ufffd")]),
)
strings = st.lists(pieces, max_size=4).map(
    lambda parts: [*same(b'"'), *joined(parts, b"x"), *same(b'"')]
)
scalars = st.one_of(
    strings,
    st.sampled_from([b"0", b"-1.50", b"true", b"null", b"18446744073709551616"]).map(same),
    st.sampled_from(list(REPLACED.items())).map(lambda pair: [pair]),
)


def containers(inner: st.SearchStrategy[Parts]) -> st.SearchStrategy[Parts]:
    pairs = st.tuples(strings, inner).map(lambda pair: joined(pair, b": "))
    lists = st.lists(inner, max_size=4).map(
        lambda parts: [*same(b"["), *joined(parts, b","), *same(b"]")]
    )
    objects = st.lists(pairs, max_size=4).map(
        lambda parts: [*same(b"{"), *joined(parts, b" ,"), *same(b"}")]
    )
    return lists | objects


documents = st.recursive(scalars, containers, max_leaves=15)


@given(documents)
def test_repair_gives_valid_json_that_differs_only_in_what_is_replaced(parts: Parts) -> None:
    sent = b"".join(sent for sent, _ in parts)
    kept = b"".join(kept for _, kept in parts)
    repaired = repair(sent)
    assert (repaired.text if repaired else sent) == kept
    orjson.loads(kept)
    if repaired:
        orjson.loads(repaired.marked)
        assert len(repaired.marked) == len(kept)
        was = {sent for sent, kept in parts if sent != kept}
        assert set(reasons(repaired.text, repaired.marked)) == (
            ({NAN} if was & REPLACED.keys() else set())
            | ({LONE_SURROGATE} if was & set(LONE) else set())
        )


@given(documents)
def test_place_of_a_byte_is_known_when_something_before_it_was_replaced(parts: Parts) -> None:
    sent = b"".join(sent for sent, _ in parts)
    repaired = repair(sent)
    if repaired is None:
        return
    before = after = 0
    for was, is_now in parts:
        assert repaired.original_offset(after) == before
        before, after = before + len(was), after + len(is_now)


@pytest.mark.parametrize(
    "text",
    [b"", b"[1,2", b'"NaN and Infinity"', rb'"\\ud800"', rb'["\ud83d\ude00"]', b'{"a":nan}'],
)
def test_repair_has_nothing_to_do_when_nothing_tolerated_is_there(text: bytes) -> None:
    assert repair(text) is None


def test_surrogates_are_paired_as_a_parser_pairs_them() -> None:
    repaired = repair(rb'"\udc00\ud800\udc00\udc00\ud800\ud801\udc01\ud800"')
    assert repaired is not None
    assert repaired.text == rb'"\ufffd\ud800\udc00\ufffd\ufffd\ud801\udc01\ufffd"'


@pytest.mark.parametrize(
    "hostile",
    [
        lambda n: b"[" + b"NaN," * n + b"NaN]",
        lambda n: b'["' + rb"\ud800" * n + b'"]',
        lambda n: b'["' + b"NaN" * n + rb'\ud800"]',
    ],
    ids=["words", "surrogates", "words in a string"],
)
def test_repair_does_a_bounded_amount_when_the_body_is_hostile(
    hostile: Callable[[int], bytes],
) -> None:
    repaired = repair(hostile(MAX_REPAIRS * 2))
    assert isinstance(repaired, Repaired)
    assert repaired.text.count(b"null") <= MAX_REPAIRS
    assert repaired.text.count(rb"\ufffd") <= MAX_REPAIRS


def test_no_reason_is_given_when_a_payload_was_not_touched() -> None:
    assert reasons(b'{"a":null}', b'{"a":null}') == ()
