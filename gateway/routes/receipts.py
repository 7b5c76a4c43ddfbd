"""``GET /api/ingestion/events/{event_id}``: where one event is, and what became of it."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from aiohttp import hdrs

from gateway.core.answers import Answer, refused_one
from gateway.core.receipt import Receipt, forwarded_to, possible_ids, receipt_of
from gateway.dispatch import Exchange, Route, last_segment
from gateway.readers import Readers
from gateway.reads import Reads
from gateway.routes.reads import answered, last_value
from gateway.sources.names import spellings
from sluice.core.errors import ErrorType

PATH: Final = "/api/ingestion/events/{event_id}"
UNKNOWN: Final = (
    "No event of this tenant has this id. It was not accepted (see errors), or it is not stored yet"
    " (try again in a few seconds), or it was erased."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRoutes:
    """The handler and what it needs."""

    readers: Readers
    reads: Reads

    def routes(self) -> list[Route]:
        """Return the routes of this resource."""
        return [Route(name="receipt", path=PATH, handlers={hdrs.METH_GET: self.receipt})]

    async def receipt(self, exchange: Exchange) -> Answer:
        """Return the receipt of one event, by our id or by the client's own."""
        tenant = self.readers.of(exchange)
        if isinstance(tenant, Answer):
            return tenant
        name = _decoded(last_segment(exchange))
        user_id = last_value(exchange.request, "user_id")
        anonymous_id = last_value(exchange.request, "anonymous_id")
        names = spellings(name, user_id=user_id, anonymous_id=anonymous_id)
        ids = possible_ids(tenant.slug, names, user_id=user_id)
        if not ids:
            return _unknown()

        async def look_up() -> Receipt | None:
            found = await self.reads.find_event(tenant.slug, ids)
            return receipt_of(found, ids, forwards_to=forwarded_to(tenant))

        return await answered(look_up(), if_none=_unknown)


def _decoded(segment: str) -> str:
    """Return the text of a path's segment; empty where it is not UTF-8, as no id is empty."""
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return ""


def _unknown() -> Answer:
    return refused_one(ErrorType.EVENT_UNKNOWN, UNKNOWN)
