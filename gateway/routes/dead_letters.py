"""``GET /api/ingestion/dead-letters``: what destinations could not take, for its own tenant."""

from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import hdrs

from gateway.core.answers import Answer, refused
from gateway.core.letters_token import parse_destination, read_token, write_token
from gateway.dispatch import Exchange, Route
from gateway.readers import Readers
from gateway.reads import Reads
from gateway.routes.reads import answered, last_value, parse_limit
from sluice.core.errors import Rejected
from sluice.warehouse.letters import DeadLetter, LetterKey

PATH: Final = "/api/ingestion/dead-letters"


class DeadLetterList(msgspec.Struct, frozen=True):
    """One page of dead letters, the newest first."""

    dead_letters: list[DeadLetter]
    total: int
    """Of all pages, as of now."""
    next_token: str | None
    """Of the next page; null behind the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRoutes:
    """The handler and what it needs."""

    readers: Readers
    reads: Reads

    def routes(self) -> list[Route]:
        """Return the routes of this resource."""
        return [Route(name="dead_letters", path=PATH, handlers={hdrs.METH_GET: self.letters})]

    async def letters(self, exchange: Exchange) -> Answer:
        """Return one page."""
        tenant = self.readers.of(exchange)
        if isinstance(tenant, Answer):
            return tenant
        request = exchange.request
        destination = parse_destination(last_value(request, "destination"))
        limit = parse_limit(last_value(request, "limit"))
        if isinstance(destination, Rejected):
            return refused([destination])
        if isinstance(limit, Rejected):
            return refused([limit])
        start = read_token(last_value(request, "next_token"), destination)
        if isinstance(start, Rejected):
            return refused([start])
        after = None if start is None else LetterKey(*start)
        return await answered(self._page(tenant.slug, destination, after, limit))

    async def _page(
        self, tenant: str, destination: str, after: LetterKey | None, limit: int
    ) -> DeadLetterList:
        page = await self.reads.letters(tenant, destination, after, limit)
        total = await self.reads.count_letters(tenant, destination)
        key = page.next_key
        return DeadLetterList(
            page.letters,
            total,
            None if key is None else write_token(key.dead_at_us, key.letter_id, destination),
        )
