"""Which heads say so plainly where their body ends that nobody could read them in another way."""

import subprocess
import sys
from typing import Final

import pytest

from gateway.core.large_request import KEPT_SHAPES, MAX_SHAPE_BYTES, LargeRequest, read_large

HEAD = (
    b"POST /api/ingestion/track%b HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n"
    b"Authorization: ApiKey k"
)

KEY: Final = ("ApiKey k",)
READ_WITHIN_S: Final = 20
READ_MANY_FIELDS: Final = """
from gateway.core.large_request import read_large
head = b"POST /api/ingestion/track HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: "
head += b"".join(b"\\r\\nX-%d: a" % number for number in range(100))
assert read_large(head) is not None
for odd in (b"\\r\\nX_Odd: a", b"\\r\\nX: \\xff", b"\\r\\nX"):
    assert read_large(head + odd) is None
"""


@pytest.mark.parametrize(
    ("path", "more", "expected"),
    [
        (b"", b"", LargeRequest("/api/ingestion/track", None, KEY)),
        (b"/batch", b"", LargeRequest("/api/ingestion/track/batch", None, KEY)),
        (
            b"/batch/",
            b"\r\nContent-Encoding: gzip",
            LargeRequest("/api/ingestion/track/batch", None, KEY),
        ),
        (b"", b"\r\nConnection: Keep-Alive", LargeRequest("/api/ingestion/track", None, KEY)),
        (b"", b"\r\nx-request-id: r-7 ", LargeRequest("/api/ingestion/track", "r-7", KEY)),
    ],
)
def test_plain_head_is_read(path: bytes, more: bytes, expected: LargeRequest) -> None:
    assert read_large(HEAD % path + more) == expected


@pytest.mark.parametrize(
    "more",
    [
        b"\r\nContent-Length: 7",
        b"\r\ncontent-length:",
        b"\r\nHost: other",
        b"\r\nTransfer-Encoding: chunked",
        b"\r\ntransfer-encoding : chunked",
        b"\r\nTransfer-Encoding\x0b: chunked",
        b"\r\nExpect: 100-continue",
        b"\r\nUpgrade: websocket",
        b"\r\nOrigin: https://shop.example",
        b"\r\nConnection: close",
        b"\r\nConnection: Content-Length",
        b"\r\nConnection: close\r\nConnection: keep-alive",
        b"\r\nX-Request-Id: one\r\nX-Request-Id: two",
        b"\r\n folded",
        b"\r\nX: a\nTransfer-Encoding: chunked",
        b"\r\nX: a\rTransfer-Encoding: chunked",
        b"\r\nX: \x00",
        b"\r\nX: \xff",
        b"\r\nX",
        b"\r\n",
    ],
)
def test_head_that_is_not_plain_is_the_parsers(more: bytes) -> None:
    assert read_large(HEAD % b"" + more) is None


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"POST", b"PUT"),
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        HEAD.replace(b"track%b", b"stats"),
        HEAD.replace(b"track%b", b"track?session=x"),
        HEAD.replace(b"Host: h\r\n", b""),
        b"",
    ],
)
def test_head_of_something_else_is_the_parsers(head: bytes) -> None:
    assert read_large(head.replace(b"%b", b"")) is None


def test_head_with_many_fields_is_read_in_little_time_when_the_last_is_odd() -> None:
    """In a process that can be ended: a pattern that is tried in all ways holds up everything."""
    subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", READ_MANY_FIELDS], check=True, timeout=READ_WITHIN_S
    )


def test_heads_that_are_remembered_are_bounded() -> None:
    """Anybody may send them, key or none."""
    assert read_large(HEAD % b"" + b"\r\nX: " + b"a" * MAX_SHAPE_BYTES) is None
    assert KEPT_SHAPES * MAX_SHAPE_BYTES <= 2 * 1024 * 1024
