"""One look-up at a time per key, kept for a moment: a flood of equal questions costs one answer."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, Literal, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Note = Literal["renewed", "failed", "overdue"]
"""What is told of renewals: one was made, one failed, or an old answer was given meanwhile."""

RENEWALS_AT_ONCE: Final = 2
"""So that one that takes long holds up no other, and who has to wait still finds a connection."""
WARN_EVERY_S: Final = 60.0

_log = logging.getLogger(__name__)


class SingleFlight(Generic[K, V]):
    """A small cache whose entries are filled by the first who asks.

    With ``stale_s`` who asks often never waits: an answer is given at once and renewed behind it.

    Args:
        keep_s: How long an answer is good.
        stale_s: How long after that it is still given at once, while ``run`` renews it; 0: never.
        renewing_s: How long after that it is still given, but only while it is being looked up:
            a renewal that takes long is no reason to have everybody wait for it.
        max_entries: Bound on the answers kept; the one asked for longest ago goes first.
        monotonic: Clock in seconds.
        note: Is told of each renewal, and of each answer that was given after ``stale_s``.
    """

    def __init__(
        self,
        *,
        keep_s: float,
        max_entries: int,
        monotonic: Callable[[], float],
        stale_s: float = 0.0,
        renewing_s: float = 0.0,
        note: Callable[[Note], None] = lambda _: None,
    ) -> None:
        self._keep_s = keep_s
        self._stale_s = stale_s
        self._renewing_s = renewing_s
        self._due: dict[K, Callable[[], Awaitable[V]]] = {}
        """What is to be renewed, in the order in which it was asked for."""
        self._wanted = asyncio.Event()
        self._max_entries = max_entries
        self._monotonic = monotonic
        self._note = note
        self._warn_at = monotonic()
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
            is_under_way = key in self._due or key in self._locks
            if left_s + self._stale_s > 0:
                if not is_under_way:
                    self._due[key] = look_up
                    self._wanted.set()
                return kept[1]
            if is_under_way and left_s + self._stale_s + self._renewing_s > 0:
                self._note("overdue")
                return kept[1]
        return await self._look_up(key, look_up)

    async def run(self, stop: asyncio.Event) -> None:
        """Renew answers that were asked for when they were not good any more, until ``stop``."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wake_at(stop))
            for _ in range(RENEWALS_AT_ONCE):
                tasks.create_task(self._renew(stop))

    async def _renew(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not self._due:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            key = next(iter(self._due))
            try:
                await self._look_up(key, self._due.pop(key))
            except Exception as error:  # noqa: BLE001 - who asks when it is too old is told
                self._note("failed")
                self._warn(error)
            else:
                self._note("renewed")

    def _warn(self, error: Exception) -> None:
        now = self._monotonic()
        level = logging.WARNING if now >= self._warn_at else logging.DEBUG
        if now >= self._warn_at:
            self._warn_at = now + WARN_EVERY_S
        _log.log(level, "An answer could not be renewed", extra={"reason": str(error)[:500]})

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
