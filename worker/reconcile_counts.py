"""Reads the terms of the ledger, hour by hour (``sluice.warehouse.ledgers``)."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

import msgspec

from sluice.warehouse import ledgers
from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import STATS_STALE_HOURS, Query
from worker.core.reconciling import KEYS_KNOWN, Balance, Span

SLICE_EVENTS: Final = 1_000_000
"""About how many events are joined at once."""
FRESH_S: Final = 3600
"""A warehouse whose ledger is no more than this younger than itself never was without one."""

_ROW: Final = msgspec.json.Decoder(dict[str, Any])
_TERMS: Final[Mapping[Query, Mapping[str, str]]] = {
    ledgers.STORED: {
        "events": "stored",
        "named": "stored_named",
        "made_sum": "stored_made_sum",
        "named_sum": "stored_named_sum",
    },
    ledgers.DEAD: {
        "events": "dead",
        "made_sum": "dead_made_sum",
        "named_sum": "dead_named_sum",
    },
    ledgers.ERASED: {
        "events": "erased",
        "named": "erased_named",
        "made_sum": "erased_made_sum",
        "named_sum": "erased_named_sum",
    },
    ledgers.NOTED_COPIES: {"copies": "noted_copies"},
}
_ACCEPTED: Final = {
    "events": "accepted",
    "envelopes": "envelopes",
    "named": "named",
    "repeats": "repeats",
    "left_out": "left_out",
    "made": "made",
    "made_sum": "made_sum",
}
_KEYS: Final = {"firsts": "firsts", "copies": "copies", "firsts_sum": "firsts_sum"}


async def rows_of(
    warehouse: Warehouse, query: Query, **params: object
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the rows of a statement that may take long, by column.

    Raises:
        WarehouseError: It cannot be read.
    """
    rest = b""
    async with aclosing(warehouse.stream(query, fmt="JSONEachRow", **params)) as pieces:
        async for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield _ROW.decode(line)
    if rest:
        yield _ROW.decode(rest)


async def all_rows(warehouse: Warehouse, query: Query, **params: object) -> list[dict[str, Any]]:
    """Return the rows of a statement whose answer is bounded."""
    async with aclosing(rows_of(warehouse, query, **params)) as rows:
        return [row async for row in rows]


async def began_at(warehouse: Warehouse) -> int:
    """Return the unix seconds from which on everything accepted is written down."""
    [row] = await all_rows(warehouse, ledgers.BEGAN)
    if row["ledger"] - row["first"] <= FRESH_S:
        return 0
    return int(row["ledger"])


async def slices_of(warehouse: Warehouse, tenant: str, span: Span) -> int:
    """Return into how many slices the keys of a window are cut."""
    [row] = await all_rows(warehouse, ledgers.KEY_COUNT, tenant=tenant, **span.texts)
    return 1 + int(row["keys"]) // SLICE_EVENTS


async def balance_of(
    warehouse: Warehouse, tenant: str, span: Span, *, began: int, now: datetime
) -> Balance:
    """Return the ledger of a window.

    Raises:
        WarehouseError: It cannot be read.
    """
    balance = Balance()
    has_keys = span.since >= now - KEYS_KNOWN
    for hour in span.hours:
        terms = balance.of(hour)
        terms.has_keys = has_keys
        # The hour in which the ledger began is only partly in it.
        terms.accepted = 0 if hour >= began else None
    given = {"tenant": tenant, **span.texts}
    accepted = await all_rows(warehouse, ledgers.ACCEPTED, **given)
    balance.take([row for row in accepted if int(row["hour"]) >= began], _ACCEPTED)
    for query, names in _TERMS.items():
        rows = await all_rows(warehouse, query, **given, slices=1, slice=0)
        balance.take(rows, names)
    slices = await slices_of(warehouse, tenant, span)
    if has_keys:
        for part in range(slices):
            cut = {"slices": slices, "slice": part}
            balance.take(await all_rows(warehouse, ledgers.KEYS, **given, **cut), _KEYS)
    return balance


async def fates_of(
    warehouse: Warehouse, tenant: str, destination: str, span: Span, *, stored: int
) -> tuple[dict[str, int], list[int]]:
    """Return the stored events by outcome, and the hours in which no event has one.

    An empty outcome stands for events of which nothing was noted, hours without any apart.
    """
    by_hour: dict[int, dict[str, int]] = {}
    given = {"tenant": tenant, "destination": destination, **span.texts}
    slices = 1 + stored // SLICE_EVENTS
    for part in range(slices):
        cut = {"slices": slices, "slice": part}
        rows = await all_rows(warehouse, ledgers.FATES, **given, **cut)
        for row in rows:
            _add(by_hour, row["hour"], row["fate"], row["events"])
        if any(not row["fate"] and row["named"] for row in rows):
            for row in await all_rows(warehouse, ledgers.FATES_ELSEWHERE, **given, **cut):
                _add(by_hour, row["hour"], row["fate"], row["events"])
                _add(by_hour, row["hour"], "", -row["events"])
    totals: dict[str, int] = {}
    silent: list[int] = []
    for hour, fates in sorted(by_hour.items()):
        if set(fates) == {""}:
            silent.append(hour)
            totals["silent"] = totals.get("silent", 0) + fates[""]
            continue
        for fate, events in fates.items():
            totals[fate] = totals.get(fate, 0) + events
    return totals, silent


def _add(by_hour: dict[int, dict[str, int]], hour: int, fate: str, events: int) -> None:
    fates = by_hour.setdefault(hour, {})
    fates[fate] = fates.get(fate, 0) + events


async def stale_hours(warehouse: Warehouse, tenant: str, span: Span) -> set[int]:
    """Return the hours that were written to and whose rollup follows."""
    start, end = int(span.since.timestamp()), int(span.until.timestamp())
    rows = await warehouse.fetch(STATS_STALE_HOURS, tenant=tenant, start=start, end=end, grace_ms=0)
    return {int(hour) for (hour,) in rows}
