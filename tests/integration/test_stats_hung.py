"""Who asks for stats often does not wait for a warehouse that hangs."""

import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from gateway.routes.reads import KEEP_S, STALE_S
from sluice.settings import load_settings
from sluice.telemetry import STATS_OVERDUE, STATS_RENEWALS
from sluice.warehouse.client import Warehouse
from sluice.warehouse.migrate import migrate
from tests.support.gateway import Gateway, running_gateway
from tests.support.poll import poll_until
from tests.support.warehouse import service_url, start_warehouse, stop_warehouse

STATS = "/api/ingestion/stats"
AT_ONCE_S = 2.0
"""Far less than the eight seconds for which the warehouse is waited for."""


async def as_of(gateway: Gateway) -> datetime:
    """Ask for stats; there is an answer, and it comes at once."""
    began = time.monotonic()
    answer = await gateway.ask("GET", STATS, gateway.bearer())
    assert time.monotonic() - began < AT_ONCE_S
    assert answer.status == 200, answer
    return datetime.fromisoformat(answer.json["as_of"])


@pytest.mark.long(12)
async def test_renewal_that_does_not_come_back_makes_nobody_wait(tmp_path: Path) -> None:
    process = start_warehouse(tmp_path / "warehouse")
    try:
        url = service_url(tmp_path / "warehouse")
        settings = load_settings(data_dir=tmp_path, warehouse_url=url)
        async with Warehouse(settings) as warehouse:
            await migrate(warehouse)
        async with running_gateway(tmp_path / "edge", warehouse_url=url) as gateway:
            await gateway.ask("GET", STATS, gateway.bearer())  # connects, however long that takes
            before = await as_of(gateway)
            overdue, renewed = STATS_OVERDUE.value(), STATS_RENEWALS.value("renewed")
            process.send_signal(signal.SIGSTOP)
            stopped_at = time.monotonic()

            async def is_overdue() -> bool:
                # A renewal that was under way when it stopped may still have been answered.
                assert (await as_of(gateway) - before).total_seconds() <= 1
                return STATS_OVERDUE.value() >= overdue + 3

            await poll_until(is_overdue, within_s=KEEP_S + STALE_S + 3, every_s=0.1)
            assert time.monotonic() - stopped_at > STALE_S
            process.send_signal(signal.SIGCONT)

            async def is_newer() -> bool:
                return await as_of(gateway) > before

            await poll_until(is_newer, what="an answer of after the pause")
            assert STATS_RENEWALS.value("renewed") > renewed
    finally:
        process.send_signal(signal.SIGCONT)
        stop_warehouse(process)
