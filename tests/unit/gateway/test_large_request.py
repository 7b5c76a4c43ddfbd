"""Which heads say so plainly where their body ends that nobody could read them in another way."""

import pytest

from gateway.core.large_request import LargeRequest, read_large

HEAD = (
    b"POST /api/ingestion/track%b HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n"
    b"Authorization: ApiKey k"
)


@pytest.mark.parametrize(
    ("path", "more", "expected"),
    [
        (b"", b"", LargeRequest("/api/ingestion/track", None)),
        (b"/batch", b"", LargeRequest("/api/ingestion/track/batch", None)),
        (
            b"/batch/",
            b"\r\nContent-Encoding: gzip",
            LargeRequest("/api/ingestion/track/batch", None),
        ),
        (b"", b"\r\nConnection: Keep-Alive", LargeRequest("/api/ingestion/track", None)),
        (b"", b"\r\nx-request-id: r-7 ", LargeRequest("/api/ingestion/track", "r-7")),
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
