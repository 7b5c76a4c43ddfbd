"""A host's right to act: renewed by signs of life, ended by the clock when they do not arrive.

Others take a host's runs when its last sign is older than the lease, by the warehouse's clock. The
host itself counts from before it sent the sign, and gives up a little earlier: so whoever paused
(SIGSTOP, a long collection, a frozen machine) knows that it lost the lease before it acts again.
After that it is somebody else: it takes a new name, and has only what it claims under that.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

from sluice.core.errors import WarehouseError
from sluice.logs import get_logger
from worker.waiting import wait_for_event
from worker.workflows.store import Store

LEASE_S: Final = 10.0
OWN_SHARE: Final = 0.8
"""Of the lease that the host itself counts on; the rest is for clocks that differ."""
RENEWALS: Final = 4
"""Signs of life within one lease."""
FAREWELL_S: Final = 2.0

log: Final = get_logger(__name__)


def clock() -> float:
    """Return seconds that also pass while the machine sleeps, where the system counts them."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


TakeOver = Callable[[str], Awaitable[None]]
"""Makes what this host still has its own under a new name, before it acts under that."""


class Lease:
    """This process's name among the hosts, and whether it counts."""

    def __init__(self, store: Store, *, lease_s: float = LEASE_S) -> None:
        self.lease_s = lease_s
        self._store = store
        self._host_id = ""
        self._names: list[str] = []
        self._until = float("-inf")
        self._may_act = False
        self._renewed = asyncio.Event()

    @property
    def host_id(self) -> str:
        """The present name; empty before the first sign."""
        return self._host_id

    @property
    def names(self) -> frozenset[str]:
        """Every name that this process has had lately."""
        return frozenset(self._names)

    @property
    def is_held(self) -> bool:
        """Whether this host may act: send, and take runs. Ask at the very moment."""
        return self._may_act and clock() < self._until

    async def wait_until_held(self) -> None:
        """Return when this host may act; it may be another one by then."""
        while not self.is_held:
            self._renewed.clear()
            await self._renewed.wait()

    async def run(self, stop: asyncio.Event, take_over: TakeOver) -> None:
        """Give signs of life until ``stop``; a failure is made good by the next."""
        while not stop.is_set():
            try:
                async with asyncio.timeout(self.lease_s):
                    await self._renew(take_over)
            except (WarehouseError, TimeoutError) as error:
                log.debug("A sign of life did not arrive", detail=str(error))
                await wait_for_event(stop, self.lease_s / RENEWALS / 5)
            else:
                await wait_for_event(stop, self.lease_s / RENEWALS)

    async def _renew(self, take_over: TakeOver) -> None:
        was_held = self.is_held
        self._may_act = was_held
        name = self._host_id if was_held else secrets.token_hex(8)
        before = clock()
        await self._store.give_sign(name)
        if was_held:
            if self.is_held:
                self._until = before + self.lease_s * OWN_SHARE
                self._renewed.set()
            return  # one that came too late counts for nothing: the next is another host's
        if self._host_id:
            log.warning("The lease was lost; going on as another host", host_id=name)
        self._host_id = name
        self._names = [*self._names[-99:], name]
        await take_over(name)
        self._until = before + self.lease_s * OWN_SHARE
        self._may_act = True
        self._renewed.set()

    async def end(self) -> None:
        """Act no more, and tell the others; call when nothing is under way."""
        self._may_act = False
        if not self._host_id:
            return
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._store.give_sign(self._host_id, is_stopped=True)
        except (WarehouseError, TimeoutError) as error:
            log.debug("The farewell did not arrive", detail=str(error))
