"""How long it takes from a 202 until an event is visible, in ClickHouse and in stats."""

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import orjson

from loadtest.latencies import quantile

RATE_PER_S = 5_000
TICK_S = 0.02


@dataclass(frozen=True, slots=True)
class Freshness:
    """Seconds from the answer to being visible; the polling interval is part of them."""

    visible_p50_s: float
    visible_p99_s: float
    stats_p50_s: float
    stats_max_s: float


async def measure_freshness(
    url: str, api_key: str, token: str, warehouse_url: str, tenant: str, *, seconds: float = 15
) -> Freshness:
    """Send ``RATE_PER_S`` for a while, and watch both places from outside."""
    acked: dict[int, float] = {}
    visible: dict[int, float] = {}
    stats: list[tuple[float, int]] = []
    ticks = int(seconds / TICK_S)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        tasks.create_task(_watch_warehouse(session, warehouse_url, tenant, ticks, visible))
        tasks.create_task(_watch_stats(session, url, token, ticks, stats))
        start = time.monotonic()
        for tick in range(ticks):
            await asyncio.sleep(max(0.0, start + tick * TICK_S - time.monotonic()))
            tasks.create_task(_send_tick(session, url, api_key, tick, acked))
    lags = sorted(visible[tick] - at for tick, at in acked.items())
    stats_lags = _stats_lags(sorted(acked.values()), stats)
    return Freshness(
        quantile(lags, 0.5), quantile(lags, 0.99), quantile(stats_lags, 0.5), stats_lags[-1]
    )


def _stats_lags(acked_at: list[float], stats: list[tuple[float, int]]) -> list[float]:
    # The n-th answer is visible in stats at the first reading that counts n ticks' events.
    per_tick = int(RATE_PER_S * TICK_S)
    lags = []
    at = 0
    for n, acked in enumerate(acked_at, start=1):
        while stats[at][1] < n * per_tick:
            at += 1
        lags.append(max(0.0, stats[at][0] - acked))
    return sorted(lags)


async def _send_tick(
    session: aiohttp.ClientSession, url: str, api_key: str, tick: int, acked: dict[int, float]
) -> None:
    events = [
        {"user_id": f"u-{n}", "event_type": "tick", "payload": {"tick": tick}}
        for n in range(int(RATE_PER_S * TICK_S))
    ]
    async with session.post(
        f"{url}/api/ingestion/track/batch",
        data=orjson.dumps({"events": events}),
        headers={"Authorization": f"ApiKey {api_key}", "Content-Type": "application/json"},
    ) as answer:
        answer.raise_for_status()
    acked[tick] = time.monotonic()


async def _watch_warehouse(
    session: aiohttp.ClientSession, url: str, tenant: str, ticks: int, visible: dict[int, float]
) -> None:
    parts = urlsplit(url)
    query = (
        "SELECT JSONExtractUInt(payload, 'tick') AS tick, count() FROM events"
        " WHERE tenant = {tenant:String} AND tick >= {done:UInt64} GROUP BY tick FORMAT TSV"
    )
    per_tick = int(RATE_PER_S * TICK_S)
    async with asyncio.timeout(90):
        while len(visible) < ticks:
            done = next(n for n in range(ticks) if n not in visible)
            async with session.post(
                f"http://{parts.hostname}:{parts.port}/",
                params={
                    "param_tenant": tenant,
                    "param_done": str(done),
                    "database": parts.path.strip("/"),
                },
                data=query.encode(),
                headers={
                    "Authorization": aiohttp.encode_basic_auth(
                        parts.username or "", parts.password or ""
                    )
                },
            ) as answer:
                answer.raise_for_status()
                text = await answer.text()
            now = time.monotonic()
            for row in text.splitlines():
                tick, count = map(int, row.split("\t"))
                if count >= per_tick:
                    visible.setdefault(tick, now)
            await asyncio.sleep(0.05)


async def _watch_stats(
    session: aiohttp.ClientSession,
    url: str,
    token: str,
    ticks: int,
    stats: list[tuple[float, int]],
) -> None:
    expected = ticks * int(RATE_PER_S * TICK_S)
    async with asyncio.timeout(90):
        while not stats or stats[-1][1] < expected:
            async with session.get(
                f"{url}/api/ingestion/stats", headers={"Authorization": f"Bearer {token}"}
            ) as answer:
                answer.raise_for_status()
                total = orjson.loads(await answer.read())["total_events"]
            stats.append((time.monotonic(), total))
            await asyncio.sleep(0.1)
