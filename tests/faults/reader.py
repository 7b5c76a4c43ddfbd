"""A client that asks for stats all the time, and notes what was not as it has to be."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

import aiohttp

STATS_EVERY_S: Final = 0.05


@dataclass(slots=True)
class Reader:
    """Asks for stats all the time, and notes what was not as it has to be."""

    session: aiohttp.ClientSession
    token: str
    url: str
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    highest: int = 0

    async def go_on(self, stop: asyncio.Event) -> None:
        """Ask until ``stop``."""
        while not stop.is_set():
            await self._ask()
            await asyncio.sleep(STATS_EVERY_S)

    async def _ask(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        url = f"{self.url}/api/ingestion/stats"
        try:
            async with self.session.get(url, params={"window": "7d"}, headers=headers) as answer:
                self.answers += 1
                if answer.status != 200:
                    self.failures.append(f"{answer.status} {await answer.text()}")
                    return
                total = (await answer.json())["total_events"]
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            self.failures.append(repr(error))
            return
        if total < self.highest:
            self.failures.append(f"{total} after {self.highest}")
        self.highest = max(self.highest, total)
