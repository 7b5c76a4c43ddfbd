"""Who has a run: pure decisions over claims and signs of life.

A host claims a run in the epoch after the newest, looks at all claims then, and has the run if it
is alone there and nobody is beyond. Of two that race at least one sees both, since each writes
before it reads; who does not find itself alone yields. A claim that was yielded never had the run.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from worker.workflows.core.progress import Key


@dataclass(frozen=True, slots=True)
class Claim:
    """One host's claim to one run."""

    key: Key
    epoch: int
    host_id: str
    is_yielded: bool


@dataclass(frozen=True, slots=True)
class Sign:
    """A host's last sign of life."""

    host_id: str
    age_s: float
    is_stopped: bool


def by_run(claims: Iterable[Claim]) -> dict[Key, list[Claim]]:
    """Return claims by their runs."""
    found: dict[Key, list[Claim]] = {}
    for claim in claims:
        found.setdefault(claim.key, []).append(claim)
    return found


def living(signs: Iterable[Sign], lease_s: float) -> frozenset[str]:
    """Return the hosts that may still act on their runs."""
    return frozenset(
        sign.host_id for sign in signs if not sign.is_stopped and sign.age_s <= lease_s
    )


def next_epochs(
    wanted: Iterable[Key], claims: Mapping[Key, Sequence[Claim]], alive: AbstractSet[str]
) -> dict[Key, int]:
    """Return the runs that nobody alive has, with the epoch to claim each in."""
    found: dict[Key, int] = {}
    for key in wanted:
        held = claims.get(key, ())
        newest = max((claim.epoch for claim in held), default=0)
        if not any(
            claim.epoch == newest and not claim.is_yielded and claim.host_id in alive
            for claim in held
        ):
            found[key] = newest + 1
    return found


def won(
    asked: Mapping[Key, int], claims: Mapping[Key, Sequence[Claim]], host_id: str
) -> frozenset[Key]:
    """Return which of the runs that a host claimed, in the epochs that it did, are its own."""
    return frozenset(
        key
        for key, epoch in asked.items()
        if [claim.host_id for claim in claims.get(key, ()) if claim.epoch >= epoch] == [host_id]
    )


def untouched(
    held: Mapping[Key, int], claims: Mapping[Key, Sequence[Claim]], own: AbstractSet[str]
) -> dict[Key, int]:
    """Return the runs that nobody else had since an epoch, with the epoch to claim each in.

    Args:
        held: Runs and the epochs in which they were ours.
        claims: All claims to them.
        own: Every name that this process has had.
    """
    found: dict[Key, int] = {}
    for key, epoch in held.items():
        later = [claim for claim in claims.get(key, ()) if claim.epoch > epoch]
        if all(claim.is_yielded or claim.host_id in own for claim in later):
            found[key] = max((claim.epoch for claim in later), default=epoch) + 1
    return found


def in_turn(wanted: Iterable[Key], held: Iterable[Key]) -> list[Key]:
    """Return runs so that the tenants who have the fewest come first; of each in its own order."""
    counts = Counter(tenant for tenant, _ in held)
    ranked: list[tuple[int, Key]] = []
    for key in wanted:
        counts[key[0]] += 1
        ranked.append((counts[key[0]], key))
    return [key for _, key in sorted(ranked, key=lambda one: one[0])]


def placed(
    wanted: Iterable[Key], held: Collection[Key], *, free: int, spare: int, few: int
) -> list[Key]:
    """Return the runs that there is a place for.

    Args:
        wanted: Runs, the first to be placed first.
        held: Those that are there.
        free: Places for all; negative if some of the spare ones are taken.
        spare: Places beyond them, for tenants that have few runs.
        few: How many of a tenant's runs are few.
    """
    counts = Counter(tenant for tenant, _ in held)
    found: list[Key] = []
    for key in wanted:
        left = free - len(found)
        if left > 0 or (left > -spare and counts[key[0]] < few):
            counts[key[0]] += 1
            found.append(key)
    return found
