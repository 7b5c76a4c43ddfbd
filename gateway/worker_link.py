"""Asks the workers' own ports how they are; their addresses are ``SLUICE_WORKER_URL``."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import aiohttp
import msgspec

from gateway.core.status import WorkerStatus, joined
from gateway.single_flight import SingleFlight

ANSWER_TIMEOUT_S: Final = 1.5
"""Shorter than a probe of health, so that one worker that hangs hides nothing of the others."""
MAX_STATUS_BYTES: Final = 65_536
KEEP_S: Final = 1.0
MAX_KEPT: Final = 1_000
"""Tenants whose last answer is kept."""
AWAY: Final = (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, RecursionError)
"""The last is what msgspec raises for JSON that is nested too deeply."""

_STATUS: Final = msgspec.json.Decoder(WorkerStatus)


class WorkerLink:
    """The gateway's connections to the workers, one for each address."""

    def __init__(
        self, urls: Sequence[str], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._urls = tuple(url.rstrip("/") + "/status" for url in urls)
        self._monotonic = monotonic
        self._session: aiohttp.ClientSession | None = None
        self._last: dict[str, tuple[float, WorkerStatus]] = {}
        """Of each address when it last answered, and what."""
        self._cache: SingleFlight[str, WorkerStatus | None] = SingleFlight(
            keep_s=KEEP_S, max_entries=MAX_KEPT, monotonic=monotonic
        )

    async def seen_by(self, tenant: str) -> WorkerStatus | None:
        """Return what the workers say to one tenant, at most a second old; None if all are away."""

        async def look_up() -> WorkerStatus | None:
            said = [one for one in await self._ask_all(tenant) if one is not None]
            return joined(said) if said else None

        return await self._cache.get(tenant, look_up)

    async def heard(self) -> WorkerStatus | None:
        """Return what all workers say together; None while one has never answered.

        A worker that restarts is away for moments: its last heartbeat counts, and gets older.
        """
        now = self._monotonic()
        for url, status in zip(self._urls, await self._ask_all(), strict=True):
            if status is not None:
                self._last[url] = (now, status)
        if len(self._last) < len(self._urls):
            return None
        return joined(
            [
                msgspec.structs.replace(one, heartbeat_age_s=one.heartbeat_age_s + now - seen_at)
                for seen_at, one in self._last.values()
            ]
        )

    async def _ask_all(self, tenant: str | None = None) -> list[WorkerStatus | None]:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._ask(url, tenant)) for url in self._urls]
        return [one.result() for one in asked]

    async def _ask(self, url: str, tenant: str | None) -> WorkerStatus | None:
        if self._session is None:
            timeout: Any = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        params = {} if tenant is None else {"tenant": tenant}
        try:
            async with self._session.get(url, params=params, allow_redirects=False) as answer:
                answer.raise_for_status()
                body = b""
                while len(body) < MAX_STATUS_BYTES and (piece := await answer.content.readany()):
                    body += piece
                return _STATUS.decode(body)
        except AWAY:
            return None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
