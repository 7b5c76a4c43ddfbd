"""How fresh the warehouse is, as the worker measures it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from sluice.telemetry import FRESHNESS
from tests.support.poll import poll_until
from tests.support.worker_rig import Rig, make_event


async def test_worker_tells_how_old_events_were_when_they_became_visible(rig: Rig) -> None:
    now = datetime.now(UTC)
    before = FRESHNESS.count()
    waited = [make_event(received_at=now - timedelta(seconds=40)) for _ in range(3)]
    ahead = [make_event(received_at=now + timedelta(minutes=5)) for _ in range(7)]
    copy = make_event(client_id="once")
    async with rig.worker() as address:
        assert (await _status(address))["freshness_s"] is None
        await rig.publish(*waited)
        await rig.publish(*ahead)
        await rig.drained()
        await rig.publish(copy, copy)
        await rig.drained()
        found: Any = await poll_until(lambda: _freshness(address), what="a freshness")
        assert found["p50"] == pytest.approx(0.001, abs=0.001)  # never negative
        assert 38 <= found["p99"] <= 80
        # One for each event that is stored: the copy is not, and the envelope counts as one only.
        assert FRESHNESS.count() - before == 11
    assert await rig.count("events FINAL") == 11


async def _status(address: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{address}/status") as answer:
        return await answer.json()


async def _freshness(address: str) -> Any:
    return (await _status(address))["freshness_s"]
