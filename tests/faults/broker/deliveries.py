"""What the broker may do to deliveries by its own rules, all at once to every message.

The gate stands between emulator and workers. Totals must stay exact: an insert that is done twice,
by two workers at the same time too, adds nothing.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlsplit

import grpc
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport
from google.pubsub_v1.types import AcknowledgeRequest, PullRequest, PullResponse

from loadtest.pubsub_gate import Act, Forward, PubSubGate
from tests.faults.broker.stack import BrokerStack, running
from tests.faults.broker.trial import Report, trial
from tests.faults.traffic import RATE_PER_S
from tests.support.broker_proxy import BrokerProxy

INSERT_DELAY_S: Final = 0.3
"""How much longer each statement takes while leases end in the middle of inserts."""
HELD_S: Final = (0.05, 0.25)
"""How long a lease lasts: shorter than one statement."""
REVERSED_LEASE_S: Final = 60
QUIET_S: Final = 1.0
"""So long nothing comes before all is believed to be there."""
PULL_MESSAGES: Final = 1_000
CALL_TIMEOUT_S: Final = 10.0
COPIES: Final = 3
AGAIN_SHARE: Final = 0.1
FAULTS: Final = ("expired leases", "lost acks", "three times", "reversed")

_Received = Any
"""A ``ReceivedMessage`` in protobuf."""


@dataclass(slots=True)
class DeliveryFaults:
    """Disturbs what passes the gate; an async context manager."""

    emulator: str
    host: str = field(init=False, default="")
    """``host:port`` of the gate, for workers."""
    seen: dict[str, str] = field(init=False, default_factory=dict)
    """The lease under which each message was delivered first, by its id."""
    disturbed: int = field(init=False, default=0)
    """How many messages met the fault."""
    _acked: set[str] = field(init=False, default_factory=set)
    _copies: list[_Received] = field(init=False, default_factory=list)
    _reversed: list[_Received] | None = field(init=False, default=None)
    """What is left of the messages that were turned round; None before that."""
    _chance: random.Random = field(init=False, default_factory=random.Random)
    _may_go: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _gathering: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _gate: PubSubGate = field(init=False)
    _subscriber: SubscriberAsyncClient = field(init=False)
    _tasks: asyncio.TaskGroup = field(init=False)
    _open: AsyncExitStack = field(init=False, default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        """Open the gate and a way of one's own to the emulator."""
        channel = await self._open.enter_async_context(grpc.aio.insecure_channel(self.emulator))
        transport = SubscriberGrpcAsyncIOTransport(channel=channel)
        self._subscriber = SubscriberAsyncClient(transport=transport)
        self._tasks = await self._open.enter_async_context(asyncio.TaskGroup())
        self._gate = await self._open.enter_async_context(PubSubGate(self.emulator))
        self.host = self._gate.host
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Break what is open."""
        await self._open.aclose()

    def use(self, fault: str) -> None:
        """Begin with a fault, and forget the messages of the one before."""
        self.seen.clear()
        self._acked.clear()
        self._copies.clear()
        self._reversed = None
        self.disturbed = 0
        self._may_go.clear()
        self._gate.acts.clear()
        acts: dict[str, dict[str, Act]] = {
            "expired leases": {"Pull": self._pull_for_a_moment, "Acknowledge": self._note_ack},
            "lost acks": {"Pull": self._pull, "Acknowledge": self._lose_first_ack},
            "three times": {"Pull": self._pull_copies, "Acknowledge": self._ack_originals},
            "reversed": {"Pull": self._pull_reversed},
        }
        self._gate.acts |= {call: _on_warehouse(act) for call, act in acts[fault].items()}

    def let_go(self) -> None:
        """Deliver what was held back to be turned round."""
        self._may_go.set()

    # Leases that end while the worker inserts.

    async def _pull_for_a_moment(self, request: bytes, forward: Forward) -> bytes:
        answer = await forward(request)
        if fresh := self._fresh(answer):
            subscription = PullRequest.deserialize(request).subscription
            self._tasks.create_task(self._end_leases(subscription, fresh))
        return answer

    async def _end_leases(self, subscription: str, leases: list[str]) -> None:
        await asyncio.sleep(self._chance.uniform(*HELD_S))
        self.disturbed += sum(lease not in self._acked for lease in leases)
        await self._give_back(subscription, leases)

    async def _note_ack(self, request: bytes, forward: Forward) -> bytes:
        self._acked.update(AcknowledgeRequest.deserialize(request).ack_ids)
        return await forward(request)

    # Acknowledgements that do not arrive.

    async def _pull(self, request: bytes, forward: Forward) -> bytes:
        answer = await forward(request)
        self._fresh(answer)
        return answer

    async def _lose_first_ack(self, request: bytes, forward: Forward) -> bytes:
        given = AcknowledgeRequest.deserialize(request)
        firsts = set(self.seen.values()) - self._acked
        lost = [lease for lease in given.ack_ids if lease in firsts]
        self._acked.update(lost)
        self.disturbed += len(lost)
        kept = [lease for lease in given.ack_ids if lease not in firsts]
        await self._give_back(given.subscription, lost)  # instead of the end of their leases
        if not kept:
            return b""
        return await forward(
            AcknowledgeRequest.serialize(
                AcknowledgeRequest(subscription=given.subscription, ack_ids=kept)
            )
        )

    # Copies.

    async def _pull_copies(self, request: bytes, forward: Forward) -> bytes:
        if self._copies:
            wanted = PullRequest.deserialize(request).max_messages
            now, self._copies = self._copies[:wanted], self._copies[wanted:]
            return _answer(now)
        answer = await forward(request)
        received = _received(answer)
        self.disturbed += len(received)
        for number in range(1, COPIES):
            for one in received:
                copy = type(one)()
                copy.CopyFrom(one)
                copy.ack_id = f"copy-{number}-{one.ack_id}"
                self._copies.append(copy)
        return answer

    async def _ack_originals(self, request: bytes, forward: Forward) -> bytes:
        given = AcknowledgeRequest.deserialize(request)
        kept = [lease for lease in given.ack_ids if not lease.startswith("copy-")]
        if not kept:
            return b""
        return await forward(
            AcknowledgeRequest.serialize(
                AcknowledgeRequest(subscription=given.subscription, ack_ids=kept)
            )
        )

    # The last comes first.

    async def _pull_reversed(self, request: bytes, forward: Forward) -> bytes:
        given = PullRequest.deserialize(request)
        async with self._gathering:
            await self._may_go.wait()
            if self._reversed is None:
                self._reversed = await self._gather(given.subscription)
            now = self._reversed[: given.max_messages]
            del self._reversed[: given.max_messages]
        return _answer(now) if now else await forward(request)

    async def _gather(self, subscription: str) -> list[_Received]:
        """Take all messages out of the emulator, and turn them round."""
        gathered: list[_Received] = []
        while received := await self._take(subscription):
            gathered += received
        self.disturbed = len(gathered)
        return gathered[::-1]

    async def _take(self, subscription: str) -> list[_Received]:
        try:
            async with asyncio.timeout(QUIET_S):
                response = await self._subscriber.pull(
                    subscription=subscription, max_messages=PULL_MESSAGES, retry=None
                )
        except TimeoutError:
            return []
        received = list(PullResponse.pb(response).received_messages)
        await self._modify(subscription, [one.ack_id for one in received], seconds=REVERSED_LEASE_S)
        return received

    # Leases.

    def _fresh(self, answer: bytes) -> list[str]:
        """Note messages that were not delivered before, and return their leases."""
        fresh = [one for one in _received(answer) if one.message.message_id not in self.seen]
        self.seen.update((one.message.message_id, one.ack_id) for one in fresh)
        return [one.ack_id for one in fresh]

    async def _give_back(self, subscription: str, leases: list[str]) -> None:
        await self._modify(subscription, leases, seconds=0)

    async def _modify(self, subscription: str, leases: list[str], *, seconds: int) -> None:
        if leases:
            await self._subscriber.modify_ack_deadline(
                subscription=subscription,
                ack_ids=leases,
                ack_deadline_seconds=seconds,
                retry=None,
                timeout=CALL_TIMEOUT_S,
            )


def _on_warehouse(act: Act) -> Act:
    """Let calls about other subscriptions pass: no message of one may come out of another."""

    async def acted(request: bytes, forward: Forward) -> bytes:
        # In both requests the subscription is the first field.
        is_warehouse = PullRequest.deserialize(request).subscription.endswith("warehouse")
        return await (act(request, forward) if is_warehouse else forward(request))

    return acted


def _received(answer: bytes) -> list[_Received]:
    return list(PullResponse.pb(PullResponse.deserialize(answer)).received_messages)


def _answer(received: Iterable[_Received]) -> bytes:
    made: bytes = PullResponse.pb(PullResponse(received_messages=received)).SerializeToString()
    return made


async def disturb(
    stack: BrokerStack,
    report: Report,
    *,
    seconds: float,
    seed: int,
    rate_per_s: int = RATE_PER_S,
    workers: int = 2,
) -> None:
    """Send for some seconds under each fault in turn, with so many workers behind the gate."""
    async with _gated_workers(stack, workers) as (faults, slow_warehouse):
        for fault in FAULTS:
            faults.use(fault)
            if fault == "expired leases":
                await slow_warehouse.use("delay", INSERT_DELAY_S)
            async with trial(stack, seed) as clients:
                clients.sender.again_share = AGAIN_SHARE
                await clients.sender.send(fault, seconds=seconds, rate_per_s=rate_per_s)
                faults.let_go()
                await clients.wait_until_visible(fault)
                await slow_warehouse.use("pass")
                outcome = await clients.judge()
            name = f"{fault}, {workers} worker{'s' if workers > 1 else ''}"
            report.say(
                name,
                f"messages {faults.disturbed} {outcome}",
                is_well=outcome.holds and faults.disturbed > 0,
            )


@asynccontextmanager
async def _gated_workers(
    stack: BrokerStack, count: int
) -> AsyncIterator[tuple[DeliveryFaults, BrokerProxy]]:
    """Put workers behind the gate in the place of the stack's, which start again in the end."""
    for worker in stack.workers:
        await worker.stop()
    parts = urlsplit(stack.warehouse_url)
    async with (
        DeliveryFaults(stack.emulator) as faults,
        BrokerProxy(f"{parts.hostname}:{parts.port}") as slow_warehouse,
    ):
        way = parts._replace(netloc=f"{parts.username}:{parts.password}@{slow_warehouse.host}")
        gated = [
            stack.new_worker(broker=faults.host, WAREHOUSE_URL=way.geturl()) for _ in range(count)
        ]
        async with running(*gated):
            yield faults, slow_warehouse
    for worker in stack.workers:
        await worker.start()
