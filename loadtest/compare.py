"""``sluice-loadtest compare A B``: ratios of two results with their spread, and what is noise.

Each figure has one value a round. The ratio is that of the medians; its spread is the smallest and
the largest ratio of any round of B to any round of A. Where 1 lies within the spread the rounds
overlap, so the difference is noise. Fewer than three rounds on a side say nothing about noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from loadtest.results import Result

MIN_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of two results."""

    figure: str
    before: float
    after: float
    ratio: float
    low: float
    high: float
    verdict: str
    """``noise``, ``higher``, ``lower``, or ``too few rounds``."""


def compare(a: Result, b: Result) -> list[Comparison]:
    """Return the figures that both results have, in the order of the first."""
    compared = []
    for name in a.rounds[0].figures:
        before = [each.figures[name] for each in a.rounds if name in each.figures]
        after = [each.figures[name] for each in b.rounds if name in each.figures]
        if after and min(before) > 0 and min(after) > 0:
            compared.append(compare_values(name, before, after))
    return compared


def compare_values(name: str, before: Sequence[float], after: Sequence[float]) -> Comparison:
    """Compare the rounds of one figure; all values are above 0."""
    low, high = min(after) / max(before), max(after) / min(before)
    if min(len(before), len(after)) < MIN_ROUNDS:
        verdict = "too few rounds"
    elif low <= 1 <= high:
        verdict = "noise"
    else:
        verdict = "higher" if low > 1 else "lower"
    ratio = median(after) / median(before)
    return Comparison(name, median(before), median(after), ratio, low, high, verdict)


def differences(a: Result, b: Result) -> list[str]:
    """Return what besides the code differs, so that ratios may mean something else."""
    pairs = {
        "scenario": (a.scenario, b.scenario),
        "machine": (a.machine, b.machine),
        "versions": (a.versions, b.versions),
        "options": (a.options, b.options),
        "backend": (a.target.backend, b.target.backend),
        "parts": (a.target.parts, b.target.parts),
        "cores": (
            (a.target.server_cores, a.target.load_cores),
            (b.target.server_cores, b.target.load_cores),
        ),
    }
    return [f"{name}: {old} and {new}" for name, (old, new) in pairs.items() if old != new]
