"""While the warehouse is away nothing is lost, nothing is put aside, and health says so."""

from typing import Any

import aiohttp
import pytest

from sluice.core.errors import WarehouseUnavailableError
from tests.support.poll import poll_until
from tests.support.warehouse import start_warehouse, stop_warehouse
from tests.support.worker_rig import Place, Rig, make_event

KILL = 9


async def status(address: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{address}/status") as answer:
        assert answer.status == 200
        found: dict[str, Any] = await answer.json()
        return found


async def test_events_are_stored_once_when_the_warehouse_was_killed_meanwhile(
    place: Place,
) -> None:
    """Every event answered 202 is in ClickHouse once; the worker starts without a warehouse."""
    async with place.rig(warehouse_url="") as rig, rig.worker() as address:
        await rig.publish(*(make_event(client_id=f"before-{n}") for n in range(100)))
        await poll_until(lambda: _is_open(address), within_s=30, what="the breaker is open")
        for generation in range(2):
            process = start_warehouse(place.folder)
            try:
                await rig.drained()
                await _is_exact(rig, 100 * (generation + 1))
            finally:
                stop_warehouse(process, with_signal=KILL)
            await rig.publish(*(make_event(client_id=f"{generation}-{n}") for n in range(100)))
        backlog = await rig.queue.backlog("warehouse")
        assert (backlog.events, backlog.dead) == (100, 0)
        with pytest.raises(WarehouseUnavailableError):
            await rig.warehouse.ping()


async def _is_open(address: str) -> bool:
    found = (await status(address))["destinations"]["warehouse"]
    return bool(found["breaker"] != "closed" and found["state"] == "degraded")


async def _is_exact(rig: Rig, expected: int) -> None:
    async def answers() -> bool:
        try:
            await rig.warehouse.ping()
        except WarehouseUnavailableError:
            return False  # the address of the last generation; the next try reads it anew
        return True

    await poll_until(answers, within_s=30)
    assert await rig.count("events FINAL") == expected
    assert await rig.count("dead_letters") == 0

    async def is_counted() -> bool:
        return (await rig.stats()).total_events == expected

    await poll_until(is_counted, within_s=30, what="stats are exact")


async def test_envelopes_are_given_back_when_the_worker_stops_during_an_outage(
    place: Place,
) -> None:
    async with place.rig(warehouse_url="") as rig:
        async with rig.worker() as address:
            await rig.publish(make_event())
            await poll_until(lambda: _is_open(address), within_s=30)
        backlog = await rig.queue.backlog("warehouse")
        assert (backlog.messages, backlog.leased) == (1, 0)


async def test_status_tells_backlog_breaker_and_heartbeat(rig: Rig) -> None:
    async with rig.worker() as address:
        await rig.publish(make_event())
        await rig.drained()

        async def is_caught_up() -> bool:
            found = (await status(address))["destinations"]["warehouse"]
            return bool(found["backlog_events"] == 0)

        await poll_until(is_caught_up, within_s=30)
        found = await status(address)
        assert found["heartbeat_age_s"] < 5
        assert found["started_at"].endswith("Z")
        assert found["destinations"]["warehouse"] == {
            "backlog_age_s": 0.0,
            "backlog_events": 0,
            "breaker": "closed",
            "state": "ok",
            "detail": "",
            "parked_events": 0,
            "troubles": [],
        }
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{address}/livez") as live:
                assert (live.status, await live.text()) == (200, "ok")
            async with session.get(f"{address}/metrics") as metrics:
                assert "sluice_warehouse_inserted_rows_total" in await metrics.text()
