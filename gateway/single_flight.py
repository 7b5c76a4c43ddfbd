"""One look-up at a time per key, kept for a moment: a flood of equal questions costs one answer."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_log = logging.getLogger(__name__)


class SingleFlight(Generic[K, V]):
    """A small cache whose entries are filled by the first who asks.

    With ``stale_s`` who asks often never waits: an answer is given at once and renewed behind it.

    Args:
        keep_s: How long an answer is good.
        stale_s: How long after that it is still given at once, while ``run`` renews it; 0: never.
        max_entries: Bound on the answers kept; the one asked for longest ago goes first.
        monotonic: Clock in seconds.
    """

    def __init__(
        self,
        *,
        keep_s: float,
        max_entries: int,
        monotonic: Callable[[], float],
        stale_s: float = 0.0,
    ) -> None:
        self._keep_s = keep_s
        self._stale_s = stale_s
        self._due: dict[K, Callable[[], Awaitable[V]]] = {}
        """What is to be renewed, in the order in which it was asked for."""
        self._wanted = asyncio.Event()
        self._max_entries = max_entries
        self._monotonic = monotonic
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._locks: dict[K, tuple[asyncio.Lock, int]] = {}

    async def get(self, key: K, look_up: Callable[[], Awaitable[V]]) -> V:
        """Return a fresh answer; who waits for another's look-up shares its result.

        A look-up that fails is not kept: its error goes to who made it, the next one tries again.
        """
        kept = self._kept.get(key)
        if kept is not None:
            left_s = kept[0] - self._monotonic()
            if left_s > 0:
                return kept[1]
            if left_s + self._stale_s > 0:
                self._due[key] = look_up
                self._wanted.set()
                return kept[1]
        return await self._look_up(key, look_up)

    async def run(self, stop: asyncio.Event) -> None:
        """Renew answers that were asked for when they were not good any more, until ``stop``.

        One after another, so that renewing takes one connection of those that wait for answers.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wake_at(stop))
            while not stop.is_set():
                if not self._due:
                    self._wanted.clear()
                    await self._wanted.wait()
                    continue
                key = next(iter(self._due))
                try:
                    await self._look_up(key, self._due.pop(key))
                except Exception as error:  # noqa: BLE001 - who asks when it is too old is told
                    _log.debug("An answer could not be renewed", extra={"reason": str(error)})

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wanted.set()

    async def _look_up(self, key: K, look_up: Callable[[], Awaitable[V]]) -> V:
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                kept = self._fresh(key)
                if kept is None:
                    kept = (self._monotonic() + self._keep_s, await look_up())
                    self._keep(key, kept)
                return kept[1]
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)

    def _fresh(self, key: K) -> tuple[float, V] | None:
        kept = self._kept.get(key)
        return kept if kept is not None and kept[0] > self._monotonic() else None

    def _keep(self, key: K, kept: tuple[float, V]) -> None:
        # Good from when the answer came, not from when it was asked for.
        self._kept[key] = (self._monotonic() + self._keep_s, kept[1])
        self._kept.move_to_end(key)
        while len(self._kept) > self._max_entries:
            self._kept.popitem(last=False)
