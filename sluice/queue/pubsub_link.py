"""One process's line to Pub/Sub: connects when needed, knows how it is, replaces what is dead.

Every call has a deadline, and what its failure means is told by its status (``pubsub_faults``). A
network that swallows everything leaves a connection looking alive for a long time; after a few
answers in a row that did not come in time, the next call makes a new one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from google.api_core import exceptions as google

from sluice.core.errors import QueueUnavailableError
from sluice.queue.pubsub_connect import Clients, connect
from sluice.queue.pubsub_faults import FAILURES, Fault, fault_of

T = TypeVar("T")

PROBE_TIMEOUT_S: Final = 1.5
LONGEST_CALL_S: Final = 10.0
TIMEOUTS_TO_RECONNECT: Final = 3


class Link:
    """Calls Pub/Sub, and remembers whether the last call was answered."""

    def __init__(self, project: str, endpoint: str) -> None:
        self.fault: Fault | None = None
        """Why the last call failed; None when it was answered."""
        self.since = time.time()
        """Unix seconds since when there is a fault, or none."""
        self.answered_at = float("-inf")
        """On the monotonic clock."""
        self._project = project
        self._endpoint = endpoint
        self._clients: Clients | None = None
        self._connecting = asyncio.Lock()
        self._retired: list[tuple[float, Clients]] = []
        self._timeouts = 0
        self.is_open = True

    async def close(self) -> None:
        """Close the connection; calls are refused from now on."""
        self.is_open = False
        leaving = [clients for _, clients in self._retired]
        if self._clients is not None:
            leaving.append(self._clients)
        self._clients, self._retired = None, []
        for clients in leaving:
            await clients.channel.close()

    def check_open(self) -> None:
        """Raise ``QueueUnavailableError`` if the link is closed."""
        if not self.is_open:
            message = f"The queue on Pub/Sub of project {self._project} is closed."
            raise QueueUnavailableError(message)

    async def call(self, make: Callable[[Clients], Awaitable[T]], resource: str, role: str) -> T:
        """Return what a call answers.

        Args:
            make: Starts the call, with a deadline of at most ``LONGEST_CALL_S``.
            resource: Full name of the topic or subscription that it uses.
            role: The role on it that the call needs.

        Raises:
            QueueUnavailableError: It failed; the sentence says what to do.
            google.api_core.exceptions.DeadlineExceeded: The cause of the above, where it took too
                long.
        """
        self.check_open()
        try:
            result = await make(await self._connected())
        except asyncio.CancelledError:  # whoever called had no more patience
            self._see(Fault(f"Pub/Sub does not answer in time for {resource}.", is_transient=True))
            self._count_timeout()
            raise
        except FAILURES as error:
            fault = fault_of(error, resource=resource, role=role)
            self._see(fault)
            if isinstance(error, google.DeadlineExceeded):
                self._count_timeout()
            raise QueueUnavailableError(fault.sentence) from error
        self.answered()
        return result

    def answered(self) -> None:
        """Note that Pub/Sub answered."""
        self.answered_at = time.monotonic()
        self._timeouts = 0
        self._see(None)

    def _see(self, fault: Fault | None) -> None:
        if (fault is None) != (self.fault is None):
            self.since = time.time()
        self.fault = fault

    async def _connected(self) -> Clients:
        async with self._connecting:  # else each of many calls would look for credentials
            if self._clients is None:
                self._clients = await connect(self._endpoint)
                await self._close_retired()
            return self._clients

    def _count_timeout(self) -> None:
        self._timeouts += 1
        if self._timeouts >= TIMEOUTS_TO_RECONNECT and self._clients is not None:
            self._timeouts = 0
            # Closing it under a call would cancel the task that waits for the call.
            self._retired.append((time.monotonic() + LONGEST_CALL_S + 1, self._clients))
            self._clients = None

    async def _close_retired(self) -> None:
        now = time.monotonic()
        ripe = [clients for until, clients in self._retired if until <= now]
        self._retired = [(until, clients) for until, clients in self._retired if until > now]
        for clients in ripe:
            await clients.channel.close()
