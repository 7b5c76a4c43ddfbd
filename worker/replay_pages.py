"""Reads what a replay sends, page by page, in the order in which it was received."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import msgspec

from sluice.warehouse import replays
from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import Query
from worker.core.replays import Asked, Count, Plan, Reached, StoredEvent, StoredLetter, row_of

MAX_PAGE_BYTES: Final = 16 * 1024 * 1024
"""A page ends early where its rows are large: they are held as they came and as they go."""

_COUNT: Final = msgspec.json.Decoder(Count)
_EVENT: Final = msgspec.json.Decoder(StoredEvent)
_LETTER: Final = msgspec.json.Decoder(StoredLetter)


@dataclass(frozen=True, slots=True)
class Page:
    """Some events in order."""

    rows: Sequence[bytes]
    """As they travelled through the queue."""
    after_at: str
    after_id: str
    """The key of the last."""
    is_last: bool
    """Whether its part of the window holds no more."""


class ReplayPages:
    """What the warehouse holds of what a replay was asked for."""

    def __init__(self, warehouse: Warehouse, asked: Asked) -> None:
        self._warehouse = warehouse
        self._asked = asked

    async def plan(self, since: str, until: str) -> Plan:
        """Return what is there, counted.

        Raises:
            WarehouseError: It cannot be read.
        """
        query = replays.LETTER_COUNTS if self._asked.dead_letters else replays.EVENT_COUNTS
        lines = self._lines(query, since=since, until=until, destination=self._asked.destination)
        async with aclosing(lines) as found:
            return Plan([_COUNT.decode(line) async for line in found])

    async def page(self, reached: Reached, since: str, until: str, *, limit: int) -> Page:
        """Return the next events of a part of the window, behind what was reached.

        Raises:
            WarehouseError: They cannot be read.
        """
        given: dict[str, object] = {"since": since, "until": until, "limit": limit}
        given |= {"after_at": reached.after_at, "after_id": reached.after_id}
        rows: list[bytes] = []
        size = 0
        query: Query
        decode: Callable[[bytes], StoredEvent | StoredLetter]
        if self._asked.dead_letters:
            query, decode = replays.LETTER_PAGE, _LETTER.decode
            given["destination"] = self._asked.destination
        else:
            query, decode = replays.EVENT_PAGE, _EVENT.decode
        at, last = reached.after_at, reached.after_id
        async with aclosing(self._lines(query, **given)) as lines:
            async for line in lines:
                stored = decode(line)
                rows.append(row_of(self._asked.tenant, stored))
                at, last = stored.received, stored.id
                size += len(rows[-1])
                if size >= MAX_PAGE_BYTES:
                    break
        is_last = len(rows) < limit and size < MAX_PAGE_BYTES
        return Page(rows, at, last, is_last)

    async def _lines(self, query: Query, **given: object) -> AsyncGenerator[bytes, None]:
        stream = self._warehouse.stream(
            query,
            fmt="JSONEachRow",
            tenant=self._asked.tenant,
            event_types=list(self._asked.event_types),
            **given,
        )
        rest = b""
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield line
        if rest:
            yield rest
