"""Hands commands that start and stop runs to the queue; durable on return."""

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from gateway.group import DEFAULT_RETRY_AFTER_S, Unstored
from gateway.publisher import Durable
from sluice.core.envelope import encode, seal
from sluice.core.errors import ErrorType, QueueFullError, QueueUnavailableError
from sluice.telemetry import PUBLISHED_EVENTS
from sluice.workflows.core.runs import Command

TOPIC: Final = "commands"


class RunCommands:
    """Publishes commands one by one: people start runs, not machines by the thousand.

    Args:
        queue: Where to.
        timeout_s: Within which a command is durable, or the answer is no.
        new_id: Makes ids of envelopes.
    """

    def __init__(
        self, queue: Durable, *, timeout_s: float, new_id: Callable[[], str] = lambda: str(uuid4())
    ) -> None:
        self._queue = queue
        self._timeout_s = timeout_s
        self._new_id = new_id

    async def publish(self, command: Command) -> Unstored | None:
        """Return None when a command is durable, else why not. Never raises for a failed queue."""
        envelopes = [seal(rows, envelope_id=self._new_id()) for rows in encode(TOPIC, [command])]
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._queue.publish(TOPIC, envelopes)
        except QueueFullError as error:
            return Unstored(
                ErrorType.SPOOL_FULL,
                "The queue is full; retry after the time given.",
                error.retry_after_s,
            )
        except QueueUnavailableError:
            return Unstored(
                ErrorType.SPOOL_FULL,
                "The queue cannot store commands now; retry after the time given.",
                DEFAULT_RETRY_AFTER_S,
            )
        except TimeoutError:
            return Unstored(
                ErrorType.PUBLISH_TIMEOUT,
                "The command could not be stored durably in time; look at the runs before you send"
                " it again, or send it with an Idempotency-Key.",
                DEFAULT_RETRY_AFTER_S,
            )
        PUBLISHED_EVENTS.add(1, TOPIC)
        return None
