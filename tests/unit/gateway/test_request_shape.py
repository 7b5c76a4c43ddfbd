"""What of a request's head stays the same, and what is not understood and left to the parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.core.request_shape import is_plain, split_request

HEAD = b"POST /api/ingestion/track HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nX-Other: o"
LENGTHS = st.integers(1, 9_999_999)


@given(LENGTHS, LENGTHS, st.binary(max_size=50))
def test_shape_is_the_same_whatever_the_length(one: int, other: int, body: bytes) -> None:
    first = split_request(HEAD % one + b"\r\n\r\n" + body)
    second = split_request(HEAD % other + b"\r\n\r\n")
    assert first is not None
    assert second is not None
    assert first[0] == second[0] == (HEAD % 1).replace(b"1\r\nX", b"\r\nX")
    assert first[1:] == (len(HEAD % one) + 4, one)


@given(st.binary(max_size=60), LENGTHS, st.binary(max_size=60))
def test_head_can_be_put_together_again_from_shape_and_length(
    before: bytes, length: int, after: bytes
) -> None:
    """So two heads that differ in anything else have different shapes."""
    data = b"%b\r\nContent-Length: %d\r\n%b\r\n\r\n" % (before, length, after)
    found = split_request(data)
    if found is None:
        return
    shape, begin, size = found
    head = data[: begin - 4]
    cuts = [at for at in range(len(head) + 1) if shape == head[:at] + head[at + len(str(size)) :]]
    assert any(head[at : at + len(str(size))] == b"%d" % size for at in cuts)


@pytest.mark.parametrize(
    "length",
    [b"", b"0", b"007", b"+7", b"-7", b" 7", b"7 ", b"7,7", b"0x7", b"7_0", b"10000000", b"\xb2"],
)
def test_length_that_is_not_written_as_usual_is_not_understood(length: bytes) -> None:
    assert split_request(b"POST / HTTP/1.1\r\nContent-Length: " + length + b"\r\n\r\nbody") is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST / HTTP/1.1\r\nContent-Length: 7",
        b"POST / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n\r\nContent-Length: 7\r\n\r\n",
        b"POST / HTTP/1.1\r\nCONTENT-LENGTH: 7\r\n\r\n",
        b"POST / HTTP/1.1\r\nX: a\r\n Content-Length: 7\r\n\r\n",
        b"POST / HTTP/1.1\nContent-Length: 7\n\n",
    ],
)
def test_what_has_no_length_in_its_head_is_not_understood(data: bytes) -> None:
    assert split_request(data) is None


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ([], True),
        ([("Content-Type", "application/json"), ("User-Agent", "a"), ("Accept", "*/*")], True),
        ([("Content-Type", "")], True),
        ([("content-type", "text/plain")], False),
        ([("Content-Type", "application/json; charset=utf-8")], False),
        ([("Authorization", "ApiKey two")], False),
        ([("Origin", "https://a.example")], False),
        ([("Idempotency-Key", "k")], False),
        ([("X-Request-Id", "r")], False),
        ([("traceparent", "00-1")], False),
        ([("Expect", "100-continue")], False),
        ([("Content-Encoding", "gzip")], False),
        ([("Transfer-Encoding", "chunked")], False),
    ],
)
def test_head_is_plain_when_nothing_asks_for_more(
    headers: list[tuple[str, str]], *, answer: bool
) -> None:
    given: CIMultiDict[str] = CIMultiDict([("Authorization", "ApiKey k"), ("Content-Length", "7")])
    given.extend(headers)
    assert is_plain(CIMultiDictProxy(given)) is answer


def test_head_without_a_key_is_not_plain() -> None:
    given: CIMultiDict[str] = CIMultiDict([("Content-Length", "7")])
    assert not is_plain(CIMultiDictProxy(given))


@pytest.mark.parametrize(
    ("values", "answer"),
    [(["gzip"], True), (["GZIP"], False), (["gzip, gzip"], False), (["gzip", "gzip"], False)],
)
def test_head_is_plain_with_gzip_only_where_that_is_taken(
    values: list[str], *, answer: bool
) -> None:
    given: CIMultiDict[str] = CIMultiDict([("Authorization", "ApiKey k"), ("Content-Length", "7")])
    given.extend([("Content-Encoding", value) for value in values])
    assert is_plain(CIMultiDictProxy(given), may_be_gzip=True) is answer
    assert not is_plain(CIMultiDictProxy(given))
