"""A Bloom filter over event ids: says "certainly new", or "perhaps seen".

Ids are version 5 UUIDs, which SHA-1 has mixed already (the tenant too). The upper half of an id
chooses a block of 512 bits, one cache line; pieces of the lower half choose the bits in it (Putze,
Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters"). At 10 bits a key about 1 in
90 new keys is taken for seen, which costs a look-up and nothing else.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

BITS_PER_KEY: Final = 10
HASHES: Final = 5
_BLOCK_BITS: Final = 512
_PIECE: Final = np.uint64(_BLOCK_BITS - 1)
_PIECE_SHIFTS: Final = np.arange(HASHES, dtype=np.uint64) * np.uint64(9)

Halves = npt.NDArray[np.uint64]
"""Shape (n, 2): the upper and the lower 64 bits of each id."""


def halves_of_text(ids: Sequence[str]) -> Halves:
    """Return the ids' halves.

    Raises:
        ValueError: An id is not a UUID in text form.
    """
    data = bytes.fromhex("".join(ids).replace("-", ""))
    if len(data) != 16 * len(ids):
        message = "an id is not a UUID"
        raise ValueError(message)
    return np.frombuffer(data, dtype=">u8").astype(np.uint64).reshape(-1, 2)


def halves_of_row_binary(data: bytes) -> Halves:
    """Return the halves of ids as ClickHouse's RowBinary writes them; only whole ones."""
    return np.frombuffer(data, dtype="<u8").astype(np.uint64, copy=False).reshape(-1, 2)


class KeyFilter:
    """A set of ids that may take a new one for a member, never a member for new."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.count = 0
        """How many were added; the same twice counts twice."""
        blocks = max(1, capacity * BITS_PER_KEY // _BLOCK_BITS + 1)
        self._blocks = np.uint64(blocks)
        # The pages of untouched zeros take no memory until they are written to.
        self._table = np.zeros(blocks * _BLOCK_BITS // 8, dtype=np.uint8)

    @property
    def is_full(self) -> bool:
        """Whether it holds as many as it was made for; past that it is wrong too often."""
        return self.count >= self.capacity

    def add(self, ids: Halves) -> None:
        """Make the ids members."""
        places = self._places(ids).ravel()
        bytes_, bits = places >> 3, places & 7
        for bit in range(8):
            # All of one pass set the same bit, so that bytes named twice do no harm.
            self._table[bytes_[bits == bit]] |= np.uint8(1 << bit)
        self.count += len(ids)

    def contains(self, ids: Halves) -> npt.NDArray[np.bool_]:
        """Return for each id whether it is perhaps a member."""
        places = self._places(ids)
        hits = (self._table[places >> 3] >> (places & 7).astype(np.uint8)) & 1
        return np.asarray(hits.all(axis=1), dtype=np.bool_)

    def _places(self, ids: Halves) -> npt.NDArray[np.intp]:
        """Return the numbers of each id's bits, shape (n, HASHES)."""
        blocks = (ids[:, :1] % self._blocks) * np.uint64(_BLOCK_BITS)
        return (blocks + ((ids[:, 1:] >> _PIECE_SHIFTS) & _PIECE)).astype(np.intp)
