"""A lane: events of some users of one tenant, in order, and what to send of them next. Pure.

The caller alternates ``next`` (what to send) and ``answered`` (what came of it) until nothing is
left to send. Every event given ends in exactly one of ``delivered``, ``dead``, ``parked`` or
``left``; a test proves it for any sequence of answers.

What the answer does not say is found by halving. A single event that is still refused without a
word, or as too large, is bad only if a harmless probe passes and it is refused again after that:
else the refusal is not about the event.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import msgspec

from worker.core.amplitude_answers import (
    Held,
    Refused,
    Suspect,
    Taken,
    Throttled,
    TooLarge,
    Verdict,
)

MAX_ROUNDS: Final = 20
"""Requests in which Amplitude named bad events one by one, before the rest is halved."""


class Item(msgspec.Struct, frozen=True, gc=False):
    """One event on its way."""

    tenant: str
    user_id: str
    event_id: str
    received_at: str
    row: bytes
    """As it came through the queue."""
    body: bytes
    """As Amplitude takes it."""
    place: int = 0
    """Where it stands in the lot; 0 for one that comes from the queue."""


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """Bounds of one request."""

    max_events: int = 1_000
    max_bytes: int = 900_000
    """Of the bodies of the events together, before compression."""


class Probe(Enum):
    """A request without events of ours, to learn whether anything at all is taken."""

    HARMLESS = "harmless"


@dataclass(slots=True)
class Settled:
    """What became of events so far."""

    delivered: list[Item] = field(default_factory=list)
    dead: list[tuple[Item, str, str]] = field(default_factory=list)
    """With reason and Amplitude's words."""
    parked: list[Item] = field(default_factory=list)
    """Of users that have to wait, in order."""
    throttled: dict[str, str] = field(default_factory=dict)
    """Users over their rate, with Amplitude's words."""
    over_quota: dict[str, str] = field(default_factory=dict)
    """Users over their day's quota."""
    left: list[Item] = field(default_factory=list)
    """Not settled because the whole project has to wait, in order."""
    held: Held | None = None
    """Why the project has to wait."""
    eps: int = 0
    """Events a second of one user that Amplitude named last; 0 if it named none."""
    smallest_refused_bytes: int = 0
    """Of a request that was too large; 0 if none was."""

    def hold(self, held: Held) -> None:
        """Note that the project has to wait; the first reason stays."""
        if self.held is None:
            self.held = held


@dataclass(slots=True)
class _Chunk:
    items: Sequence[Item]
    rounds: int = 0
    is_probed: bool = False
    """Whether it is one event that was refused while a harmless probe passed."""


