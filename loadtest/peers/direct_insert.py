"""The ceiling of the whole road: rows that were read back, inserted straight into ClickHouse."""

import time
from typing import Final
from urllib.parse import urlsplit

import clickhouse_connect

INSERT_ROWS: Final = 50_000


async def rows_per_s(warehouse_url: str, tenant: str, events: int) -> float:
    """Insert a tenant's stored rows once more, 50,000 a block; return how many a second."""
    parts = urlsplit(warehouse_url)
    client = await clickhouse_connect.get_async_client(
        host=parts.hostname,
        port=parts.port,
        username=parts.username,
        password=parts.password or "",
        database=parts.path.strip("/"),
    )
    async with client:
        columns = (
            "event_id, user_id, anonymous_id, event_type, occurred_at, received_at, source, payload"
        )
        rows = await client.raw_query(
            f"SELECT concat(e.tenant, '-direct') AS tenant, {columns} FROM events AS e"  # noqa: S608 - constants
            " WHERE e.tenant = {tenant:String}",
            parameters={"tenant": tenant},
            fmt="JSONEachRow",
        )
        lines = rows.splitlines(keepends=True)
        assert len(lines) == events
        blocks = [
            b"".join(lines[at : at + INSERT_ROWS]) for at in range(0, len(lines), INSERT_ROWS)
        ]
        start = time.perf_counter()
        for block in blocks:
            await client.raw_insert("events", insert_block=block, fmt="JSONEachRow")
        took = time.perf_counter() - start
    return len(lines) / took
