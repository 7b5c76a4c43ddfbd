"""The grants of docs/clickhouse.md are enough for each part, and no more than it needs.

The engine runs with one user, which gets the grants of one part after the other.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sluice.core.errors import WarehouseError
from sluice.queue import open_queue
from sluice.settings import load_settings
from sluice.tenants import TenantsFile
from sluice.warehouse import erasures, retention, upkeep
from sluice.warehouse.client import Warehouse
from sluice.warehouse.grants import GRANTS
from sluice.warehouse.migrate import migrate, migrations
from sluice.warehouse.queries import TENANT_QUERIES
from tests.support.command import sluice
from tests.support.granted import granted_warehouse
from tests.support.worker_rig import Rig, make_event

PAGE = Path(__file__).parents[2] / "docs" / "clickhouse.md"
CODE_DENIED = 497


def grants_of(user: str) -> list[str]:
    """Return what the page grants to a user on one server."""
    block = PAGE.read_text().partition("## Least grants")[2].split("```")[1]
    found = re.findall(rf"^(GRANT .*) TO {user};$", block, re.MULTILINE)
    planned = GRANTS[user.removeprefix("sluice_")]
    assert found == [f"GRANT {what} ON {on.replace('@db@', 'sluice')}" for what, on in planned]
    return found


@asynccontextmanager
async def rig_of(url: str, folder: Path) -> AsyncIterator[Rig]:
    """Open a queue, and connect to a warehouse as one of the users."""
    settings = load_settings(data_dir=folder, warehouse_url=url, worker_port=0)
    async with (
        open_queue(settings) as queue,
        Warehouse(settings, makes_database=False) as warehouse,
    ):
        yield Rig(settings, queue, warehouse)


@pytest.mark.timeout(120)
async def test_each_part_can_do_its_work_and_no_more_with_the_least_grants(tmp_path: Path) -> None:
    TenantsFile(tmp_path / "tenants.toml").add_tenant("acme")
    with granted_warehouse(tmp_path, grants_of("sluice_setup")) as url:
        async with rig_of(url, tmp_path) as rig:
            assert len(await migrate(rig.warehouse)) == len(list(migrations()))
    with granted_warehouse(tmp_path, grants_of("sluice_worker")) as url:
        async with rig_of(url, tmp_path) as rig:
            await _work(rig)
            with pytest.raises(WarehouseError) as refused:
                await rig.warehouse.command("DROP TABLE events")
            assert refused.value.code == CODE_DENIED
    with granted_warehouse(tmp_path, grants_of("sluice_gateway")) as url:
        said = {one: await _doctor(url, tmp_path, one) for one in ("gateway", "worker")}
        assert "migrations applied" in said["gateway"]
        assert "not granted: INSERT ON sluice.*; ALTER DELETE ON sluice.*" in said["worker"]
        async with rig_of(url, tmp_path) as rig:
            stats = await rig.stats("24h")
            assert (stats.total_events, stats.unique_users) == (2, 1)
            for query in TENANT_QUERIES:
                await _read(rig, query.sql)
            with pytest.raises(WarehouseError) as refused:
                await rig.warehouse.run(upkeep.DELETE_COPIES)
            assert refused.value.code == CODE_DENIED


async def _doctor(url: str, folder: Path, process: str) -> str:
    settings = {"WAREHOUSE_URL": url, "DATA_DIR": str(folder)}
    ran = await sluice("doctor", "--for", process, "--json", settings=settings)
    return ran.stdout


async def _work(rig: Rig) -> None:
    """Store events and a copy, count them, and send every kind of statement of a worker."""
    now = datetime.now(UTC)
    events = [make_event(received_at=now), make_event(client_id="named", received_at=now)]
    again = make_event(client_id="named", received_at=now + timedelta(seconds=1))
    async with rig.worker():
        await rig.publish(*events, again)
        await rig.drained()
    bound = {"tenant": "acme", "run_id": "wf-1", "cut_off": "2000-01-01 00:00:00.000000"}
    shop = {**bound, "with_shopify": True}
    await rig.warehouse.run(upkeep.DELETE_COPIES)
    await rig.warehouse.run(erasures.NOTE_VISITORS, **shop)
    await rig.warehouse.run(erasures.AIM, **shop)
    for query in erasures.DELETES.values():
        await rig.warehouse.run(query, **shop, computed_at="2000-01-01 00:00:00.000000")
    await rig.warehouse.run(erasures.FORGET_RUNS)
    await rig.warehouse.fetch(erasures.MUTATIONS, run_id="wf-1")
    for query in retention.REMOVALS.values():
        await rig.warehouse.run(query, tenants=["acme"], cut_offs=[0])


async def _read(rig: Rig, sql: str) -> None:
    """Read as one of the gateway's queries does, as far as rights are concerned."""
    for table in re.findall(r"\bFROM\s+(\w+)", sql):
        await rig.rows(f"SELECT count() FROM {table}")  # noqa: S608 - names from our own queries
