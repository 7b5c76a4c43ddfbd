"""The script of faults: which request meets one, and what is done to it.

A fault waits for requests that match its paths, users and event types; it happens a number of
times, or to a share of them drawn from its own seed: the same traffic meets the same faults.
"""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

from tests.simulators.amplitude.rules import Checked
from tests.simulators.amplitude.wire import Event

MAX_FAULTS: Final = 64
MAX_SECONDS: Final = 3600.0

KINDS: Final = frozenset({"hang", "reset", "cut_body", "short_body", "html", "garbage", "slow"})
"""Besides any status from 300 to 599.

``hang``: no headers for ``seconds``, then the connection is cut. ``reset``: it is cut at once.
``cut_body``: a complete HTTP answer that holds half of the JSON. ``short_body``: the connection is
cut in the middle of the body. ``html``: a proxy's page with ``status`` (502). ``garbage``: 200 with
a body that is not JSON. ``slow``: the right answer, ``seconds`` later.
"""

GOOD_ANSWERS: Final = frozenset({"cut_body", "short_body", "garbage"})
"""These follow upon a 200, so what they answer was stored unless the script says otherwise."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """One line of the script."""

    kind: str
    is_stored: bool
    seconds: float = 60.0
    status: int = 502
    retry_after_s: int | None = None
    times: int | None = None
    """How often it still happens; None is without end."""
    rate: float = 1.0
    after: int = 0
    """How many requests that match pass first."""
    paths: tuple[str, ...] = ("/",)
    """Beginnings of the paths that it is about."""
    user_ids: Collection[str] = frozenset()
    event_types: Collection[str] = frozenset()
    dice: random.Random = field(default_factory=random.Random)
    happened: int = 0

    @property
    def is_spent(self) -> bool:
        """Whether it will not happen again."""
        return self.times is not None and self.happened >= self.times

    def meets(self, path: str, events: Sequence[Event]) -> bool:
        """Say whether this request meets the fault, and count it if so."""
        if self.is_spent or not path.startswith(self.paths):
            return False
        if self.user_ids and not any(event.user_id in self.user_ids for event in events):
            return False
        if self.event_types and not any(event.event_type in self.event_types for event in events):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.rate < 1.0 and self.dice.random() >= self.rate:
            return False
        self.happened += 1
        return True


def next_fault(script: list[Fault], path: str, events: Sequence[Event]) -> Fault | None:
    """Return the first fault that this request meets; those that are spent leave the script."""
    for fault in script:
        if fault.meets(path, events):
            if fault.is_spent:
                script.remove(fault)
            return fault
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class BadField:
    """Events that are refused by order, always the same ones."""

    name: str
    user_ids: Collection[str]
    event_types: Collection[str]
    share: float | None
    seed: int

    def indexes(self, checked: Checked) -> Iterator[int]:
        """Yield the index of each event that is to be refused."""
        for index, event in enumerate(checked.events):
            if (
                event.user_id in self.user_ids
                or event.event_type in self.event_types
                or (self.share is not None and self._is_drawn(event, self.share))
            ):
                yield index

    def _is_drawn(self, event: Event, share: float) -> bool:
        return crc32(f"{self.seed}:{event.insert_id}".encode()) < share * 2**32
