"""Latencies in HdrHistograms: exact to three digits, merged without loss, read by its own tools.

Values are whole microseconds from 1 µs to 10 minutes; what is outside counts as the nearest.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

LOWEST_US: Final = 1
HIGHEST_US: Final = 600_000_000
DIGITS: Final = 3


class Latencies:
    """How long answers took."""

    __slots__ = ("_histogram",)

    def __init__(self) -> None:
        self._histogram = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)

    def __len__(self) -> int:
        return int(self._histogram.get_total_count())

    def add(self, values_us: Sequence[int] | NDArray[np.uint32]) -> None:
        """Count values."""
        clipped = np.clip(np.asarray(values_us, dtype=np.int64), LOWEST_US, HIGHEST_US)
        values, counts = np.unique(clipped, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._histogram.record_value(value, count)

    def merge(self, other: "Latencies") -> None:
        """Add what another one counted."""
        if len(other):
            self._histogram.add(other._histogram)  # noqa: SLF001 - the same class

    def quantile_ms(self, share: float) -> float:
        """Return the time within which a share of the answers came, in ms; 0 without answers."""
        if not len(self):
            return 0.0
        return float(self._histogram.get_value_at_percentile(share * 100)) / 1e3

    def max_ms(self) -> float:
        """Return the longest time, in ms; 0 without answers."""
        return float(self._histogram.get_max_value()) / 1e3 if len(self) else 0.0

    def encode(self) -> str:
        """Return it in HdrHistogram's own compressed text (V2, zlib, Base64)."""
        text: bytes = self._histogram.encode()
        return text.decode()

    @classmethod
    def decode(cls, text: str) -> "Latencies":
        """Return what ``encode`` wrote."""
        latencies = cls()
        latencies._histogram.decode_and_add(text.encode())
        return latencies


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the ordered values lie; 0 of none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
