"""What a consumer and a destination agree on."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sluice.core.errors import SluiceError
from sluice.queue.protocol import Delivery
from sluice.settings import Settings
from worker.core.freshness import Freshness

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What of one tenant waits at a destination."""

    parked_events: int = 0
    troubles: Sequence[str] = ()
    """Why, in sentences that name nobody else."""


class RetryLaterError(SluiceError):
    """The destination cannot take the batch now; the same batch may be taken later."""


class Deliverer(Protocol[T]):
    """An open destination.

    Invariant: giving it the same envelope again, whole or after a crash at any point, changes
    nothing; so the consumer may deliver at least once.
    """

    @property
    def is_ready(self) -> bool:
        """Whether the destination was seen to have what deliveries and readers need."""

    @property
    def parked_events(self) -> int:
        """How many events wait on this worker's disk until the destination takes them."""

    @property
    def troubles(self) -> Sequence[str]:
        """What people should know, in sentences; empty when all is well."""

    @property
    def freshness(self) -> Freshness | None:
        """How old events were when they became visible there; None where that is not measured."""

    def waiting_of(self, tenant: str) -> Waiting:
        """Return what of one tenant waits here, for the tenant's own eyes."""

    async def start(self, stop: asyncio.Event) -> None:
        """Get ready for the first envelope; return at once when ``stop`` is set."""

    def prepare(self, delivery: Delivery) -> T:
        """Return what ``deliver`` needs of one envelope. Called in a thread; never raises."""

    async def deliver(self, batch: Sequence[T]) -> None:
        """Store the batch; after the next ``commit`` all of it may be acknowledged.

        Raises:
            RetryLaterError: The destination is away; nothing is lost, part may be stored.
        """

    async def commit(self) -> None:
        """Make what was delivered so far good; the next batch may be delivered meanwhile.

        Raises:
            RetryLaterError: Not yet; call again.
        """

    async def upkeep(self, stop: asyncio.Event) -> None:
        """Do what there is to do beside deliveries, until ``stop``, which comes after the last."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A system that is fed from a subscription of its own (design, decision 6)."""

    subscription: str
    open: Callable[[Settings], AbstractAsyncContextManager[Deliverer[Any]]]
    is_ordered: bool = False
    """Whether a worker first lets the leases of one that died end, so that older comes first."""
    inserts_at_once: int = 1
    """How many times the settings' bounds one batch may fill, because it is stored in parts."""
    max_batch_rows: int | None = None
    max_batch_bytes: int | None = None
    """Bounds of one batch, where they are below those of the settings."""
