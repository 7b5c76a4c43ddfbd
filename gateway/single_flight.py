"""One look-up at a time per key, kept for a moment: a flood of equal questions costs one answer."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """A small cache whose entries are filled by the first who asks.

    Args:
        keep_s: How long an answer is good.
        max_entries: Bound on the answers kept; the one asked for longest ago goes first.
        monotonic: Clock in seconds.
    """

    def __init__(self, *, keep_s: float, max_entries: int, monotonic: Callable[[], float]) -> None:
        self._keep_s = keep_s
        self._max_entries = max_entries
        self._monotonic = monotonic
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._locks: dict[K, tuple[asyncio.Lock, int]] = {}

    async def get(self, key: K, look_up: Callable[[], Awaitable[V]]) -> V:
        """Return a fresh answer; who waits for another's look-up shares its result.

        A look-up that fails is not kept: its error goes to who made it, the next one tries again.
        """
        kept = self._fresh(key)
        if kept is not None:
            return kept[1]
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
