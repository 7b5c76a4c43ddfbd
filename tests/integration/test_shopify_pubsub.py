"""Deliveries while Pub/Sub is away: reference/shopify.md, case 51."""

import time
import uuid
from pathlib import Path

import grpc
import orjson
import pytest

from loadtest.pubsub_gate import PubSubGate
from sluice.queue.pubsub_setup import ensure_topics
from sluice.queue.pubsub_wire import Names
from tests.support.poll import poll_until
from tests.support.shopify import assert_kept, shop_of


async def test_case_51_delivery_is_taken_within_3_s_while_pubsub_is_away(
    pubsub_emulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PubSubGate(pubsub_emulator) as gate:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", gate.host)
        names = Names(f"project-{uuid.uuid4().hex[:12]}")
        await ensure_topics(names)
        async with shop_of(tmp_path, queue_url=f"pubsub://{names.project}") as (shop, gateway):
            assert_kept(await shop.send(1))
            gate.refuse("Publish", "GetTopic", status=grpc.StatusCode.UNAVAILABLE)
            started = time.monotonic()
            assert_kept(await shop.send(1))
            assert_kept(await shop.send(15))
            assert time.monotonic() - started < 2 * 3

            async def spooled() -> int:
                ready = orjson.loads((await gateway.ask("GET", "/readyz")).body)
                return int(ready["spool"]["stored_bytes"])

            assert await spooled()
            gate.acts.clear()

            async def is_drained() -> bool:
                return not await spooled()

            await poll_until(is_drained, within_s=30, what="the spool is drained")
