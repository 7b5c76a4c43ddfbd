"""What the gateway reads from the warehouse, as small functions that routes are given."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sluice.core.receipts import Findings
from sluice.warehouse.client import Warehouse
from sluice.warehouse.letters import LetterKey, LettersPage, count_letters, read_letters
from sluice.warehouse.receipts import find_event as find_event_in
from sluice.warehouse.stats import Stats, StoredError, Window, read_errors, read_stats
from sluice.warehouse.tail import TailAsk, Tailed, TailFilter, read_tail


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """Reads of one tenant's data; ``WarehouseError`` where ClickHouse fails."""

    stats: Callable[[str, Window, datetime], Awaitable[Stats]]
    errors: Callable[[str, int], Awaitable[Sequence[StoredError]]]
    find_event: Callable[[str, Sequence[str]], Awaitable[Findings]]
    letters: Callable[[str, str, LetterKey | None, int], Awaitable[LettersPage]]
    """By tenant, destination (empty: all), the letter before the page, and the most of a page."""
    count_letters: Callable[[str, str], Awaitable[int]]
    tail: Callable[[str, TailFilter, TailAsk], Awaitable[Tailed]]
    ping: Callable[[], Awaitable[None]]


def reads_of(warehouse: Warehouse) -> Reads:
    """Return the reads of a warehouse."""

    async def stats(tenant: str, window: Window, now: datetime) -> Stats:
        return await read_stats(warehouse, tenant, window, now)

    async def errors(tenant: str, limit: int) -> Sequence[StoredError]:
        return await read_errors(warehouse, tenant, limit)

    async def find_event(tenant: str, ids: Sequence[str]) -> Findings:
        return await find_event_in(warehouse, tenant, ids)

    async def tail(tenant: str, which: TailFilter, ask: TailAsk) -> Tailed:
        return await read_tail(warehouse, tenant, which, ask)

    async def letters(
        tenant: str, destination: str, after: LetterKey | None, limit: int
    ) -> LettersPage:
        return await read_letters(warehouse, tenant, destination, after, limit)

    async def count(tenant: str, destination: str) -> int:
        return await count_letters(warehouse, tenant, destination)

    return Reads(
        stats=stats,
        errors=errors,
        find_event=find_event,
        letters=letters,
        count_letters=count,
        tail=tail,
        ping=warehouse.ping,
    )
