"""A tenant's dead letters by pages, the newest first.

A page starts behind a key, not at an offset: letters that come while somebody pages stand before
the first page and move nothing. One that was judged again meanwhile stands there, too.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import Query

_OF_DESTINATION: Final = """
    WHERE tenant = {tenant:String}
        AND ({destination:String} = '' OR destination = {destination:String})
"""

LETTERS_PAGE: Final = Query(
    "letters_page",
    """
SELECT destination, error_type, reason, toUnixTimestamp64Micro(dead_at) AS at,
    toString(letter_id) AS id, replaceOne(toString(dead_at), ' ', 'T'),
    substringUTF8(JSONExtractString(row, 'event_id'), 1, 128),
    substringUTF8(JSONExtractString(row, 'event_type'), 1, 200),
    substringUTF8(JSONExtractString(row, 'source'), 1, 64),
    substringUTF8(JSONExtractString(row, 'received_at'), 1, 32)
FROM dead_letters FINAL
WHERE tenant = {tenant:String}
    AND (destination, letter_id) IN (
        SELECT destination, letter_id FROM dead_letters FINAL {letters}
            AND (
                {before_us:Int64} = 0
                OR (toUnixTimestamp64Micro(dead_at), toString(letter_id))
                    < ({before_us:Int64}, {before_id:String})
            )
        ORDER BY dead_at DESC, toString(letter_id) DESC
        LIMIT {limit:UInt32}
    )
ORDER BY at DESC, id DESC
SETTINGS max_execution_time = 5
""".replace("{letters}", _OF_DESTINATION),
)
"""One page. The rows themselves are read of these few only."""

LETTERS_COUNT: Final = Query(
    "letters_count",
    """
SELECT count() FROM dead_letters FINAL {letters}
SETTINGS max_execution_time = 5
""".replace("{letters}", _OF_DESTINATION),
)
"""How many there are in all."""

LETTER_QUERIES: Final = (LETTERS_PAGE, LETTERS_COUNT)


class LetterKey(msgspec.Struct, frozen=True):
    """Where a page starts: behind this letter."""

    dead_at_us: int
    letter_id: str


class DeadLetter(msgspec.Struct, frozen=True):
    """An event that a destination cannot take."""

    event_id: str
    """As far as the row can be read, as all that follows of the event."""
    destination: str
    event_type: str
    reason: str
    """An error_type."""
    detail: str
    """The destination's own words."""
    dead_at: str
    received_at: str
    source: str


class LettersPage(msgspec.Struct, frozen=True):
    """One page, and behind which letter the next one starts; None behind the last."""

    letters: list[DeadLetter]
    next_key: LetterKey | None


async def read_letters(
    warehouse: Warehouse, tenant: str, destination: str, after: LetterKey | None, limit: int
) -> LettersPage:
    """Return at most ``limit`` letters of one destination, or of all where it is empty.

    Raises:
        WarehouseError: The warehouse refused or did not answer.
    """
    rows = await warehouse.fetch(
        LETTERS_PAGE,
        tenant=tenant,
        destination=destination,
        before_us=0 if after is None else after.dead_at_us,
        before_id="" if after is None else after.letter_id,
        limit=limit + 1,
    )
    page = rows[:limit]
    has_more = len(rows) > limit
    return LettersPage(
        [_letter(row) for row in page], LetterKey(page[-1][3], page[-1][4]) if has_more else None
    )


async def count_letters(warehouse: Warehouse, tenant: str, destination: str) -> int:
    """Return how many letters there are; arguments and errors as in ``read_letters``."""
    [(count,)] = await warehouse.fetch(LETTERS_COUNT, tenant=tenant, destination=destination)
    return int(count)


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    destination, error_type, reason, _, _, dead_at, event_id, event_type, source, received_at = row
    return DeadLetter(
        event_id=event_id,
        destination=destination,
        event_type=event_type,
        reason=error_type,
        detail=reason,
        dead_at=f"{dead_at}Z",
        received_at=f"{received_at}Z" if _is_time(received_at) else "",
        source=source,
    )


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False
