"""What ClickHouse holds and what stats say, asked past everything that was promised."""

from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from tests.faults.oracle import Oracle
from tests.support.poll import poll_until

VISIBLE_WITHIN_S = 60
COUNTED_WITHIN_S = 30
ASK_EVERY_S = 0.25

Stored = list[tuple[int, int]]
"""Number and count of each stored event."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where to look for the events of one tenant."""

    session: aiohttp.ClientSession
    warehouse_url: str
    """With user, password and database."""
    gateway_url: str
    tenant: str
    token: str

    async def read(self, event_type: str = "") -> Stored:
        """Return every stored event, or those of one type, from ClickHouse itself."""
        parts = urlsplit(self.warehouse_url)
        query = (
            "SELECT JSONExtractUInt(payload, 'n') AS n, count() FROM events FINAL"
            " WHERE tenant = {tenant:String} AND ({type:String} = '' OR event_type = {type:String})"
            " GROUP BY n FORMAT TSV"
        )
        async with self.session.post(
            f"http://{parts.hostname}:{parts.port}/",
            params={
                "param_tenant": self.tenant,
                "param_type": event_type,
                "database": parts.path.strip("/"),
            },
            data=query.encode(),
            headers={
                "X-ClickHouse-User": parts.username or "",
                "X-ClickHouse-Key": parts.password or "",
            },
        ) as answer:
            text = await answer.text()
            answer.raise_for_status()
        return [(int(n), int(count)) for n, count in (row.split("\t") for row in text.splitlines())]

    async def wait_until_visible(self, oracle: Oracle, event_type: str, *, after: int = 0) -> None:
        """Wait until all that was promised is stored, or for too long: the verdict will tell.

        Args:
            oracle: Knows what was promised.
            event_type: The type of all events that were sent last.
            after: The last number that was used before.
        """

        async def all_promised() -> bool:
            try:
                stored = {n for n, _ in await self.read(event_type)}
            except (aiohttp.ClientError, TimeoutError, OSError):
                return False
            return all(n in stored for n in oracle.accepted if n > after)

        with suppress(TimeoutError):
            _: bool = await poll_until(all_promised, within_s=VISIBLE_WITHIN_S, every_s=ASK_EVERY_S)

    async def wait_for_stats(self, expected: int) -> int:
        """Return the total of stats once it is as expected, else what it was at last."""
        last = -1

        async def equals() -> bool:
            nonlocal last
            async with self.session.get(
                f"{self.gateway_url}/api/ingestion/stats",
                params={"window": "7d"},
                headers={"Authorization": f"Bearer {self.token}"},
            ) as answer:
                if answer.status == 200:
                    last = (await answer.json())["total_events"]
            return last == expected

        with suppress(TimeoutError):
            _: bool = await poll_until(equals, within_s=COUNTED_WITHIN_S, every_s=ASK_EVERY_S)
        return last
