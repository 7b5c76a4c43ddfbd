"""How many bytes of bodies are held at once while more of them is waited for.

A key inside the body, or a signature over it, is judged only once the body is there. Without this
bound, anybody could make the gateway hold as many full bodies as it has connections; and without
one for those who have proven who they are, anybody with a key. Charged is what has arrived and not
what was announced: who sends nothing takes no room from others.
"""

from types import TracebackType
from typing import Final, Self

from gateway.group import Unstored
from sluice.core.errors import ErrorType

MAX_UNPROVEN_BYTES: Final = 128 * 1024 * 1024
MAX_AWAITED_BYTES: Final = 64 * 1024 * 1024
"""Of bodies whose senders have proven who they are, and whose rest is on its way."""
TOO_MANY: Final = Unstored(
    ErrorType.OVERLOADED, "Too many requests are being read; retry after the time given.", 1.0
)
KEPT_FREE: Final = 8
"""One part of so many is left to the bodies that are on their way: the newest are refused first."""


class NoRoomError(Exception):
    """A body has grown beyond the room that is left."""


class Room:
    """The bytes that are left, for all callers together."""

    def __init__(self, max_bytes: int = MAX_UNPROVEN_BYTES) -> None:
        self._max = max_bytes
        self.left = max_bytes

    @property
    def used(self) -> int:
        """The bytes that are held."""
        return self._max - self.left

    @property
    def is_full(self) -> bool:
        """Whether no further body should be begun."""
        return self.left <= self._max // KEPT_FREE

    def hold(self) -> "Held":
        """Return the account of one body, which gives back what it took when it is left."""
        return Held(self)


class Held:
    """What one body takes of the room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    def set_size(self, size: int) -> None:
        """Take or give back as much as makes it ``size`` bytes.

        Raises:
            NoRoomError: There is not so much left; nothing was taken.
        """
        more = size - self._size
        if more > self._room.left:
            raise NoRoomError
        self._room.left -= more
        self._size = size

    def grow(self, by: int) -> None:
        """Take ``by`` more bytes.

        Raises:
            NoRoomError: There are not so many left; nothing was taken.
        """
        self.set_size(self._size + by)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.set_size(0)
