"""ClickHouse's own compressed blocks (``compress=1``, ``decompress=1``), as JDBC uses them.

A block is a checksum (CityHash128 of version 1.0.2, 16 bytes, little-endian), one byte of method,
the size of the block without the checksum (4 bytes), the plain size (4 bytes), the packed bytes.
"""

import struct
from typing import Final

import lz4.block
import zstandard

from sluice.warehouse.server.cityhash import city_hash_128
from sluice.warehouse.server.codecs import undecodable

HEADER: Final = struct.Struct("<BII")
CHECKSUM: Final = struct.Struct("<QQ")
NONE, LZ4, ZSTD = 0x02, 0x82, 0x90
BLOCK_BYTES: Final = 256 * 1024
MAX_BLOCK_BYTES: Final = 64 * 1024 * 1024


def pack_block(plain: bytes) -> bytes:
    """Return one block."""
    packed: bytes = lz4.block.compress(plain, store_size=False)
    body = HEADER.pack(LZ4, HEADER.size + len(packed), len(plain)) + packed
    return CHECKSUM.pack(*city_hash_128(body)) + body


def unpack_block(checksum: bytes, body: bytes) -> bytes:
    """Return the plain bytes of one block.

    Raises:
        StatementError: The checksum is wrong, the method unknown, or the data does not unpack.
    """
    if CHECKSUM.pack(*city_hash_128(body)) != checksum:
        raise undecodable("made of compressed blocks: a checksum does not match")
    method, _, size = HEADER.unpack_from(body)
    if size > MAX_BLOCK_BYTES:
        raise undecodable(f"made of blocks of at most {MAX_BLOCK_BYTES} bytes")
    packed = body[HEADER.size :]
    try:
        if method == LZ4:
            plain: bytes = lz4.block.decompress(packed, uncompressed_size=size)
        elif method == ZSTD:
            plain = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
        elif method == NONE:
            plain = packed
        else:
            raise undecodable(f"packed with a known method: {method:#x}")
    except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
        raise undecodable(f"made of compressed blocks: {error}") from None
    if len(plain) != size:
        raise undecodable("made of compressed blocks: a size does not match")
    return plain


class BlockEncoder:
    """Packs portions into blocks."""

    def __init__(self) -> None:
        self._is_empty = True

    def feed(self, data: bytes) -> bytes:
        """Return the blocks that hold ``data``."""
        self._is_empty = self._is_empty and not data
        return b"".join(
            pack_block(data[at : at + BLOCK_BYTES]) for at in range(0, len(data), BLOCK_BYTES)
        )

    def finish(self) -> bytes:
        """Return nothing: every portion was packed at once."""
        return b""


class BlockDecoder:
    """Unpacks blocks from portions that begin and end anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Return the plain bytes of all blocks that are complete by now."""
        rest = self._rest + data
        at = 0
        plain = []
        start = CHECKSUM.size
        while len(rest) - at >= start + HEADER.size:
            _, size, _ = HEADER.unpack_from(rest, at + start)
            if not HEADER.size <= size <= MAX_BLOCK_BYTES:
                raise undecodable("made of compressed blocks: a size is out of range")
            if len(rest) - at < start + size:
                break
            plain.append(unpack_block(rest[at : at + start], rest[at + start : at + start + size]))
            at += start + size
        self._rest = rest[at:]
        return b"".join(plain)

    def finish(self) -> None:
        """Say that nothing follows.

        Raises:
            StatementError: The last block is not complete.
        """
        if self._rest:
            raise undecodable("whole: the last compressed block breaks off")
