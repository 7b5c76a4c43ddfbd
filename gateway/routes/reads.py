"""``GET /api/ingestion/stats`` and ``errors``: what a tenant may read about itself."""

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar, cast, get_args

import msgspec
from aiohttp import hdrs
from aiohttp.web import BaseRequest

from gateway.core.answers import Answer, ok, refused, unavailable
from gateway.dispatch import Exchange, Route
from gateway.readers import Readers
from gateway.reads import Reads
from gateway.single_flight import Note, SingleFlight
from sluice.core.errors import ErrorType, Rejected, WarehouseError
from sluice.telemetry import STATS_OVERDUE, STATS_RENEWALS
from sluice.warehouse.stats import Stats, StoredError, Window

WINDOWS: Final[tuple[str, ...]] = get_args(Window)
DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 100
KEEP_S: Final = 1.0
STALE_S: Final = 4.0
"""Who asks more often than every five seconds is answered at once, and ``as_of`` says how old."""
RENEWING_S: Final = 15.0
"""So much longer while the renewal is under way. One ends within 16 s, one way or the other: it is
two statements at most, and each has the eight seconds of a read."""
MAX_KEPT: Final = 1_000
RETRY_AFTER_S: Final = 5.0

_LIMIT: Final = re.compile(r"[0-9]+", re.ASCII)
_log = logging.getLogger(__name__)
T = TypeVar("T")


class ErrorList(msgspec.Struct, frozen=True):
    """The answer of the errors endpoint."""

    count: int
    results: list[StoredError]


def stats_cache(monotonic: Callable[[], float]) -> SingleFlight[tuple[str, Window], Stats]:
    """Return the cache that spares the warehouse a flood of equal questions."""
    return SingleFlight(
        keep_s=KEEP_S,
        stale_s=STALE_S,
        renewing_s=RENEWING_S,
        max_entries=MAX_KEPT,
        monotonic=monotonic,
        note=_count,
    )


def _count(what: Note) -> None:
    if what == "overdue":
        STATS_OVERDUE.add(1)
    else:
        STATS_RENEWALS.add(1, what)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRoutes:
    """The two handlers and what they need."""

    readers: Readers
    reads: Reads
    now: Callable[[], datetime]
    cache: SingleFlight[tuple[str, Window], Stats]

    def routes(self) -> list[Route]:
        """Return the routes of this resource."""
        return [
            Route(name="stats", path="/api/ingestion/stats", handlers={hdrs.METH_GET: self.stats}),
            Route(
                name="errors", path="/api/ingestion/errors", handlers={hdrs.METH_GET: self.errors}
            ),
        ]

    async def stats(self, exchange: Exchange) -> Answer:
        """Return totals, a time series and event types of a window."""
        tenant = self.readers.of(exchange)
        if isinstance(tenant, Answer):
            return tenant
        window = parse_window(last_value(exchange.request, "window"))
        if isinstance(window, Rejected):
            return refused([window])

        async def look_up() -> Stats:
            return await self.reads.stats(tenant.slug, window, self.now())

        return await answered(self.cache.get((tenant.slug, window), look_up))

    async def errors(self, exchange: Exchange) -> Answer:
        """Return the newest error records."""
        tenant = self.readers.of(exchange)
        if isinstance(tenant, Answer):
            return tenant
        limit = parse_limit(last_value(exchange.request, "limit"))
        if isinstance(limit, Rejected):
            return refused([limit])

        async def look_up() -> ErrorList:
            found = list(await self.reads.errors(tenant.slug, limit))
            return ErrorList(len(found), found)

        return await answered(look_up())


def parse_window(text: str | None) -> Window | Rejected:
    """Return the window that was asked for; missing means 24h."""
    if text is None:
        return "24h"
    if text in WINDOWS:
        return cast("Window", text)
    return Rejected(ErrorType.WINDOW_INVALID, "Use 24h or 7d.", field="window")


def parse_limit(text: str | None) -> int | Rejected:
    """Return how many records were asked for, at most 100; missing means 50."""
    if text is None:
        return DEFAULT_LIMIT
    # Longer digits than any limit are over it; int() would refuse thousands of them.
    if _LIMIT.fullmatch(text) and text.strip("0"):
        digits = text.lstrip("0")
        return min(int(digits), MAX_LIMIT) if len(digits) <= len(str(MAX_LIMIT)) else MAX_LIMIT
    return Rejected(
        ErrorType.LIMIT_INVALID,
        f"Use a whole number from 1; above {MAX_LIMIT} means {MAX_LIMIT}.",
        field="limit",
    )


def last_value(request: BaseRequest, name: str) -> str | None:
    """Return a query parameter; of several the last."""
    values = request.rel_url.query.getall(name, [])
    return values[-1] if values else None


async def answered(look_up: Awaitable[T], *, if_none: Callable[[], Answer] | None = None) -> Answer:
    """Return what was looked up, or 503 where the warehouse is away.

    Args:
        look_up: Asks the warehouse.
        if_none: What to answer where there is nothing, which is None.
    """
    try:
        found = await look_up
        return if_none() if found is None and if_none is not None else ok(found)
    except WarehouseError as error:
        return unanswered(error)


def unanswered(error: WarehouseError) -> Answer:
    """Log why a read failed, and return the 503 that says no more than that it did."""
    _log.warning("The warehouse did not answer a read", extra={"reason": str(error)[:500]})
    return unavailable(
        ErrorType.WAREHOUSE_UNAVAILABLE,
        "The warehouse does not answer.",
        retry_after_s=RETRY_AFTER_S,
    )
