"""The judge: what was accepted against what Sluice says became of it, and what Amplitude took.

Order of acceptance: all events of a user come from one client, which sends a request once the one
before was answered 202. So the order of a user's events is the order of its requests, and within a
request the order in its list. Amplitude has to take them first in this order; copies may follow in
any, because it drops them by ``insert_id``.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sluice.core.outcomes import Fate
from tests.faults.forwarding.plan import Planned, TenantPlan

WORDS: Final = "Amplitude answered"
PROBE: Final = "sluice-probe"
"""The ``insert_id`` of what the worker sends to learn whether anything is taken; it is no event."""
SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Taken:
    """An event that the simulator has."""

    insert_id: str
    user: str
    copies: int
    """How often it came."""


@dataclass(frozen=True, slots=True)
class Told:
    """The last word of ``outcomes`` on one event."""

    fate: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything about one tenant, asked past Sluice's own answers."""

    event_ids: Mapping[int, str]
    """Of the stored events, by number."""
    outcomes: Mapping[str, Told]
    letters: Mapping[str, str]
    """Reasons of dead letters by event id."""
    taken: Sequence[Taken]
    """In the order taken."""


@dataclass(slots=True)
class Verdict:
    """What was found; each list names events or users for which a promise was broken."""

    accepted: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    requests_in_vain: int = 0
    """Copies that Amplitude dropped."""
    lost: list[str] = field(default_factory=list)
    """Accepted, and neither delivered nor known to be anything else."""
    doubled: list[str] = field(default_factory=list)
    """Kept twice by Amplitude."""
    untrue: list[str] = field(default_factory=list)
    """Said to be delivered and not taken, or taken and said to be dead or filtered."""
    wrong: list[str] = field(default_factory=list)
    """Became something else than it had to."""
    wordless: list[str] = field(default_factory=list)
    """Dead without a letter that has Amplitude's words."""
    disordered: list[str] = field(default_factory=list)
    """Users whose events were not taken in the order of acceptance."""

    @property
    def broken(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each promise with those for whom it was broken."""
        for name in ("lost", "doubled", "untrue", "wrong", "wordless", "disordered"):
            yield name, getattr(self, name)

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        balance = sum(self.fates.values()) == self.accepted
        return balance and not any(found for _, found in self.broken)

    def add(self, other: "Verdict") -> None:
        """Take over what was found for another tenant."""
        self.accepted += other.accepted
        self.fates += other.fates
        self.requests_in_vain += other.requests_in_vain
        for name, found in other.broken:
            getattr(self, name).extend(found)

    def lines(self) -> Iterator[tuple[str, str, bool]]:
        """Yield name, figures and whether it is well, for people."""
        fates = ", ".join(f"{fate} {self.fates[fate]}" for fate in Fate)
        yield "accepted", f"{self.accepted} = {fates}", sum(self.fates.values()) == self.accepted
        yield "copies dropped", str(self.requests_in_vain), True
        for name, found in self.broken:
            yield name, f"{len(found)} {', '.join(found[:SHOWN])}".strip(), not found


def judge(
    plan: TenantPlan,
    accepted: Sequence[Planned],
    found: Evidence,
    *,
    still_throttled: Collection[str] = (),
) -> Verdict:
    """Compare, event by event.

    Args:
        plan: What had to become of the events.
        accepted: Those that were answered 202, each user's in order of acceptance.
        found: What there is.
        still_throttled: Users whose events may wait still.
    """
    verdict = Verdict(accepted=len(accepted))
    taken = {one.insert_id: one for one in found.taken}
    verdict.requests_in_vain = sum(one.copies - 1 for one in found.taken)
    counts = Counter(one.insert_id for one in found.taken)
    verdict.doubled += [insert_id for insert_id, count in counts.items() if count > 1]
    known: set[str] = set()
    for event in accepted:
        name = f"{plan.slug} n={event.n} {event.user}"
        event_id = found.event_ids.get(event.n, "")
        told = found.outcomes.get(event_id)
        known.add(event_id)
        if told is None:
            verdict.lost.append(f"{name} ({'taken' if event_id in taken else 'not taken'})")
            continue
        verdict.fates[told.fate] += 1
        # One that waits may have been taken all the same, by a request whose answer was lost.
        is_taken = event_id in taken
        if told.fate != Fate.PARKED and (told.fate == Fate.DELIVERED) != is_taken:
            verdict.untrue.append(f"{name} is {told.fate} ({told.reason})")
        may_wait = told.fate == Fate.PARKED and event.user in still_throttled
        if told.fate != plan.fate(event) and not may_wait:
            verdict.wrong.append(f"{name} is {told.fate} ({told.reason} {told.detail})")
        if told.fate == Fate.DEAD and WORDS not in found.letters.get(event_id, ""):
            verdict.wordless.append(name)
    verdict.untrue += [
        f"{plan.slug} {one}: never accepted" for one in taken.keys() - known - {PROBE}
    ]
    verdict.disordered += _disordered(plan, accepted, found)
    return verdict


def _disordered(plan: TenantPlan, accepted: Sequence[Planned], found: Evidence) -> Iterator[str]:
    places = {one.insert_id: place for place, one in enumerate(found.taken)}
    numbers: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for event in accepted:
        place = places.get(found.event_ids.get(event.n, ""))
        if place is not None:
            numbers[event.user].append((place, event.n))
    for user, taken in numbers.items():
        if taken != (in_order := sorted(taken)):
            first = next(was for was, now in zip(taken, in_order, strict=True) if was != now)
            yield f"{plan.slug} {user} at n={first[1]}"
