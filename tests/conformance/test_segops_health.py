"""Cases 93 and 94: health."""

from pathlib import Path

import orjson

from tests.support.edge import running
from tests.support.poll import poll_until
from tests.support.proxy import TcpProxy
from tests.support.segops import EVENT, HEALTH, Answer, Segops, assert_queued
from tests.support.shared import SharedParts

ALL_WELL = b'{"pubsub_topic":"ok","worker":"ok","clickhouse":"ok"}'


async def health_when(api: Segops, status: int) -> Answer:
    """Wait until health has that status, and return the answer."""

    async def answer() -> Answer | None:
        found = await api.ask("GET", HEALTH)
        return found if found.status == status else None

    return await poll_until(answer, within_s=30, what=f"health is {status}")


async def test_case_093_health_is_exactly_the_given_body_when_all_is_well(client: Segops) -> None:
    answer = await health_when(client, 200)
    assert answer.body == ALL_WELL


async def test_case_094_health_says_error_when_clickhouse_is_stopped(
    api: Segops, shared: SharedParts, tmp_path: Path
) -> None:
    async with TcpProxy(shared.warehouse_url) as proxy:
        settings = {**shared.settings, "WAREHOUSE_URL": proxy.url}
        with running("gateway", data_dir=tmp_path / "edge", settings=settings) as edge:
            async with api.at(edge.url) as there:
                assert (await health_when(there, 200)).body == ALL_WELL
                await proxy.cut()
                answer = await health_when(there, 503)
                assert orjson.loads(answer.body) == {
                    "pubsub_topic": "ok",
                    "worker": "ok",
                    "clickhouse": "error",
                }
                assert list(answer.json) == ["pubsub_topic", "worker", "clickhouse"]
                assert_queued(await there.track(EVENT))
                stats = await there.get("/api/ingestion/stats/")
                assert (stats.status, stats.error_type) == (503, "warehouse_unavailable")
