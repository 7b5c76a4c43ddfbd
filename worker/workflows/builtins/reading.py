"""Reads what built-in steps ask of the warehouse: long questions, short answers."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import msgspec

from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import Query

_ROW: Final = msgspec.json.Decoder(dict[str, Any])


async def lines(warehouse: Warehouse, query: Query, **params: object) -> AsyncGenerator[bytes]:
    """Yield the rows of an answer as JSON lines without their ends; however many there are.

    Raises:
        WarehouseError: The warehouse refused or did not answer; also in the middle.
    """
    rest = b""
    async with aclosing(warehouse.stream(query, fmt="JSONEachRow", **params)) as pieces:
        async for piece in pieces:
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line
    if rest:
        yield rest


async def rows(warehouse: Warehouse, query: Query, **params: object) -> list[dict[str, Any]]:
    """Return the rows of a short answer.

    Raises:
        WarehouseError: As ``lines``.
    """
    async with aclosing(lines(warehouse, query, **params)) as found:
        return [_ROW.decode(line) async for line in found]


async def column(warehouse: Warehouse, query: Query, **params: object) -> list[Any]:
    """Return the column ``found`` of a short answer.

    Raises:
        WarehouseError: As ``lines``.
    """
    return [row["found"] for row in await rows(warehouse, query, **params)]


async def number(warehouse: Warehouse, query: Query, **params: object) -> int:
    """Return an answer that is one number.

    Raises:
        WarehouseError: As ``lines``.
    """
    [found] = await column(warehouse, query, **params)
    return int(found)
