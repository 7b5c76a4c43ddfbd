"""What a failed signature still tells: which change of the body, undone, makes it good again.

Kept are only the names below, never the body, the digest or a secret. A cause that is found this
way is certain, since nobody without the secret can make the signature match; ``EMPTY``,
``NOT_JSON`` and ``LOOKS_REWRITTEN`` are guesses.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import unhexlify
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from gateway.core.inflate import Encoding, InflatedTooLargeError, Inflater, UndecodableError
from gateway.sources.shopify_signature import is_signed

MAX_BODY_BYTES: Final = 1_048_576
"""Of a larger body only the signature's form is looked at."""
DIGEST_BYTES: Final = 32

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_MAGIC: Final[tuple[tuple[bytes, Encoding], ...]] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x78", "deflate"),
)


class Cause(StrEnum):
    """Why a signature does not match, as the sentence that stands in the error record."""

    HEX = "It is the right digest, in hex where base64 belongs."
    MALFORMED = "The header is not base64 of 32 bytes."
    COMPRESSED = "It matches the body once decompressed: something on the way compresses it."
    ENDS = "It matches the body without what stands at its ends: something on the way adds it."
    REWRITTEN = "It matches the same JSON written otherwise: something on the way rewrites it."
    CHARSET = "It matches the body in another charset: something on the way changes it."
    EMPTY = "The body is empty: something on the way may drop it."
    NOT_JSON = "The body is no JSON: it was changed on the way, or Shopify did not send it."
    LOOKS_REWRITTEN = "The JSON has white space that Shopify does not send."


def cause_of(header: str, body: bytes, secrets: Sequence[str]) -> Cause | None:
    """Return why the signature of a body does not match; None where nothing tells.

    Then the secret is another one, or the body was changed in a way that cannot be undone.
    """
    form = _form(header.strip(), body, secrets)
    if form is not None or len(body) > MAX_BODY_BYTES:
        return form
    for cause, undone in _undone(body):
        if undone != body and is_signed(header, undone, secrets):
            return cause
    if not body:
        return Cause.EMPTY
    compact = _compact(body)
    if not compact:
        return Cause.NOT_JSON
    return Cause.LOOKS_REWRITTEN if len(compact) < len(body) else None


def _form(header: str, body: bytes, secrets: Sequence[str]) -> Cause | None:
    try:
        if len(b64decode(header, validate=True)) == DIGEST_BYTES:
            return None
    except (Base64Error, ValueError):
        pass
    try:
        digest = unhexlify(header)
    except (Base64Error, ValueError):
        return Cause.MALFORMED
    in_base64 = msgspec.json.encode(digest).strip(b'"').decode()
    return Cause.HEX if is_signed(in_base64, body, secrets) else Cause.MALFORMED


def _undone(body: bytes) -> Iterator[tuple[Cause, bytes]]:
    inflated = _inflated(body)
    if inflated is not None:
        yield Cause.COMPRESSED, inflated
        return
    yield Cause.ENDS, body.removeprefix(b"\xef\xbb\xbf").strip()
    yield Cause.REWRITTEN, body.replace(b"\r\n", b"\n")
    for text in _written_otherwise(body):
        yield Cause.REWRITTEN, text
    for was, became in (("utf-8", "latin-1"), ("latin-1", "utf-8"), ("utf-16", "utf-8")):
        try:
            yield Cause.CHARSET, body.decode(was).encode(became)
        except UnicodeError:
            continue


def _written_otherwise(body: bytes) -> Iterator[bytes]:
    """Yield the same JSON without white space, then with the escapes that writers differ in.

    The order of keys and the digits of numbers cannot be brought back.
    """
    compact = _compact(body)
    if not compact:
        return
    yield compact
    plain = compact
    try:
        if b"\\" in compact:  # else it has no escape, and each string costs a call
            plain = _STRING.sub(_unescaped, compact)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    rails = plain
    for sign in (b"<", b">", b"&"):  # as Ruby on Rails writes them
        rails = rails.replace(sign, b"\\u%04x" % sign[0])
    for text in (plain, rails):
        yield text
        yield text.replace(b"/", b"\\/")


def _compact(body: bytes) -> bytes:
    try:
        return msgspec.json.format(body, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b""


def _unescaped(found: re.Match[bytes]) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(found[0], type=str))


def _inflated(body: bytes) -> bytes | None:
    for magic, encoding in _MAGIC:
        if body.startswith(magic):
            inflater = Inflater(encoding, max_bytes=8 * MAX_BODY_BYTES)
            try:
                inflater.feed(body)
                inflater.run()
                return inflater.finish()
            except (InflatedTooLargeError, UndecodableError):
                return None
    return None
