"""What gathers for one commit, and what those who wait for it are told."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sluice.core.envelope import Rows
from sluice.core.errors import ErrorType

DEFAULT_RETRY_AFTER_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Unstored:
    """Why rows are not durable, and when to come back."""

    error_type: ErrorType
    detail: str
    retry_after_s: float


Tell = Callable[[Unstored | None], None]
"""Is called once with what ``Publisher.publish`` would return; must not raise."""


class Shared(asyncio.Future[Unstored | None]):
    """A future that many wait for, so that none of them may cancel it."""

    def cancel(self, msg: object = None) -> bool:
        """Do nothing: the others still wait."""
        return False


class Group:
    """What gathers for one commit."""

    __slots__ = (
        "announced",
        "count",
        "done",
        "early",
        "early_timer",
        "is_awaited",
        "make",
        "rows",
        "size",
        "tell",
        "timer",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.rows: list[Rows] = []
        self.size = 0
        self.count = 0
        """Requests that wait for it."""
        self.announced = 0
        """Bytes of the bodies of those whose rows are not made yet."""
        self.is_awaited = False
        """Whether more requests are waited for."""
        self.make: Callable[[], None] | None = None
        """Makes these rows."""
        self.done = Shared(loop=loop)
        self.tell: list[Tell] = []
        self.timer: asyncio.TimerHandle | None = None
        self.early: Shared | None = None
        """For those that wait for a shorter time; settled with the group, or when that is over."""
        self.early_timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float, loop: asyncio.AbstractEventLoop) -> Shared:
        """Return what is settled within the time that the first who asked for one gave."""
        if self.early is None:
            self.early = Shared(loop=loop)
            self.early_timer = loop.call_later(seconds, self._give_up_early)
        return self.early

    def _give_up_early(self) -> None:
        if self.early is not None and not self.early.done():
            self.early.set_result(too_late())

    def settle(self, outcome: Unstored | None) -> None:
        """Tell everybody who waits; the first outcome counts."""
        if self.timer is not None:
            self.timer.cancel()
        if not self.done.done():
            self.done.set_result(outcome)
        if self.early_timer is not None:
            self.early_timer.cancel()
        if self.early is not None and not self.early.done():
            self.early.set_result(outcome)
        tell, self.tell = self.tell, []
        for one in tell:
            one(outcome)


def broken(detail: str) -> Unstored:
    """Return why rows are not stored when the queue cannot take them."""
    return Unstored(ErrorType.SPOOL_FULL, detail, DEFAULT_RETRY_AFTER_S)


def too_late() -> Unstored:
    """Return why rows are not stored when their time is over."""
    return Unstored(
        ErrorType.PUBLISH_TIMEOUT,
        "The event could not be stored durably in time; it may be sent again.",
        DEFAULT_RETRY_AFTER_S,
    )
