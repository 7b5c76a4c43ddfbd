"""Which large bodies are taken in, and when: what is past the room is refused by its head.

To judge a batch takes milliseconds, to refuse it must take a small part of that: under overload the
most are refused. So a large request is looked at before the parser sees it:

* Its bytes are charged when they arrive. Past the room a new one gets 503 from its head alone; the
  rest of its body is thrown away as it arrives, and the connection goes on. To close it instead
  would cost both sides a new one, and the client its answer where bytes of the body were unread.
* A whole one is given to the parser in its turn, one in each turn of the event loop: between two of
  them the loop looks at its sockets, so that refusals do not wait for a row of batches.
* One that does not get whole within ``ARRIVES_WITHIN_S`` goes on as if nothing had been: who stalls
  keeps nothing from others. Its credential is judged then, and its time is the route's, as are the
  bytes that wait for more of them (``gateway.room``).

What is small, or not plain (``core.large_request``), never comes here.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from gateway.core.answers import unavailable
from gateway.core.large_request import LargeRequest, read_large
from gateway.dispatch import Dispatcher
from gateway.group import Unstored
from gateway.publisher import Publisher
from gateway.reply import is_request_id, render
from gateway.room import TOO_MANY, Held, NoRoomError, Room
from gateway.routes.ingest import (
    BATCH,
    BATCH_PATH,
    MAX_BODY_BYTES,
    TRACK,
    TRACK_BATCH,
    TRACK_PATH,
    unstored_answer,
)
from sluice.telemetry import EVENTS_REJECTED

if TYPE_CHECKING:
    from gateway.connection import Connection

ARRIVES_WITHIN_S: Final = 0.5
_ROUTES: Final = {TRACK_PATH: (TRACK, TRACK), BATCH_PATH: (TRACK_BATCH, BATCH)}
"""The names of route and source by path."""
_TOO_MANY: Final = unavailable(
    TOO_MANY.error_type, TOO_MANY.detail, retry_after_s=TOO_MANY.retry_after_s
)
"""Made once: under overload it is what most requests get."""


class Large:
    """One large request on its way in."""

    __slots__ = ("begin", "held", "left", "pieces", "request", "shape", "started")

    def __init__(
        self, request: LargeRequest, shape: bytes, begin: int, held: Held, *, left: int
    ) -> None:
        self.request = request
        self.shape = shape
        """Of its head (``core.request_shape``)."""
        self.begin = begin
        """Where the body begins in the first piece."""
        self.held = held
        self.left = left
        """Bytes of the body that did not arrive yet."""
        self.pieces: list[bytes] = []
        self.started = time.perf_counter()


class Admission:
    """Takes in large requests of all connections.

    Args:
        app: Counts what is in hand, and notes what was refused.
        publisher: Says whether there is room for rows.
        new_request_id: Makes ids of requests.
        room: For the bytes that are held here.
    """

    def __init__(
        self,
        *,
        app: Dispatcher,
        publisher: Publisher,
        new_request_id: Callable[[], str],
        room: Room,
    ) -> None:
        self._app = app
        self._publisher = publisher
        self._new_request_id = new_request_id
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._arriving: dict[Connection, float] = {}
        """In order of their heads, with when these came."""
        self._whole: deque[Connection] = deque()
        self._has_turn = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes of large requests that arrive, or wait for their turn."""
        return self._room.used

    def take(self, connection: "Connection", data: bytes, request: tuple[bytes, int, int]) -> bool:
        """Take a request in hand, or refuse it; False: it is none for here.

        Args:
            connection: That it comes on; idle.
            data: The first bytes of it.
            request: Shape, begin of the body and its length, as ``split_request`` found them.
        """
        shape, begin, size = request
        left = begin + size - len(data)
        if size > MAX_BODY_BYTES or left < 0 or self._app.is_leaving:
            return False
        started = time.perf_counter()
        plain = read_large(shape)
        if plain is None:
            return False
        full = self._full(size)
        if full is not None:
            self._refuse(connection, plain, full, left, started)
            return True
        self._app.enter()
        taken = connection.large = Large(plain, shape, begin, self._room.hold(), left=left)
        if left:
            self._arriving[connection] = self._loop.time()
            if self._timer is None:
                self._timer = self._loop.call_later(ARRIVES_WITHIN_S, self._give_up_waiting)
        self._charge(connection, taken, data)
        return True

    def _full(self, size: int) -> Unstored | None:
        if self._publisher.pending_bytes >= self._room.left:
            return TOO_MANY
        return self._publisher.refuse(self._room.used + size)

    def add(self, connection: "Connection", taken: Large, data: bytes) -> None:
        """Take more of a body that arrives."""
        rest = b""
        if len(data) > taken.left:
            data, rest = data[: taken.left], data[taken.left :]
        taken.left -= len(data)
        self._charge(connection, taken, data)
        if rest:
            connection.data_received(rest)

    def forget(self, connection: "Connection") -> None:
        """Drop what came on a connection that is lost."""
        if connection.large is not None:
            self._release(connection, connection.large)

    def _charge(self, connection: "Connection", taken: Large, data: bytes) -> None:
        try:
            taken.held.grow(len(data))
        except NoRoomError:
            self._release(connection, taken)
            self._refuse(connection, taken.request, TOO_MANY, taken.left, taken.started)
            return
        taken.pieces.append(data)
        if not taken.left:
            self._arriving.pop(connection, None)
            if self._has_turn:
                self._whole.append(connection)
            else:
                self._has_turn = True
                self._loop.call_soon(self._next)
                self._hand_on(connection, taken)

    def _next(self) -> None:
        """Give the next one its turn; one that was lost meanwhile has none."""
        while self._whole:
            connection = self._whole.popleft()
            if connection.large is not None:
                self._loop.call_soon(self._next)
                self._hand_on(connection, connection.large)
                return
        self._has_turn = False

    def _give_up_waiting(self) -> None:
        self._timer = None
        latest = self._loop.time() - ARRIVES_WITHIN_S
        for connection, since in list(self._arriving.items()):
            if since > latest:
                self._timer = self._loop.call_at(since + ARRIVES_WITHIN_S, self._give_up_waiting)
                return
            taken = connection.large
            if taken is not None:
                self._hand_on(connection, taken)

    def _hand_on(self, connection: "Connection", taken: Large) -> None:
        """Let the parser have what arrived; what is behind it will follow."""
        self._release(connection, taken)
        try:
            connection.hand_on(taken)
        except Exception:  # noqa: BLE001 - of one client; the others have to go on
            connection.fail()

    def _release(self, connection: "Connection", taken: Large) -> None:
        self._arriving.pop(connection, None)
        connection.large = None
        taken.held.set_size(0)
        self._app.leave()

    def _refuse(
        self,
        connection: "Connection",
        request: LargeRequest,
        full: Unstored,
        left: int,
        started: float,
    ) -> None:
        name, source = _ROUTES[request.path]
        request_id = request.request_id
        if request_id is None or not is_request_id(request_id):
            request_id = self._new_request_id()
        if full is TOO_MANY:
            answer = _TOO_MANY
            EVENTS_REJECTED.add(1, source, full.error_type)
        else:
            answer = unstored_answer(source, full)
        is_last = self._app.is_leaving or connection.is_ending
        data = render(answer, request_id=request_id, connection="close" if is_last else None)
        connection.refuse(data, left, is_last=is_last)
        self._app.note(
            name,
            answer.status,
            answer.error_type,
            started,
            method=hdrs.METH_POST,
            request_id=request_id,
            tenant=None,
        )
