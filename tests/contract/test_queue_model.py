"""The local queue against a model of the protocol: random actions, the same answers."""

import asyncio
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from sluice.core.envelope import Envelope
from sluice.core.errors import QueueFullError
from sluice.queue.local import LocalOptions, LocalQueue
from sluice.queue.local_schema import MESSAGE_OVERHEAD_BYTES
from sluice.queue.protocol import Delivery
from tests.support.queues import TOPICS, make_envelope

MAX_BYTES = 30_000
SUBSCRIPTIONS = ("warehouse", "amplitude")


@dataclass(slots=True)
class Fate:
    """What one subscription made of one envelope."""

    envelope: Envelope
    attempt: int = 0
    lease_id: str = ""
    lease_until: float = 0.0
    is_dead: bool = False


@dataclass(slots=True)
class Model:
    """The protocol in a few lists."""

    now: float = 1_000_000.0
    fates: dict[str, list[Fate]] = field(
        default_factory=lambda: {name: [] for name in SUBSCRIPTIONS}
    )

    def stored_bytes(self) -> int:
        """Bodies that some subscription has not acknowledged, each with its overhead."""
        kept = {
            fate.envelope.envelope_id: len(fate.envelope.body) + MESSAGE_OVERHEAD_BYTES
            for fates in self.fates.values()
            for fate in fates
        }
        return sum(kept.values())

    def deliverable(self, subscription: str, max_messages: int, max_bytes: int) -> list[Fate]:
        """What a pull must give, in order."""
        taken: list[Fate] = []
        total = 0
        for fate in self.fates[subscription]:
            if fate.is_dead or fate.lease_until > self.now:
                continue
            total += fate.envelope.raw_bytes
            if len(taken) == max_messages or (taken and total > max_bytes):
                break
            taken.append(fate)
        return taken

    def held(self, delivery: Delivery) -> Fate | None:
        """The fate that this hand-over still decides about."""
        for fate in self.fates[delivery.subscription]:
            if fate.lease_id == delivery.lease_id and fate.envelope == delivery.envelope:
                return None if fate.is_dead else fate
        return None


class QueueMachine(RuleBasedStateMachine):
    """Publishes, pulls, settles, lets time pass and reopens, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.deliveries: list[Delivery] = []
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.queue = self._make_queue()

    def _make_queue(self) -> LocalQueue:
        return LocalQueue(
            Path(self.folder.name) / "queue.sqlite",
            LocalOptions(max_bytes=MAX_BYTES),
            topics=TOPICS,
            clock=lambda: self.model.now,
        )

    def _pick(self, picks: Iterable[int]) -> list[Delivery]:
        """Some of all hand-overs ever made, late ones included."""
        indexes = {pick % len(self.deliveries) for pick in picks}
        return [self.deliveries[index] for index in sorted(indexes)]

    @initialize()
    def open(self) -> None:
        self.runner.run(self.queue.__aenter__())

    def teardown(self) -> None:
        self.runner.run(self.queue.__aexit__())
        self.runner.close()
        self.folder.cleanup()

    @rule(bodies=st.lists(st.integers(0, 4_000), max_size=4), raw_bytes=st.integers(1, 2_000))
    def publish(self, bodies: list[int], raw_bytes: int) -> None:
        envelopes = [make_envelope(body_bytes=body, raw_bytes=raw_bytes) for body in bodies]
        needed = sum(body + MESSAGE_OVERHEAD_BYTES for body in bodies)
        fits = self.model.stored_bytes() + needed <= MAX_BYTES
        try:
            self.runner.run(self.queue.publish("events", envelopes))
        except QueueFullError:
            assert not fits
        else:
            assert fits or not envelopes
            for fates in self.model.fates.values():
                fates.extend(Fate(envelope) for envelope in envelopes)

    @rule(
        subscription=st.sampled_from(SUBSCRIPTIONS),
        max_messages=st.integers(1, 6),
        max_bytes=st.integers(1, 6_000),
        lease_s=st.sampled_from([5.0, 50.0]),
    )
    def pull(self, subscription: str, max_messages: int, max_bytes: int, lease_s: float) -> None:
        pulled = self.runner.run(
            self.queue.pull(
                subscription,
                max_messages=max_messages,
                max_bytes=max_bytes,
                lease_s=lease_s,
                wait_s=0,
            )
        )
        expected = self.model.deliverable(subscription, max_messages, max_bytes)
        assert [delivery.envelope for delivery in pulled] == [fate.envelope for fate in expected]
        for fate, delivery in zip(expected, pulled, strict=True):
            fate.attempt += 1
            fate.lease_id, fate.lease_until = delivery.lease_id, self.model.now + lease_s
            assert delivery.attempt == fate.attempt
        self.deliveries += pulled

    @precondition(lambda self: self.deliveries)
    @rule(picks=st.lists(st.integers(0, 1_000), max_size=4))
    def ack(self, picks: list[int]) -> None:
        chosen = self._pick(picks)
        self.runner.run(self.queue.ack(chosen))
        for delivery in chosen:
            if (fate := self.model.held(delivery)) is not None:
                self.model.fates[delivery.subscription].remove(fate)

    @precondition(lambda self: self.deliveries)
    @rule(picks=st.lists(st.integers(0, 1_000), max_size=4))
    def release(self, picks: list[int]) -> None:
        chosen = self._pick(picks)
        self.runner.run(self.queue.release(chosen))
        for delivery in chosen:
            if (fate := self.model.held(delivery)) is not None:
                fate.attempt -= 1
                fate.lease_id, fate.lease_until = "", 0.0

    @precondition(lambda self: self.deliveries)
    @rule(picks=st.lists(st.integers(0, 1_000), max_size=4), lease_s=st.sampled_from([1.0, 50.0]))
    def extend(self, picks: list[int], lease_s: float) -> None:
        chosen = self._pick(picks)
        extended = self.runner.run(self.queue.extend(chosen, lease_s=lease_s))
        expected: list[Delivery] = []
        for delivery in chosen:
            fate = self.model.held(delivery)
            if fate is not None and fate.lease_until > self.model.now:
                fate.lease_until = self.model.now + lease_s
                expected.append(delivery)
        assert extended == expected

    @precondition(lambda self: self.deliveries)
    @rule(pick=st.integers(0, 1_000))
    def dead_letter(self, pick: int) -> None:
        [delivery] = self._pick([pick])
        self.runner.run(self.queue.dead_letter([delivery], reason="judged"))
        if (fate := self.model.held(delivery)) is not None:
            fate.is_dead = True

    @rule(seconds=st.sampled_from([1.0, 10.0, 100.0]))
    def pass_time(self, seconds: float) -> None:
        self.model.now += seconds

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.queue.__aexit__())
        self.queue = self._make_queue()
        self.runner.run(self.queue.__aenter__())

    @invariant()
    def figures_are_exact(self) -> None:
        for subscription, fates in self.model.fates.items():
            backlog = self.runner.run(self.queue.backlog(subscription))
            live = [fate for fate in fates if not fate.is_dead]
            assert backlog.messages == len(live)
            assert backlog.events == sum(fate.envelope.count for fate in live)
            assert backlog.bytes == sum(fate.envelope.raw_bytes for fate in live)
            assert backlog.leased == sum(fate.lease_until > self.model.now for fate in live)
            assert backlog.dead == len(fates) - len(live)
        state = self.runner.run(self.queue.state())
        assert state.stored_bytes == self.model.stored_bytes()
        assert state.condition in {"ok", "full"}


QueueMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestQueueModel = QueueMachine.TestCase
