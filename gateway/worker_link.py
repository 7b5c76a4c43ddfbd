"""Asks the worker's own port how it is; its address is ``SLUICE_WORKER_URL``."""

import time
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import msgspec

from gateway.core.status import WorkerStatus
from gateway.single_flight import SingleFlight

ANSWER_TIMEOUT_S: Final = 2.0
MAX_STATUS_BYTES: Final = 65_536
KEEP_S: Final = 1.0
MAX_KEPT: Final = 1_000
"""Tenants whose last answer is kept."""
AWAY: Final = (aiohttp.ClientError, TimeoutError, msgspec.DecodeError)
"""What ``ask`` raises where the worker does not answer, or not as it should."""

_STATUS: Final = msgspec.json.Decoder(WorkerStatus)


class WorkerLink:
    """The gateway's connection to the worker."""

    def __init__(self, url: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._status_url = url.rstrip("/") + "/status"
        self._session: aiohttp.ClientSession | None = None
        self._cache: SingleFlight[str, WorkerStatus | None] = SingleFlight(
            keep_s=KEEP_S, max_entries=MAX_KEPT, monotonic=monotonic
        )

    async def seen_by(self, tenant: str) -> WorkerStatus | None:
        """Return what the worker says to one tenant, at most a second old; None if it is away."""

        async def look_up() -> WorkerStatus | None:
            try:
                return await self.ask(tenant)
            except AWAY:
                return None

        return await self._cache.get(tenant, look_up)

    async def ask(self, tenant: str | None = None) -> WorkerStatus:
        """Return the worker's status.

        Raises:
            aiohttp.ClientError, TimeoutError, msgspec.DecodeError: See ``AWAY``.
        """
        if self._session is None:
            timeout: Any = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        params = {} if tenant is None else {"tenant": tenant}
        async with self._session.get(
            self._status_url, params=params, allow_redirects=False
        ) as answer:
            answer.raise_for_status()
            body = b""
            while len(body) < MAX_STATUS_BYTES and (piece := await answer.content.readany()):
                body += piece
            return _STATUS.decode(body)

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()
