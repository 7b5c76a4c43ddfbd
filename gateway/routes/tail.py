"""``GET /api/ingestion/tail``: what is stored, as it is stored, as server-sent events."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aiohttp import hdrs
from aiohttp.web import BaseRequest

from gateway.core.answers import Answer, Stream, refused, slow_down, unavailable
from gateway.core.auth import LEEWAY_S
from gateway.core.tail import last_piece, piece, read_position
from gateway.dispatch import Exchange, Route
from gateway.readers import Readers
from gateway.routes.reads import RETRY_AFTER_S, last_value, unanswered
from gateway.tails import MAX_TAILS, MAX_TAILS_OF_TENANT, Refusal, Tails, Watcher
from sluice.core.errors import ErrorType, Rejected, WarehouseError
from sluice.core.event import MAX_EVENT_TYPE_CHARS, MAX_USER_ID_CHARS
from sluice.core.tenant import Directory
from sluice.warehouse.tail import TailFilter

PATH: Final = "/api/ingestion/tail"
CONTENT_TYPE: Final = "text/event-stream"
MAX_S: Final = 900.0
HEARTBEAT_S: Final = 10.0
LISTEN_S: Final = 1.0
"""How often it is looked whether token, tenant and client are still there."""
MAX_SOURCE_CHARS: Final = 64
LONGEST: Final = {
    "event_type": MAX_EVENT_TYPE_CHARS,
    "source": MAX_SOURCE_CHARS,
    "user_id": MAX_USER_ID_CHARS,
}
"""Characters that each filter may have."""
_HEADERS: Final = (("X-Accel-Buffering", "no"),)
"""Proxies that know it pass each piece on at once."""
_OPENING: Final = b"retry: 2000\n\n"
_HEARTBEAT: Final = b":\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class TailRoutes:
    """The handler and what it needs."""

    readers: Readers
    tails: Tails
    directory: Callable[[], Directory]
    now: Callable[[], datetime]
    monotonic: Callable[[], float]

    def routes(self) -> list[Route]:
        """Return the routes of this resource."""
        return [Route(name="tail", path=PATH, handlers={hdrs.METH_GET: self.tail})]

    async def tail(self, exchange: Exchange) -> Answer:
        """Return a stream that ends with the token, after a while, or when the server stops."""
        reader = self.readers.reader_of(exchange)
        if isinstance(reader, Answer):
            return reader
        which = parse_filter({name: last_value(exchange.request, name) for name in LONGEST})
        if isinstance(which, Rejected):
            return refused([which])
        if exchange.request.method == hdrs.METH_HEAD:
            return Answer(200, b"", CONTENT_TYPE, _HEADERS, stream=Stream(None, _nothing))
        tenant, until = reader.tenant.slug, (reader.expires_at or 0.0) + LEEWAY_S
        last_id = exchange.request.headers.get("Last-Event-ID", "")
        try:
            watcher = await self.tails.join(
                tenant, which, read_position(last_id), is_gone=lambda: _is_gone(exchange.request)
            )
        except WarehouseError as error:
            return unanswered(error)
        if not isinstance(watcher, Watcher):
            return no_room(watcher)
        stream = Stream(None, lambda: self._pieces(watcher, tenant, until))
        return Answer(200, b"", CONTENT_TYPE, _HEADERS, stream=stream)

    async def _pieces(
        self, watcher: Watcher, tenant: str, until: float
    ) -> AsyncGenerator[bytes, None]:
        spoke_at = self.monotonic()
        ends_at = spoke_at + MAX_S
        with self.tails.watching(watcher):
            yield _OPENING
            while True:
                await _wait(watcher.looked, LISTEN_S)
                watcher.looked.clear()
                now = self.monotonic()
                data = watcher.take()
                if data is not None and watcher.position is not None:
                    spoke_at = now
                    yield piece(data, watcher.position)
                reason = self._why_end(watcher, tenant, until, is_late=now >= ends_at)
                if reason:
                    yield last_piece(reason)
                    return
                if now - spoke_at >= HEARTBEAT_S:
                    spoke_at = now
                    yield _HEARTBEAT
                elif data is None:
                    yield b""

    def _why_end(self, watcher: Watcher, tenant: str, until: float, *, is_late: bool) -> str:
        if watcher.is_over:
            return "server_ends"
        if is_late:
            return "time_limit"
        if self.now().timestamp() >= until:
            return "token_expired"
        known = self.directory().by_slug.get(tenant)
        return "" if known is not None and known.enabled else "tenant_disabled"


def parse_filter(given: dict[str, str | None]) -> TailFilter | Rejected:
    """Return which events are wanted; what is missing or empty means any."""
    for name, text in given.items():
        if text and len(text) > LONGEST[name]:
            return Rejected(
                ErrorType.PARAMETER_INVALID,
                f"Use at most {LONGEST[name]} characters.",
                field=name,
            )
    return TailFilter(**{name: text or "" for name, text in given.items()})


def no_room(full: Refusal) -> Answer:
    """Return the refusal of a tail too many, or of one while the server stops."""
    if full == "gone":  # nobody reads it
        return Answer(200, b"", CONTENT_TYPE, _HEADERS, stream=Stream(None, _nothing))
    if full == "tenant":
        return slow_down(
            Rejected(
                ErrorType.TAILS_AT_LIMIT,
                f"{MAX_TAILS_OF_TENANT} live tails of this tenant are open here.",
            ),
            retry_after_s=RETRY_AFTER_S,
        )
    if full == "gateway":
        detail = f"{MAX_TAILS} live tails are open here."
        return unavailable(ErrorType.OVERLOADED, detail, retry_after_s=RETRY_AFTER_S)
    detail = "This server is stopping; retry."
    return unavailable(ErrorType.SHUTTING_DOWN, detail, retry_after_s=1)


def _is_gone(request: BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _wait(event: asyncio.Event, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return


async def _nothing() -> AsyncGenerator[bytes, None]:
    yield b""
