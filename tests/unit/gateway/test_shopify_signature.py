"""The signature, and what a failed one still tells."""

import base64
import gzip
import zlib

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gateway.sources.shopify_evidence import Cause, cause_of
from gateway.sources.shopify_signature import Hashers, is_signed, sign
from tests.support.shopify import OLD_SECRET, SECRET, VECTOR, VECTOR_SIGNATURE, sample

BOTH = (SECRET, OLD_SECRET)
SENT = '{"id":1,"name":"Grün & <Tee>","url":"https:\\/\\/a.example","n":"1.50"}'.encode()
PLAIN = SENT.replace(b"\\/", b"/")


def test_signature_is_the_vector_of_the_reference() -> None:
    assert sign(VECTOR, SECRET).decode() == VECTOR_SIGNATURE
    assert sign(VECTOR, OLD_SECRET) == b"LX2Ic0Nxb4uP8tq8A1jRGDINUbn1gk8iTfBjmmTDuLc="


def test_any_of_the_secrets_may_have_signed() -> None:
    for secret in BOTH:
        signature = sign(VECTOR, secret).decode()
        assert is_signed(f" {signature} ", VECTOR, BOTH)
        assert not is_signed(signature, VECTOR, ())
    assert not is_signed(sign(VECTOR, SECRET).decode(), VECTOR, (OLD_SECRET,))


@pytest.mark.parametrize("signature", ["é", "\udcff", "", "A" * 10_000, "=", "\x00"])
def test_odd_signature_is_not_good_and_breaks_nothing(signature: str) -> None:
    assert not is_signed(signature, VECTOR, BOTH)
    assert cause_of(signature, VECTOR, BOTH) is Cause.MALFORMED


@given(st.lists(st.binary(), max_size=5))
def test_body_in_pieces_has_the_signature_of_the_whole(pieces: list[bytes]) -> None:
    hashers = Hashers(BOTH)
    for piece in pieces:
        hashers.update(piece)
    for secret in BOTH:
        assert hashers.is_signed(sign(b"".join(pieces), secret).decode())
    assert not hashers.is_signed(sign(b"".join(pieces), "a third secret").decode())


@given(st.binary(min_size=1), st.integers(min_value=0))
def test_one_changed_bit_is_noticed(body: bytes, at: int) -> None:
    changed = bytearray(body)
    changed[at // 8 % len(body)] ^= 1 << at % 8
    assert not is_signed(sign(body, SECRET).decode(), bytes(changed), BOTH)


@pytest.mark.parametrize(
    ("sent", "arrived", "cause"),
    [
        (SENT, gzip.compress(SENT), Cause.COMPRESSED),
        (SENT, zlib.compress(SENT), Cause.COMPRESSED),
        (SENT, zstandard.ZstdCompressor().compress(SENT), Cause.COMPRESSED),
        (SENT, SENT + b"\n", Cause.ENDS),
        (SENT, b"\xef\xbb\xbf" + SENT, Cause.ENDS),
        (PLAIN, msgspec.json.format(PLAIN, indent=2), Cause.REWRITTEN),
        (SENT, PLAIN, Cause.REWRITTEN),
        (PLAIN, PLAIN.replace("ü".encode(), b"\\u00fc"), Cause.REWRITTEN),
        (PLAIN.replace(b"&", b"\\u0026").replace(b"<", b"\\u003c").replace(b">", b"\\u003e"),
         msgspec.json.format(PLAIN, indent=1), Cause.REWRITTEN),
        (b'{"a":"x\ny"}', b'{"a":"x\r\ny"}', Cause.REWRITTEN),
        (SENT, SENT.decode().encode("latin-1"), Cause.CHARSET),
        (SENT, SENT.decode("latin-1").encode(), Cause.CHARSET),
        (SENT, SENT.decode().encode("utf-16"), Cause.CHARSET),
        (SENT, b"", Cause.EMPTY),
        (SENT, SENT.replace(b"1.50", b"1.51"), None),
        (SENT, SENT.replace(b"1.50", b"1.51").replace(b",", b", "), Cause.LOOKS_REWRITTEN),
    ],
    ids=[
        "gzip", "deflate", "zstd", "a line feed more", "a byte order mark", "indented",
        "slashes unescaped", "escaped to ASCII", "Rails' escapes undone and indented",
        "line ends", "latin-1", "UTF-8 taken for latin-1", "UTF-16", "empty", "a digit changed",
        "a digit changed and white space",
    ],
)  # fmt: skip
def test_change_on_the_way_is_named_when_it_can_be_undone(
    sent: bytes, arrived: bytes, cause: Cause | None
) -> None:
    assert cause_of(sign(sent, OLD_SECRET).decode(), arrived, BOTH) is cause


def test_hex_digest_is_named() -> None:
    in_hex = "2c3511d40fceb4f02211eae906654171" + "00" * 16
    assert cause_of(in_hex, VECTOR, BOTH) is Cause.MALFORMED
    right = base64.b64decode(VECTOR_SIGNATURE).hex()
    assert cause_of(right, VECTOR, BOTH) is Cause.HEX


def test_another_secret_names_no_cause() -> None:
    topic, body = sample(1)
    assert topic
    assert cause_of(sign(body, "another-secret").decode(), body, BOTH) is None


@given(st.binary(max_size=200))
def test_looking_for_a_cause_breaks_on_no_body(body: bytes) -> None:
    cause_of(VECTOR_SIGNATURE, body, BOTH)
