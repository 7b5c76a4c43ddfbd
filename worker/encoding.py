"""Rows that the worker itself writes: structs or dicts to what ``Warehouse.insert_rows`` takes."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import zstandard

from sluice.core.envelope import ZSTD_LEVEL

_ENCODER: Final = msgspec.json.Encoder()


def compress(data: bytes) -> bytes:
    """Return NDJSON as one zstd frame. About 1 ms a megabyte: large ones belong in a thread."""
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(data)


def frames(rows: Sequence[Any]) -> bytes:
    """Return rows as NDJSON in one zstd frame."""
    return compress(_ENCODER.encode_lines(rows))
