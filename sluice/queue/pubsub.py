"""The queue on Google Pub/Sub.

Constraints, in order of weight:

* ``publish`` returns after Pub/Sub has acknowledged every message. A publish that failed half-way
  may have stored some of it: the same envelope ids sent again change nothing downstream.
* One pull is kept waiting at the broker for each subscription that is consumed, across calls of
  ``pull``: a pull that is given up takes messages with it until their leases end. What arrives is
  handed out within its lease or forgotten, and comes again.
* Every call has a deadline. What a failure means is told by its status (``pubsub_faults``).

What Pub/Sub does not offer, and what stands in for it: it has no bound in bytes that could be full;
a release counts as an attempt; a lost lease is not seen by ``extend``; and a backlog is known only
as far as this process holds it, so that its age is a lower bound.

What a crash leaves: messages whose leases end within ``ACK_DEADLINE_S`` and that come again.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

from google.api_core import exceptions as google

from sluice.core.envelope import Envelope
from sluice.core.errors import QueueUnavailableError
from sluice.core.retry import backoff_s
from sluice.logs import get_logger
from sluice.queue.protocol import TOPICS, Backlog, Delivery, QueueState
from sluice.queue.pubsub_access import may_consume, may_publish
from sluice.queue.pubsub_connect import CALL_TIMEOUT_S, ENDPOINT, Clients
from sluice.queue.pubsub_faults import Fault, NotGrantedError
from sluice.queue.pubsub_link import LONGEST_CALL_S, PROBE_TIMEOUT_S, Link
from sluice.queue.pubsub_messages import PubsubMessage
from sluice.queue.pubsub_plan import ACK_DEADLINE_S, KEPT_S, PUBLISHER_ROLE, SUBSCRIBER_ROLE
from sluice.queue.pubsub_wire import (
    Names,
    in_requests,
    to_delivery,
    to_message,
    to_request,
    to_value,
)

T = TypeVar("T")

log: Final = get_logger(__name__)

PULL_TIMEOUT_S: Final = LONGEST_CALL_S
"""How long one pull waits at the broker; ends without harm when nothing comes."""
PULL_MESSAGES: Final = 100
PUBLISH_TIMEOUT_S: Final = 10.0
"""For one request; the edge has a shorter patience of its own (``spooled``)."""
MAX_IDS: Final = 1_000
"""Lease ids in one request; Pub/Sub bounds it to 512 KiB."""
MARGIN_S: Final = 2.0
"""A message that is handed out has at least this much of its lease left."""
PROBE_AFTER_S: Final = 5.0
WATCH_EVERY_S: Final = 1.0
SETTLE_S: Final = 30.0
"""A topic that was missing is not published to for so long: what it gets before its subscriptions
are made is lost, and a publisher may not look whether they are."""
PULL_BACKOFF_S: Final = (0.1, 5.0)
PULL_KEPT_S: Final = 1.0
"""A pull that ends empty sooner was not kept waiting: the next one is made after a pause."""
IN_VAIN_BACKOFF_S: Final = (0.05, 1.0)


@dataclass(slots=True)
class _Feed:
    """What was pulled for one subscription and is not handed out yet."""

    waiting: deque[tuple[Delivery, float]] = field(default_factory=deque)
    """Each with the monotonic time at which its lease ends."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    is_empty: asyncio.Event = field(default_factory=asyncio.Event)
    fault: Fault | None = None


