"""The queue protocol: what publisher and consumer may rely on, whatever the backend.

Promises that every backend keeps, and ``tests/contract/test_queue.py`` checks on each:

1. ``publish`` returns only when every envelope given is durable for every subscription of the
   topic. If it raises, the envelopes may or may not have been stored, but nothing was promised.
2. An envelope is delivered to each subscription until that subscription acknowledges it: at least
   once, in any order, to one holder of an unexpired lease at a time.
3. A lease that ends without ``ack`` makes the envelope deliverable again, with ``attempt`` + 1.
   ``release`` ends the lease at once and gives the attempt back: a dependency's failure must not
   drive good envelopes to the dead letters.
4. An envelope is deleted when all subscriptions of its topic have acknowledged it.
5. Everything is bounded: stored bytes (``QueueFullError`` past it), the messages and bytes of one
   pull, the length of a lease.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, Self

from sluice.core.envelope import Envelope

TOPICS: Final[dict[str, tuple[str, ...]]] = {
    "events": ("warehouse", "amplitude"),
    "commands": ("workflows",),
}
"""Each topic with its subscriptions: one for each destination (design, decision 6), and what starts
and stops workflow runs (decision 11)."""

QueueCondition = Literal["ok", "degraded", "full", "unavailable"]
"""``degraded``: envelopes are stored durably, but not yet where they belong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One hand-over of an envelope to one subscription, under a lease."""

    subscription: str
    message_id: int | str
    """The backend's own id of the message."""
    lease_id: str
    """Names this hand-over; once the envelope was handed over again, it counts for nothing."""
    attempt: int
    """1 at the first delivery."""
    published_at: float
    """Unix seconds at which the envelope became durable."""
    envelope: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What one subscription has not acknowledged."""

    messages: int
    events: int
    bytes: int
    oldest_age_s: float
    """Seconds since the oldest unacknowledged envelope was published; 0 when there is none."""
    leased: int
    """How many of ``messages`` are held under an unexpired lease."""
    dead: int
    """How many were put aside as dead by the backend (crash loops), still stored."""
    time_to_loss_s: float = math.inf
    """Seconds until the oldest one expires; infinite where nothing expires, or nothing waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolState:
    """What waits on this machine's disk for a queue far away."""

    stored_bytes: int
    max_bytes: int
    oldest_age_s: float
    """Seconds since the oldest envelope was spooled; 0 when there is none."""
    time_to_full_s: float
    """Seconds until it is full at the present rate; infinite while it does not grow."""
    is_in_use: bool
    """Whether new envelopes go there now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """Whether the queue takes envelopes, and how full it is."""

    condition: QueueCondition
    detail: str
    """One sentence for the operator; empty when the condition is ok."""
    since: float
    """Unix seconds since when the condition holds."""
    stored_bytes: int
    max_bytes: int
    drain_bytes_per_s: float
    """How fast stored bytes were freed lately; 0 when nothing was."""
    time_to_full_s: float = math.inf
    """Seconds until it is full at the present rate; infinite while it does not grow, and where it
    has no bound of ours."""
    spool: SpoolState | None = None
    """None where the queue needs none."""


class Queue(Protocol):
    """A durable queue with topics and subscriptions; entering opens it, leaving closes it."""

    async def __aenter__(self) -> Self:
        """Open the queue; a queue that is broken opens too and says so in ``state``."""

    async def __aexit__(self, *_exc: object) -> None:
        """Finish what was started, then close. What was published stays."""

    async def publish(self, topic: str, envelopes: Sequence[Envelope]) -> None:
        """Store envelopes, all or none; durable on return.

        Raises:
            QueueFullError: Past the bound in bytes; says when to come back.
            QueueUnavailableError: The disk or broker cannot take them now.
        """

    async def pull(
        self,
        subscription: str,
        *,
        max_messages: int,
        max_bytes: int,
        lease_s: float,
        wait_s: float,
    ) -> list[Delivery]:
        """Lease deliverable envelopes, oldest first; wait up to ``wait_s`` for the first.

        ``max_bytes`` counts uncompressed bytes; one envelope above it is still delivered, alone.
        A pull that is cancelled gives back what it had leased.

        Raises:
            QueueUnavailableError: The disk or broker cannot be read now.
        """

    async def extend(self, deliveries: Sequence[Delivery], *, lease_s: float) -> list[Delivery]:
        """Renew the leases that have not expired; return those deliveries, in the order given."""

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge for good, in one durable step.

        An expired lease that was not handed over again still acknowledges; one that was is ignored.
        """

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give envelopes back at once, as if they had not been delivered.

        One that was handed over again meanwhile stays with its new holder.
        """

    async def dead_letter(self, deliveries: Sequence[Delivery], *, reason: str) -> None:
        """Put envelopes aside for good, still stored (and counted), with a reason."""

    async def backlog(self, subscription: str) -> Backlog:
        """Return what the subscription has not acknowledged."""

    async def state(self) -> QueueState:
        """Return the condition from recent use, or a cheap probe when idle. Never raises."""