class Lane:
    """The events of one lane and what became of them."""

    def __init__(self, items: Iterable[Item], limits: LaneLimits, settled: Settled) -> None:
        self._todo: deque[_Chunk] = deque()
        self._settled = settled
        self._limits = limits
        self._rest: deque[Item] = deque(items)
        self._sent: _Chunk | None = None
        self._is_probing = False
        self._suspicion: Suspect | None = None

    def next(self) -> Sequence[Item] | Probe | None:
        """Return what to send now; None when nothing is left to send."""
        if self._settled.held is not None:
            self.give_up()
            return None
        if self._is_probing:
            return Probe.HARMLESS
        while True:
            chunk = self._todo.popleft() if self._todo else self._cut()
            if chunk is None:
                return None
            waiting = self._without_waiting(chunk.items)
            if waiting:
                chunk.items = waiting
                self._sent = chunk
                return waiting

    def answered(self, verdict: Verdict) -> None:
        """Take the meaning of the answer to what ``next`` returned last."""
        if self._is_probing:
            self._probed(verdict)
            return
        chunk, self._sent = self._sent, None
        assert chunk is not None  # noqa: S101 - answered follows next
        match verdict:
            case Taken():
                self._settled.delivered += chunk.items
            case Refused(bad):
                self._refused(chunk, bad)
            case Throttled(users, quota_users, detail, eps):
                self._settled.throttled.update(dict.fromkeys(users, detail))
                self._settled.over_quota.update(dict.fromkeys(quota_users, detail))
                self._settled.eps = eps
                self._todo.appendleft(chunk)
            case TooLarge(detail):
                self._too_large(chunk, detail)
            case Suspect():
                self._suspect(chunk, verdict)
            case Held():
                self._todo.appendleft(chunk)
                self._settled.hold(verdict)
                self.give_up()

    def retry(self) -> None:
        """Send what ``next`` returned last once more: nobody knows whether it was taken."""
        if self._sent is not None:
            self._todo.appendleft(self._sent)
            self._sent = None

    def give_up(self) -> None:
        """Leave everything that is not settled, in order."""
        self.retry()
        for chunk in self._todo:
            self._settled.left += self._without_waiting(chunk.items)
        self._settled.left += self._without_waiting(self._rest)
        self._todo.clear()
        self._rest.clear()
        self._is_probing = False

    def _cut(self) -> _Chunk | None:
        items: list[Item] = []
        size = 0
        rest, limits = self._rest, self._limits
        while rest and len(items) < limits.max_events:
            size += len(rest[0].body) + 1
            if items and size > limits.max_bytes:
                break
            items.append(rest.popleft())
        return _Chunk(items) if items else None

    def _without_waiting(self, items: Iterable[Item]) -> list[Item]:
        """Park events of users that have to wait; return the others."""
        settled = self._settled
        if not settled.throttled and not settled.over_quota:
            return list(items)
        going: list[Item] = []
        for item in items:
            is_waiting = item.user_id in settled.throttled or item.user_id in settled.over_quota
            (settled.parked if is_waiting else going).append(item)
        return going

    def _refused(self, chunk: _Chunk, bad: Mapping[int, str]) -> None:
        rest: list[Item] = []
        for index, item in enumerate(chunk.items):
            if index in bad:
                self._settled.dead.append((item, "rejected", bad[index]))
            else:
                rest.append(item)
        if not rest:
            return
        chunk.items = rest
        chunk.rounds += 1
        if chunk.rounds >= MAX_ROUNDS and len(rest) > 1:
            self._halve(chunk)
        else:
            self._todo.appendleft(chunk)

    def _too_large(self, chunk: _Chunk, detail: str) -> None:
        size = sum(len(item.body) + 1 for item in chunk.items)
        if len(chunk.items) == 1:
            self._suspect(chunk, Suspect("too_large", detail))
            return
        smallest = self._settled.smallest_refused_bytes
        self._settled.smallest_refused_bytes = min(smallest or size, size)
        self._halve(chunk)

    def _halve(self, chunk: _Chunk) -> None:
        middle = (len(chunk.items) + 1) // 2
        self._todo.appendleft(_Chunk(chunk.items[middle:]))
        self._todo.appendleft(_Chunk(chunk.items[:middle]))

    def _suspect(self, chunk: _Chunk, verdict: Suspect) -> None:
        if len(chunk.items) > 1:
            self._halve(chunk)
            return
        if verdict.reason == "not_counted":
            # It was answered 200: saying that it is dead would be bolder than what is known.
            self._settled.delivered.append(chunk.items[0])
            return
        if chunk.is_probed:
            self._settled.dead.append((chunk.items[0], verdict.reason, verdict.detail))
            return
        self._suspicion = verdict
        self._is_probing = True
        self._todo.appendleft(chunk)

    def _probed(self, verdict: Verdict) -> None:
        self._is_probing = False
        suspicion, self._suspicion = self._suspicion, None
        assert suspicion is not None  # noqa: S101 - a probe follows a suspicion
        match verdict:
            case Suspect() | TooLarge():
                self._settled.hold(Held("unavailable", suspicion.detail))
                self.give_up()
            case Held():
                self._settled.hold(verdict)
                self.give_up()
            case _:
                # Anything that is about the probe's event shows that requests are read. Whether
                # they were a moment ago is known once the event is refused again.
                self._todo[0].is_probed = True
