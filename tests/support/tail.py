"""A live tail as a client reads it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from yarl import URL

from tests.support.segops import Segops

TAIL = "/api/ingestion/tail"


@dataclass(slots=True)
class Tail:
    """The open stream, and what it has told so far."""

    answer: aiohttp.ClientResponse
    events: list[Any] = field(default_factory=list)
    count: int = 0
    last_id: str = ""
    end: str | None = None

    async def listen(self) -> bool:
        """Read the next piece, be it a comment; whether there was one."""
        lines: list[str] = []
        while line := (await self.answer.content.readline()).decode():
            if line == "\n":
                break
            lines.append(line.rstrip("\n"))
        else:
            return False
        said = dict(one.split(": ", 1) for one in lines if ": " in one)
        if said.get("event") == "events":
            data = orjson.loads(said["data"])
            assert data["count"] == len(data["events"]) + data["left_off"], data
            self.events += data["events"]
            self.count += data["count"]
            self.last_id = said["id"]
        elif said.get("event") == "end":
            self.end = orjson.loads(said["data"])["reason"]
        return True

    async def when(self, count: int) -> list[Any]:
        """Read until so many events were counted; return those that were shown."""
        while self.count < count:
            assert await self.listen(), "the stream ended"
        assert self.count == count
        return self.events

    async def when_over(self) -> str | None:
        """Read to the end; return the reason that was said."""
        while await self.listen():
            pass
        return self.end


@asynccontextmanager
async def tailing(
    url: str, token: str, query: str = "", *, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Tail]:
    """Open a tail, which must be answered with 200 and its first words."""
    timeout: Any = aiohttp.ClientTimeout(total=60)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(
            URL(url + TAIL + query, encoded=True),
            headers={"Authorization": f"Bearer {token}", **(headers or {})},
        ) as answer,
    ):
        assert answer.status == 200, await answer.text()
        tail = Tail(answer)
        assert await tail.listen()
        yield tail


def own_tail(client: Segops, query: str = "", **options: Any) -> Any:
    """Open a tail of a client's tenant."""
    return tailing(client.url, client.read_token, query, **options)
