"""Which bytes of a file a Range header asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ranges import read_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, True),
        ("bytes=0-9", (0, 10)),
        ("bytes=0-", (0, 100)),
        ("bytes=90-200", (90, 10)),
        ("bytes=-10", (90, 10)),
        ("bytes=-200", (0, 100)),
        ("bytes=100-", False),
        ("bytes=-0", False),
        ("bytes=5-4", True),
        ("bytes=-", True),
        ("bytes=0-1,3-4", True),
        ("lines=0-1", True),
        ("", True),
    ],
)
def test_range_is_read_as_the_rfc_says(
    header: str | None, expected: tuple[int, int] | bool
) -> None:
    assert read_range(header, 100) == expected


@given(st.text("bytes=-,0123456789 ", max_size=20), st.integers(0, 1000))
def test_range_lies_in_the_file(header: str, size: int) -> None:
    found = read_range(header, size)
    if isinstance(found, tuple):
        start, length = found
        assert 0 <= start < size
        assert 1 <= length <= size - start
