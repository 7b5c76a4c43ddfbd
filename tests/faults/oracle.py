"""What was promised, kept apart from what Sluice says about it: the judge of the fault tests."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the stored events compare with the answers that were given."""

    sent: int
    accepted: int
    refused: int
    unanswered: int
    lost: tuple[int, ...]
    """Answered 202 and not stored."""
    doubled: tuple[int, ...]
    """Stored more than once."""
    smuggled: tuple[int, ...]
    """Refused, yet stored; or stored and never sent."""

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.doubled or self.smuggled)


@dataclass(slots=True)
class Oracle:
    """Remembers every event by its number, and what the client was told about it."""

    accepted: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    unanswered: set[int] = field(default_factory=set)
    """No answer arrived, or one that leaves it open (503 publish_timeout): either is right."""

    @property
    def highest(self) -> int:
        """The highest number that was sent; 0 for none."""
        return max((max(each, default=0) for each in self._all), default=0)

    @property
    def _all(self) -> tuple[set[int], ...]:
        return self.accepted, self.refused, self.unanswered

    def judge(self, stored: Iterable[tuple[int, int]]) -> Verdict:
        """Compare with the stored events, given as pairs of number and count."""
        counts = Counter(dict(stored))
        known = self.accepted | self.unanswered
        return Verdict(
            sent=len(known) + len(self.refused),
            accepted=len(self.accepted),
            refused=len(self.refused),
            unanswered=len(self.unanswered),
            lost=tuple(sorted(n for n in self.accepted if counts[n] == 0)),
            doubled=tuple(sorted(n for n, count in counts.items() if count > 1)),
            smuggled=tuple(sorted(n for n in counts if n not in known)),
        )
