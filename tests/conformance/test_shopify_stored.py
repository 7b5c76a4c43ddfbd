"""Deliveries from the socket to the warehouse (reference/shopify.md, 8: "stored")."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from sluice.cli.webhook import samples
from sluice.tenants import TenantsFile
from tests.support.edge import running
from tests.support.poll import poll_until
from tests.support.segops import Answer, Segops
from tests.support.shared import SharedParts
from tests.support.shopify import SECRET, Shop, assert_kept, headers, open_shop, sample
from tests.support.telemetry import sum_of

DUPLICATES = "sluice_warehouse_duplicates_total"


@asynccontextmanager
async def shop_of(api: Segops, shared: SharedParts) -> AsyncIterator[Shop]:
    """Give a client's tenant a secret, and wait until the gateway knows it."""
    TenantsFile(shared.files.tenants_path).set_value(api.slug, "shopify_secrets", SECRET)
    async with open_shop(api.url, api.slug) as shop:

        async def is_known() -> bool:
            answer = await shop.post(b"", {})
            return answer.error_type == "shopify_signature_missing"

        await poll_until(is_known, what="the gateway knows the secret")
        yield shop


async def test_cases_01_to_09_and_49_samples_are_stored_as_events_and_runs(
    api: Segops, shared: SharedParts
) -> None:
    async with shop_of(api, shared) as shop:
        for number in range(1, len(samples()) + 1):
            assert_kept(await shop.send(number))
    rows = {f"{row.event_type} {row.user_id}": row for row in await api.rows_when(15)}
    placed = rows["order_placed nora@example.com"]
    assert (placed.source, placed.occurred_at) == ("shopify", "2026-04-25 14:32:00.000000000")
    assert '"total":42.50,' in placed.payload
    assert "order_placed order:5003" in rows
    assert "order_cancelled 7001" in rows
    unnamed = rows["customer_deleted 7002"]
    assert unnamed.occurred_at[:26] == unnamed.received_at, "case 41"
    assert not any("privacy" in name or "redact" in name for name in rows)

    async def started() -> list[str]:
        runs = (await api.get("/api/workflow/runs")).json["data"]
        return sorted(run["type"] for run in runs) if len(runs) == 3 else []

    assert await poll_until(started, what="runs are listed") == ["data-request", "erase", "erase"]


async def post_to(
    urls: Iterable[str], slug: str, body: bytes, sent: dict[str, str]
) -> list[Answer]:
    """Post one delivery to several gateways at once."""

    async def post(url: str) -> Answer:
        async with open_shop(url, slug) as shop:
            return await shop.post(body, sent)

    async with asyncio.TaskGroup() as tasks:
        posting = [tasks.create_task(post(url)) for url in urls]
    return [task.result() for task in posting]


async def test_case_23_delivery_posted_8_times_is_one_event_and_7_duplicates(
    api: Segops, shared: SharedParts, tmp_path: Path
) -> None:
    """To two gateways at once, and to one of them again after a restart."""
    topic, body = sample(1)
    sent = headers(topic, body)
    data_dir = tmp_path / "edge"
    answers: list[Answer] = []
    async with shop_of(api, shared) as shop:
        with running("gateway", data_dir=data_dir, settings=shared.settings) as one:
            with running("gateway", data_dir=data_dir, settings=shared.settings) as two:
                answers += await post_to([one.url, two.url] * 2, api.slug, body, sent)
            with running("gateway", data_dir=data_dir, settings=shared.settings) as again:
                answers += await post_to([one.url, again.url] * 2, api.slug, body, sent)
        assert [answer.body for answer in answers] == [b'{"queued":true}'] * 8
        assert len({answer.headers["X-Event-Id"] for answer in answers}) == 1
        with running("worker", data_dir=data_dir, settings=shared.settings) as worker:
            await api.rows_when(1)

            async def duplicates() -> float:
                async with shop.session.get(f"{worker.url}/metrics") as metrics:
                    return sum_of(await metrics.text(), DUPLICATES)

            await poll_until(duplicates, within_s=30, what="duplicates are counted")
            assert await duplicates() == 7
    await api.rows_when(1)

    async def is_counted_once() -> bool:
        return bool((await api.stats())["total_events"] == 1)

    await poll_until(is_counted_once, within_s=30, what="stats count one event")


async def test_case_53_event_is_there_after_kill_9(
    api: Segops, shared: SharedParts, tmp_path: Path
) -> None:
    data_dir = tmp_path / "edge"
    topic, body = sample(1)
    async with shop_of(api, shared):
        with running("gateway", data_dir=data_dir, settings=shared.settings) as edge:
            answers = await post_to([edge.url], api.slug, body, headers(topic, body))
            assert_kept(answers[0])
            edge.kill()
        with running("worker", data_dir=data_dir, settings=shared.settings):
            (row,) = await api.rows_when(1)
    assert row.event_id == answers[0].headers["X-Event-Id"]
