"""Events leave the real engine when their tenant keeps them no longer, and nothing else does."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from sluice.core.errors import ConfigError
from sluice.core.tenant import Tenant
from sluice.telemetry import render_metrics
from sluice.tenants import TenantsFile
from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import Query
from sluice.warehouse.retention import REMOVALS
from tests.support.poll import poll_until
from tests.support.telemetry import sum_of
from tests.support.worker_rig import Rig, make_event
from worker.retention import Retention, cut_offs

NOW = datetime.now(UTC)
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
TABLES = ("events", "event_keys", "touched_hours", "rollups", "accepted")


def test_cut_off_is_the_start_of_a_day_and_nobody_who_keeps_all_has_one() -> None:
    tenants = [Tenant("short", retention_days=9), Tenant("long")]
    ends = cut_offs(tenants, now=datetime(2026, 3, 20, 23, 59, tzinfo=UTC))
    assert ends == {"short": int(datetime(2026, 3, 11, tzinfo=UTC).timestamp())}


async def test_old_events_and_what_belongs_to_them_go_when_their_tenant_keeps_them_for_days(
    rig: Rig,
) -> None:
    destination = rig.destination()
    file = TenantsFile(rig.settings.tenants_path)
    for slug in ("acme", "other"):
        file.add_tenant(slug)
    file.set_value("acme", "retention_days", "10")
    end = TODAY - timedelta(days=10)
    moments = [NOW, end, end - timedelta(microseconds=1), end - timedelta(days=40)]
    await rig.deliver(
        destination,
        *(
            make_event(tenant=slug, received_at=moment, client_id=f"{slug}-{number}")
            for slug in ("acme", "other")
            for number, moment in enumerate(moments)
        ),
    )
    await destination.rollups.recompute()
    before = await rig.stats("7d", now=NOW)
    removed = await destination.retention.remove(now=NOW)
    assert removed["events"] == 2
    assert removed["event_keys"] == 2
    assert set(TABLES) <= set(removed)

    async def is_gone() -> bool:
        return await rig.count("events WHERE tenant = 'acme'") == 2

    _: bool = await poll_until(is_gone, within_s=30)
    [(oldest,)] = await rig.rows(
        "SELECT toString(min(received_at)) FROM events WHERE tenant = 'acme'"
    )
    assert oldest.startswith(end.strftime("%Y-%m-%d 00:00:00"))
    assert await rig.count("events WHERE tenant = 'other'") == 4
    assert await rig.count("accepted WHERE tenant = 'other'") == 4
    assert await rig.stats("7d", now=NOW) == before


class LateArrivals(Warehouse):
    """The warehouse; something arrives just before the removal of events is ordered."""

    arrive: Callable[[], Awaitable[object]]

    async def run(self, query: Query, **params: object) -> None:
        if query is REMOVALS["events"]:
            await self.arrive()
        await super().run(query, **params)


async def test_totals_of_an_event_that_comes_late_do_not_outlive_it(rig: Rig) -> None:
    file = TenantsFile(rig.settings.tenants_path)
    file.add_tenant("acme")
    file.set_value("acme", "retention_days", "10")
    old = TODAY - timedelta(days=20)
    async with LateArrivals(rig.settings) as warehouse:
        destination = rig.destination(warehouse)
        await rig.deliver(destination, make_event(received_at=old))

        async def arrive() -> None:
            await rig.deliver(destination, make_event(received_at=old + timedelta(hours=1)))
            await destination.rollups.recompute()

        warehouse.arrive = arrive
        removed = await destination.retention.remove(now=NOW)
    assert removed["events"] == 1

    async def nothing_is_left() -> bool:
        return not any([await rig.count(table) for table in ("events", "touched_hours", "rollups")])

    _: bool = await poll_until(nothing_is_left, within_s=20, what="nothing is left")


async def test_totals_of_hours_that_are_removed_are_looked_for_again_soon(rig: Rig) -> None:
    """A count that was under way while the events were removed may be written after that."""
    file = TenantsFile(rig.settings.tenants_path)
    file.add_tenant("acme")
    file.set_value("acme", "retention_days", "10")
    old = TODAY - timedelta(days=20)
    destination = rig.destination()
    await rig.deliver(destination, make_event(received_at=old))
    retention = Retention(rig.warehouse, rig.settings.tenants_path, again_after_s=2)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(retention.run(stop))

        async def count(table: str) -> int:
            return await rig.count(table)

        async def is_gone() -> bool:
            return not await count("events") + await count("touched_hours")

        _: bool = await poll_until(is_gone, within_s=20, what="the event is gone")
        await destination.rollups.recompute()

        async def nothing_is_left() -> bool:
            return not await count("rollups")

        _ = await poll_until(nothing_is_left, within_s=20, what="nothing is left")
        stop.set()


def last_success() -> float:
    """Return when retention last did its work, as the metrics say."""
    return sum_of(
        render_metrics().decode(), "sluice_warehouse_retention_last_success_timestamp_seconds"
    )


async def test_metrics_say_when_retention_last_did_its_work(rig: Rig) -> None:
    path = rig.settings.tenants_path
    TenantsFile(path).add_tenant("acme")
    good = path.read_text()
    retention = Retention(rig.warehouse, path)
    began = time.time()

    async def look() -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(retention.run(stop))
            await asyncio.sleep(0)  # it has begun; it ends with what it is at
            stop.set()

    path.write_text("tenants = 3")
    await look()
    assert last_success() < began
    path.write_text(good)
    await look()
    assert last_success() >= began


async def test_retention_shorter_than_stats_look_back_is_refused(rig: Rig) -> None:
    file = TenantsFile(rig.settings.tenants_path)
    file.add_tenant("acme")
    with pytest.raises(ConfigError, match="retention_days"):
        file.set_value("acme", "retention_days", "8")
