"""Content encodings and ClickHouse's compressed blocks, fed in pieces of any size."""

import gzip
import zlib
from collections.abc import Callable

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sluice.warehouse.server.blocks import BlockDecoder, BlockEncoder, pack_block
from sluice.warehouse.server.codecs import Decoder, choose_encoding, decoder, encoder
from sluice.warehouse.server.errors import StatementError

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
    "identity": bytes,
}

# Two blocks as ClickHouse 26.9 wrote them into data parts: below and above 128 bytes to hash.
WRITTEN_BY_THE_ENGINE = (
    "5425cfa94b503e81a6beb04656de6f18821c00000018000000220100010012020700900000067365676f7073",
    "5a914260cb63756ca5268b4dbb889abf821b010000000001008f00202110d70d06000800"
    + "ff" * 256
    + "e05010d70d0600",
)


def fed(each: Decoder, data: bytes, step: int) -> bytes:
    plain = b"".join(each.feed(data[at : at + step]) for at in range(0, len(data), step))
    each.finish()
    return plain


@pytest.mark.parametrize("encoding", PACK)
@given(
    parts=st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4),
    step=st.integers(1, 64),
)
def test_decoder_gives_the_body_back_when_frames_follow_each_other_in_pieces(
    encoding: str, parts: list[bytes], step: int
) -> None:
    packed = b"".join(map(PACK[encoding], parts))
    assert fed(decoder(encoding), packed, step) == b"".join(parts)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "lz4"])
def test_decoder_refuses_the_body_when_it_breaks_off_or_is_something_else(encoding: str) -> None:
    packed = PACK[encoding](b"x" * 1000)
    with pytest.raises(StatementError) as caught:
        fed(decoder(encoding), packed[:-3], 16)
    assert caught.value.status == 400
    with pytest.raises(StatementError):
        fed(decoder(encoding), b"not packed at all", 16)


def test_decoder_is_refused_when_the_encoding_is_unknown() -> None:
    with pytest.raises(StatementError) as caught:
        decoder("br")
    assert caught.value.status == 501


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "lz4"])
@pytest.mark.parametrize("parts", [[], [b"a"], [b"a" * 70_000, b"b"]])
def test_encoder_makes_what_the_decoder_reads_when_the_body_comes_in_parts(
    encoding: str, parts: list[bytes]
) -> None:
    packer = encoder(encoding)
    packed = b"".join(packer.feed(part) for part in parts) + packer.finish()
    assert fed(decoder(encoding), packed, 4096) == b"".join(parts)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("gzip, deflate", "gzip"),
        ("zstd,lz4,br", "lz4"),
        ("gzip;q=0, deflate", "deflate"),
        ("br", None),
        ("", None),
    ],
)
def test_encoding_is_the_cheapest_of_those_offered_when_there_is_a_choice(
    accept: str, expected: str | None
) -> None:
    assert choose_encoding(accept) == expected


@pytest.mark.parametrize("block", WRITTEN_BY_THE_ENGINE)
def test_block_is_read_when_the_engine_itself_wrote_it(block: str) -> None:
    assert BlockDecoder().feed(bytes.fromhex(block))


@given(st.lists(st.binary(max_size=400), max_size=4), st.integers(1, 50))
def test_blocks_give_the_bytes_back_when_they_come_in_pieces(parts: list[bytes], step: int) -> None:
    packer = BlockEncoder()
    packed = b"".join(map(packer.feed, parts)) + packer.finish()
    assert fed(BlockDecoder(), packed, step) == b"".join(parts)


@pytest.mark.parametrize("at", [0, 16, 17, 30])
def test_block_is_refused_when_one_byte_of_it_changed(at: int) -> None:
    block = bytearray(pack_block(b"some plain bytes, more than sixteen of them"))
    block[at] ^= 1
    with pytest.raises(StatementError):
        fed(BlockDecoder(), bytes(block), 1000)


def test_blocks_are_refused_when_the_last_one_breaks_off() -> None:
    with pytest.raises(StatementError):
        fed(BlockDecoder(), pack_block(b"plain")[:-1], 1000)
