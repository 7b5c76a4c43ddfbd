"""What one shop sends costs others little, be it signed or forged."""

import asyncio
import time
from pathlib import Path

import orjson

from gateway.routes.shopify import EXAMINED_BYTES_PER_S
from tests.support.gaps import watch_gaps
from tests.support.gateway import stored_rows
from tests.support.shopify import assert_kept, headers, shop_of

TOPIC = "orders/create"


async def test_large_odd_order_does_not_hold_up_what_else_arrives(tmp_path: Path) -> None:
    odd_lines = b",".join([b'{"quantity":"x","sku":7}'] * 100_000)
    body = b'{"id":1,"email":"a@b.example","line_items":[%b]}' % odd_lines
    gaps: list[float] = []

    async with shop_of(tmp_path) as (shop, _):
        signed = headers(TOPIC, body)
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(watch_gaps(gaps))
            started = time.perf_counter()
            assert_kept(await shop.post(body, signed))
            took = time.perf_counter() - started
            watcher.cancel()
    assert max(gaps) < took / 2


async def test_flood_of_large_forged_bodies_is_examined_for_a_few_only(tmp_path: Path) -> None:
    forged = b"x" * (EXAMINED_BYTES_PER_S - 100_000)
    async with shop_of(tmp_path) as (shop, gateway):
        started = time.monotonic()
        for _ in range(8):
            answer = await shop.deliver(TOPIC, forged, secret="another")
            assert answer.status == 401
        seconds = int(time.monotonic() - started) + 2  # of a clock that these lie in
    records = [orjson.loads(row) for row in (await stored_rows(gateway.settings))["errors"]]
    examined = sum(one["occurrences"] for one in records if "no JSON" in one["detail"])
    assert sum(one["occurrences"] for one in records) == 8
    assert 1 <= examined <= 2 * seconds
