"""The shipped rules in a hurry: each duration divided by one number, nothing else changed.

Scaled are ranges (``[5m]``, ``[14d:1h]``), offsets, ``for``, ``interval``, and thresholds that are
times, which the rules write as ``N * 60``, ``N * 3600`` and ``N * 86400``. Not scaled are shares,
counts, and the bounds of histograms, which Sluice measures in true seconds.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Pace:
    """How much faster than in earnest a drill goes."""

    factor: int
    """Every duration of the rules is divided by it."""
    scrape_s: int
    """Between two scrapes, and how long one may take."""


QUICK: Final = Pace(60, 1)
"""A minute becomes a second, an hour a minute."""
STEADY: Final = Pace(20, 3)
"""For drills in which the queue hangs: a gateway then waits 2 s for it before it answers."""

_UNIT_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION: Final = re.compile(
    r"(?P<before>\[|(?<=\d[smhd]):|offset |for: |interval: )(?P<count>\d+)(?P<unit>[smhd])\b"
)
_THRESHOLD: Final = re.compile(r"\* (?P<seconds>60|3600|86400)\b")


def scaled(text: str, factor: int) -> str:
    """Return the text of a file of rules with every duration divided by ``factor``."""

    def shorter(match: re.Match[str]) -> str:
        duration_s = int(match["count"]) * _UNIT_S[match["unit"]]
        return f"{match['before']}{duration_s * 1_000 // factor}ms"

    def sooner(match: re.Match[str]) -> str:
        return f"* {int(match['seconds']) / factor:g}"

    return _THRESHOLD.sub(sooner, _DURATION.sub(shorter, text))