class PubSubQueue:
    """The ``Queue`` protocol over Google Pub/Sub; an async context manager."""

    def __init__(
        self,
        names: Names,
        *,
        topics: Mapping[str, tuple[str, ...]] = TOPICS,
        endpoint: str = ENDPOINT,
        settle_s: float | None = None,
    ) -> None:
        self._names = names
        self._settle_s = SETTLE_S if settle_s is None else settle_s
        self._settling: dict[str, float | None] = {}
        """Topics that were missing, with the monotonic time at which they were seen at last."""
        self._topics = topics
        self._link = Link(names.project, endpoint)
        self._feeds: dict[str, _Feed] = {}
        self._held: dict[str, dict[str, tuple[Delivery, float]]] = {}
        """By subscription and lease: what was handed out, with the end of its lease."""
        self._tasks = asyncio.TaskGroup()
        self._pulling: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Connect; where that fails ``state`` says so, and each call tries again."""
        await self._tasks.__aenter__()
        await self.state()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Give back what was not handed out, then disconnect."""
        for task in self._pulling:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)
        for feed in self._feeds.values():
            left = [delivery for delivery, _ in feed.waiting]
            feed.waiting.clear()
            try:
                await self.release(left)
            except QueueUnavailableError as error:
                log.debug("Leases were left to run out", detail=str(error))
        await self._link.close()
        for feed in self._feeds.values():
            feed.news.set()

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        """Publish envelopes; durable on return. See ``Queue.publish``."""
        if topic not in self._topics:
            message = f"unknown topic {topic!r}"
            raise ValueError(message)
        await self._publish(self._names.topic(topic), envelopes)

    async def _publish(self, topic: str, envelopes: Sequence[Envelope], **more: str) -> None:
        for portion in in_requests(envelopes):
            await self._publish_messages(topic, [to_message(one, **more) for one in portion])

    async def _publish_messages(self, topic: str, messages: Sequence[Any]) -> None:
        if topic in self._settling:
            await self._probe(topic)
        request = to_request(topic, messages)
        await self._call_topic(
            lambda clients: clients.calls.publish(topic, request, timeout_s=PUBLISH_TIMEOUT_S),
            topic,
        )

    async def _call_topic(self, make: Callable[[Clients], Awaitable[T]], topic: str) -> T:
        try:
            return await self._link.call(make, topic, PUBLISHER_ROLE)
        except QueueUnavailableError as error:
            if isinstance(error.__cause__, google.NotFound | NotGrantedError):
                self._settling[topic] = None
            raise

    async def pull(
        self,
        subscription: str,
        *,
        max_messages: int,
        max_bytes: int,
        lease_s: float,
        wait_s: float,
    ) -> list[Delivery]:
        """Hand out what has arrived. See ``Queue.pull``."""
        feed = self._feed(subscription)
        deadline = time.monotonic() + wait_s
        while not (taken := self._take(feed, max_messages, max_bytes)):
            self._link.check_open()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                if feed.fault is not None:
                    raise QueueUnavailableError(feed.fault.sentence)
                return []
            try:
                async with asyncio.timeout(left_s):
                    await feed.news.wait()
            except TimeoutError:
                continue
        deliveries = [delivery for delivery, _ in taken]
        try:
            if lease_s != ACK_DEADLINE_S:
                await self._modify(deliveries, seconds=max(1, round(lease_s)))
        except BaseException:
            feed.waiting.extendleft(reversed(taken))
            raise
        self._hold(deliveries, lease_s)
        return deliveries

    def _take(self, feed: _Feed, max_messages: int, max_bytes: int) -> list[tuple[Delivery, float]]:
        taken: list[tuple[Delivery, float]] = []
        size = 0
        good_until = time.monotonic() + MARGIN_S
        while feed.waiting and len(taken) < max_messages:
            delivery, lease_end = feed.waiting[0]
            if lease_end >= good_until:
                size += delivery.envelope.raw_bytes
                if taken and size > max_bytes:
                    break
                taken.append(feed.waiting[0])
            feed.waiting.popleft()
        if not feed.waiting:
            feed.news.clear()
            feed.is_empty.set()
        return taken

    async def extend(self, deliveries: Sequence[Delivery], *, lease_s: float) -> list[Delivery]:
        """Renew leases; those that are lost cannot be told from the others."""
        await self._modify(deliveries, seconds=max(1, round(lease_s)))
        self._hold(deliveries, lease_s)
        return list(deliveries)

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give envelopes back at once."""
        self._forget(deliveries)
        await self._modify(deliveries, seconds=0)

    async def _modify(self, deliveries: Sequence[Delivery], *, seconds: int) -> None:
        for subscription, ids in _portions(deliveries):
            await self._modify_ids(self._names.subscription(subscription), ids, seconds)

    async def _modify_ids(self, name: str, ids: list[str], seconds: int) -> None:
        await self._link.call(
            lambda clients: clients.calls.modify_ack_deadline(
                name, ids, seconds=seconds, timeout_s=CALL_TIMEOUT_S
            ),
            name,
            SUBSCRIBER_ROLE,
        )

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge for good."""
        for subscription, ids in _portions(deliveries):
            await self._ack_ids(self._names.subscription(subscription), ids)
        self._forget(deliveries)

    async def _ack_ids(self, name: str, ids: list[str]) -> None:
        await self._link.call(
            lambda clients: clients.calls.acknowledge(name, ids, timeout_s=CALL_TIMEOUT_S),
            name,
            SUBSCRIBER_ROLE,
        )

    async def dead_letter(self, deliveries: Sequence[Delivery], *, reason: str) -> None:
        """Put envelopes aside in the topic of dead letters, with a reason."""
        for delivery in deliveries:
            await self._publish(
                self._names.dead_letters(),
                [delivery.envelope],
                subscription=delivery.subscription,
                reason=to_value(reason),
            )
        await self.ack(deliveries)

    async def backlog(self, subscription: str) -> Backlog:
        """Return what this process holds of the subscription: all that it can know.

        Raises:
            QueueUnavailableError: This process does not consume it, or cannot now.
        """
        self._check(subscription)
        if subscription not in self._feeds:
            message = f"The backlog of {subscription} is known to the worker that consumes it."
            raise QueueUnavailableError(message)
        fault = self._feeds[subscription].fault
        if fault is not None:
            raise QueueUnavailableError(fault.sentence)
        now = time.monotonic()
        held = self._held.setdefault(subscription, {})
        for lease_id in [one for one, (_, until) in held.items() if until < now]:
            del held[lease_id]
        waiting = [delivery for delivery, _ in self._feeds[subscription].waiting]
        known = [delivery for delivery, _ in held.values()] + waiting
        oldest = min((delivery.published_at for delivery in known), default=time.time())
        age_s = max(0.0, time.time() - oldest)
        return Backlog(
            messages=len(known),
            events=sum(delivery.envelope.count for delivery in known),
            bytes=sum(delivery.envelope.raw_bytes for delivery in known),
            oldest_age_s=age_s,
            leased=len(held),
            dead=0,
            time_to_loss_s=max(0.0, KEPT_S - age_s) if known else math.inf,
        )

    async def state(self) -> QueueState:
        """Return the condition from recent calls, or of a probe when idle. Never raises."""
        detail = ""
        topic = self._names.topic(next(iter(self._topics)))
        is_idle = time.monotonic() - self._link.answered_at > PROBE_AFTER_S
        is_known = topic not in self._settling and self._link.is_open
        if is_idle or self._link.fault is not None or not is_known:
            try:
                await self._probe(topic)
            except QueueUnavailableError as error:
                detail = str(error)
        return QueueState(
            condition="unavailable" if detail else "ok",
            detail=detail,
            since=self._link.since,
            stored_bytes=0,
            max_bytes=0,
            drain_bytes_per_s=0.0,
        )

    async def _probe(self, topic: str) -> None:
        await self._call_topic(
            lambda clients: may_publish(clients, topic, timeout_s=PROBE_TIMEOUT_S), topic
        )
        if topic not in self._settling:
            return
        now = time.monotonic()
        seen_at = self._settling[topic]
        if seen_at is None:
            seen_at = self._settling[topic] = now
        if now < seen_at + self._settle_s:
            message = (
                f"{topic} was missing until a moment ago: publishing begins in"
                f" {seen_at + self._settle_s - now:.0f} s, when its subscriptions are there."
            )
            raise QueueUnavailableError(message)
        del self._settling[topic]

    async def _probe_subscription(self, name: str) -> None:
        await self._link.call(
            lambda clients: may_consume(clients, name, timeout_s=PROBE_TIMEOUT_S),
            name,
            SUBSCRIBER_ROLE,
        )

    # Pulling.

    def _feed(self, subscription: str) -> _Feed:
        self._check(subscription)
        self._link.check_open()
        feed = self._feeds.get(subscription)
        if feed is None:
            feed = self._feeds[subscription] = _Feed()
            name = f"pull-{subscription}"
            self._pulling += [
                self._tasks.create_task(self._keep_pulling(subscription, feed), name=name),
                self._tasks.create_task(self._watch(subscription, feed), name=f"watch-{name}"),
            ]
        return feed

    async def _keep_pulling(self, subscription: str, feed: _Feed) -> None:
        failures = in_vain = 0
        while True:
            began = time.monotonic()
            try:
                if failures:  # a pull would tell only when something comes
                    await self._probe_subscription(self._names.subscription(subscription))
                    feed.fault = None
                has_come = await self._pull_into(subscription, feed)
                failures = 0
                feed.fault = None
            except QueueUnavailableError:
                failures += 1
                feed.fault = self._link.fault
                await asyncio.sleep(_pause_s(failures, PULL_BACKOFF_S))
                continue
            if has_come or time.monotonic() - began > PULL_KEPT_S:
                in_vain = 0
            else:
                in_vain += 1
                await asyncio.sleep(_pause_s(in_vain, IN_VAIN_BACKOFF_S))
            await feed.is_empty.wait()

    async def _watch(self, subscription: str, feed: _Feed) -> None:
        """Keep ``feed.fault`` true while nothing comes: a pull that waits tells nothing."""
        name = self._names.subscription(subscription)
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            if time.monotonic() - self._link.answered_at < 2 * WATCH_EVERY_S:
                continue
            try:
                await self._probe_subscription(name)
            except QueueUnavailableError:
                feed.fault = self._link.fault
            else:
                feed.fault = None

    async def _pull_into(self, subscription: str, feed: _Feed) -> bool:
        """Add to the feed what comes next; False when nothing comes for a while."""
        name = self._names.subscription(subscription)
        try:
            messages = await self._link.call(
                lambda clients: _pull(clients, name), name, SUBSCRIBER_ROLE
            )
        except _NothingCameError:
            return False
        until = time.monotonic() + ACK_DEADLINE_S
        for received in messages:
            try:
                feed.waiting.append((to_delivery(received, subscription), until))
            except ValueError as error:
                await self._put_aside(received, name, str(error))
        if feed.waiting:
            feed.is_empty.clear()
            feed.news.set()
        else:
            feed.is_empty.set()
        return bool(messages)

    async def _put_aside(self, received: Any, name: str, reason: str) -> None:
        """Move a message that no consumer could read to the dead letters, as it is."""
        log.error("Put a message aside that is none of Sluice's", detail=reason, subscription=name)
        attributes = dict(received.message.attributes) | {"reason": to_value(reason)}
        message = PubsubMessage(data=received.message.data, attributes=attributes)
        try:
            await self._publish_messages(self._names.dead_letters(), [message])
            await self._ack_ids(name, [received.ack_id])
        except QueueUnavailableError as error:
            log.warning("It could not be put aside, and comes again", detail=str(error))

    def _hold(self, deliveries: Sequence[Delivery], lease_s: float) -> None:
        until = time.monotonic() + lease_s
        for delivery in deliveries:
            self._held.setdefault(delivery.subscription, {})[delivery.lease_id] = delivery, until

    def _forget(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._held.get(delivery.subscription, {}).pop(delivery.lease_id, None)

    def _check(self, subscription: str) -> None:
        if not any(subscription in names for names in self._topics.values()):
            message = f"unknown subscription {subscription!r}"
            raise ValueError(message)


class _NothingCameError(Exception):
    """A pull ended empty, which says nothing about Pub/Sub."""


async def _pull(clients: Clients, name: str) -> Sequence[Any]:
    try:
        return await clients.calls.pull(name, max_messages=PULL_MESSAGES, timeout_s=PULL_TIMEOUT_S)
    except google.DeadlineExceeded as error:
        raise _NothingCameError from error


def _pause_s(failures: int, bounds: tuple[float, float]) -> float:
    base_s, cap_s = bounds
    return backoff_s(failures, base_s=base_s, cap_s=cap_s, jitter=0.5)


def _portions(deliveries: Sequence[Delivery]) -> Iterator[tuple[str, list[str]]]:
    """Return lease ids by subscription, in portions of one request."""
    by_subscription: dict[str, list[str]] = {}
    for delivery in deliveries:
        by_subscription.setdefault(delivery.subscription, []).append(delivery.lease_id)
    for subscription, ids in by_subscription.items():
        for at in range(0, len(ids), MAX_IDS):
            yield subscription, ids[at : at + MAX_IDS]
