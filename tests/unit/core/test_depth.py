"""Nesting is counted without a parser, and right."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.core.depth import depth_of, may_be_deeper

odd_text = st.text('ab{}[]"\\/,:\n é', max_size=8)
values = st.recursive(
    st.none() | st.integers() | odd_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(odd_text, inner, max_size=4),
    max_leaves=25,
)


def count(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(count, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(count, value), default=0)
    return 0


@given(values)
def test_depth_is_that_of_the_parsed_value(value: object) -> None:
    text = msgspec.json.encode(value)
    depth = count(value)
    assert depth_of(text) == depth
    assert not may_be_deeper(text, 1000)
    assert depth == 0 or may_be_deeper(text, depth - 1)


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        (b"1", 0),
        (b'"[[["', 0),
        (b"{}", 1),
        (b"[[],[],[]]", 2),
        (b'{"[": {"]": ["[", "]"]}}', 3),
        (rb'["\"[[", "\\", ["\\\"["]]', 2),
        (rb'["\\",[["]"]]]', 3),
        (b"[" * 500 + b"]" * 500, 500),
    ],
    ids=lambda value: str(value)[:30],
)
def test_depth_does_not_count_brackets_in_strings(text: bytes, depth: int) -> None:
    assert depth_of(text) == depth
