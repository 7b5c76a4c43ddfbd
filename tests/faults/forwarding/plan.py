"""What a run sends: events of real data for some tenants, and what has to become of each of them.

All of it is a function of the seed.
"""

import gzip
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import orjson

from sluice.core.outcomes import Fate

SLICES: Final = tuple(sorted((Path(__file__).parents[2] / "data").glob("*.ndjson")))
"""Small ones, 500 events each."""
THROTTLED_USERS: Final = 50
QUOTA_USERS: Final = 4
BAD_USERS: Final = 3
MAX_BAD_EVENTS: Final = 12
"""Users that are refused for good send few events: each costs many requests."""
MAX_FILTERED_SHARE: Final = 0.3


@dataclass(frozen=True, slots=True)
class Planned:
    """One event."""

    n: int
    """Its number among all events of all tenants."""
    user: str
    event_type: str
    body: dict[str, Any]
    """As it is sent to the gateway."""


@dataclass(slots=True)
class TenantPlan:
    """The events of one tenant in order, and who among its users meets what."""

    slug: str
    amplitude_key: str
    events: Sequence[Planned]
    filtered_type: str = ""
    """An event type that the tenant does not forward."""
    invalid: list[str] = field(default_factory=list)
    """Users whose events are named in a 400."""
    forbidden: list[str] = field(default_factory=list)
    """Users with whom a firewall answers 403, without a word about which event."""
    too_large: list[str] = field(default_factory=list)
    """Users with whom a request is too large, however small it is."""
    throttled: list[str] = field(default_factory=list)
    over_quota: list[str] = field(default_factory=list)

    def fate(self, event: Planned) -> Fate:
        """Return what has to become of an event in the end."""
        if event.event_type == self.filtered_type:
            return Fate.FILTERED
        if event.user in {*self.invalid, *self.forbidden, *self.too_large}:
            return Fate.DEAD
        return Fate.DELIVERED

    def shards(self, count: int) -> Iterator[Sequence[Planned]]:
        """Yield the events of each of some clients: all events of a user with the same one."""
        for shard in range(count):
            yield [one for one in self.events if crc32(one.user.encode()) % count == shard]


def make_plan(
    files: Sequence[Path], *, events: int, tenants: int, seed: int
) -> Sequence[TenantPlan]:
    """Return what to send: the files in turn, each tenant one of them, from its first line on."""
    dice = random.Random(seed)  # noqa: S311 - a seed names the run, it keeps no secret
    run = f"{seed:08x}"
    plans: list[TenantPlan] = []
    numbers = iter(range(events))
    for index in range(tenants):
        share = events // tenants + (index < events % tenants)
        slug = f"t{index}-{run}"
        lines = cycle(read_lines(files[index % len(files)]))
        planned = [
            _planned(run, n, line) for n, line in zip(islice(numbers, share), lines, strict=False)
        ]
        plan = TenantPlan(slug, f"key-{slug}", planned)
        _choose(plan, dice, throttled=THROTTLED_USERS // tenants + 1)
        plans.append(plan)
    return plans


def read_lines(path: Path) -> Sequence[bytes]:
    """Return the lines of a file, which may be packed."""
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()


def _planned(run: str, n: int, line: bytes) -> Planned:
    event = orjson.loads(line)
    event["event_id"] = f"{run}-{n}"
    event["payload"]["n"] = n
    return Planned(n, event["user_id"], event["event_type"], event)


def _choose(plan: TenantPlan, dice: random.Random, *, throttled: int) -> None:
    """Draw who meets what; nobody meets two things."""
    types = Counter(event.event_type for event in plan.events)
    rarest, count = min(types.items(), key=lambda item: (item[1], item[0]))
    if count < MAX_FILTERED_SHARE * len(plan.events):
        plan.filtered_type = rarest
    users = Counter(event.user for event in plan.events)
    by_count = [user for user, _ in sorted(users.items(), key=lambda item: (-item[1], item[0]))]
    plan.throttled = by_count[:throttled]
    rest = by_count[throttled:]
    few = [user for user in rest if users[user] <= MAX_BAD_EVENTS]
    drawn = iter(dice.sample(few, min(len(few), BAD_USERS + 2)))
    plan.invalid = _take(drawn, BAD_USERS)
    plan.forbidden = _take(drawn, 1)
    plan.too_large = _take(drawn, 1)
    bad = {*plan.invalid, *plan.forbidden, *plan.too_large}
    plan.over_quota = dice.sample([user for user in rest if user not in bad], QUOTA_USERS)


def _take(drawn: Iterable[str], count: int) -> list[str]:
    return list(islice(drawn, count))
