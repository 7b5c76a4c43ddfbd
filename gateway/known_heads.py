"""Heads of requests that were sent before, on whichever connection.

A head means the same on every connection (``core.request_shape``), so a client that comes back on a
new one need not take the long way again, nor hundreds that come together, as they do after a
restart. A head is looked at when it comes for the second time: most of those that come once never
come again.
"""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

G = TypeVar("G")

MAX_HEADS: Final = 2_048
"""Of at most 1 KiB each (``connection.MAX_SHAPE_BYTES``)."""
REPLACED_ONE_OF: Final = 64
"""When as many are known, only one new head of so many takes the place of the oldest: to learn
heads that are forgotten before they come again would cost each of them time."""


class KnownHeads(Generic[G]):
    """What heads grant, by their shape; made and used on one event loop.

    Args:
        is_valid: Whether a grant still holds. When one does not, none of its time is kept.
        most: Bound of the heads that are known, and of those that were seen once.
    """

    def __init__(self, is_valid: Callable[[G], bool], *, most: int = MAX_HEADS) -> None:
        self._is_valid = is_valid
        self._most = most
        self._grants: dict[bytes, G] = {}
        self._seen: set[int] = set()
        """Hashes: two heads that share one only mean that the second is looked at at once."""
        self._left_out = 0

    def get(self, shape: bytes) -> G | None:
        """Return what a head grants; None: it is not known."""
        grant = self._grants.get(shape)
        if grant is None or self._is_valid(grant):
            return grant
        self._grants.clear()
        return None

    def is_worth_learning(self, shape: bytes) -> bool:
        """Whether a head came before, and there is room for it."""
        key = hash(shape)
        if key not in self._seen:
            if len(self._seen) >= self._most:
                self._seen.clear()
            self._seen.add(key)
            return False
        if len(self._grants) < self._most:
            return True
        self._left_out += 1
        return self._left_out % REPLACED_ONE_OF == 0

    def learn(self, shape: bytes, grant: G) -> None:
        """Keep what a head grants."""
        if len(self._grants) >= self._most and shape not in self._grants:
            del self._grants[next(iter(self._grants))]
        self._grants[shape] = grant
