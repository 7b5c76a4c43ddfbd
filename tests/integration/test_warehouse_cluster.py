"""Statements for clusters, read by the real engine, which has no Keeper to run them."""

from pathlib import Path

import pytest

from sluice.settings import load_settings
from sluice.warehouse import erasures, upkeep
from sluice.warehouse.client import INSERT_SETTINGS, Warehouse
from sluice.warehouse.migrate import migrations, statements
from sluice.warehouse.topology import (
    Topology,
    catching_up,
    insert_settings,
    mutation_settings,
    read_settings,
    rendered,
)
from tests.support.stack import Stack
from tests.support.warehouse import service_url
from tests.support.warehouse_client import client_of

REPLICATED = (Topology.CLUSTER, Topology.DATABASE)


def cluster_of(topology: Topology) -> str:
    return "main" if topology is Topology.CLUSTER else ""


@pytest.mark.parametrize("topology", REPLICATED)
async def test_engine_can_read_every_statement_of_the_schema_for_a_cluster(
    stack: Stack, topology: Topology
) -> None:
    async with client_of(service_url(stack.data_dir)) as client:
        for _, text in migrations():
            for statement in statements(text, durable=False):
                made = rendered(statement, topology, cluster_of(topology))
                assert await client.command(f"EXPLAIN AST {made}")


@pytest.mark.parametrize("topology", REPLICATED)
async def test_engine_can_read_what_lets_servers_catch_up(stack: Stack, topology: Topology) -> None:
    async with client_of(service_url(stack.data_dir)) as client:
        for query in (upkeep.RECOMPUTE, erasures.DELETES["events"]):
            for statement in catching_up(query.sql, topology, cluster_of(topology)):
                assert await client.command(f"EXPLAIN AST {statement}")


async def test_engine_knows_every_setting_that_clusters_are_given(stack: Stack) -> None:
    names = {
        *INSERT_SETTINGS,
        *(name for each in Topology for name in insert_settings(each)),
        *(name for each in Topology for name in mutation_settings(each)),
        *(name for each in Topology for name in read_settings(each)),
    }
    async with client_of(service_url(stack.data_dir)) as client:
        found = await client.query(
            "SELECT name FROM system.settings WHERE name IN {names:Array(String)}",
            parameters={"names": sorted(names)},
        )
        # The last is a parameter of the HTTP interface, and no setting.
        assert {row[0] for row in found.result_rows} == names - {"wait_end_of_query"}
        quorum = insert_settings(Topology.CLUSTER)
        assert await client.command("SELECT 1", settings=dict(quorum)) == 1


async def test_server_of_its_own_is_taken_for_one_when_nothing_is_set(
    stack: Stack, tmp_path: Path
) -> None:
    url = service_url(stack.data_dir)
    async with Warehouse(load_settings(warehouse_url=url, data_dir=tmp_path)) as warehouse:
        assert await warehouse.topology() is Topology.SINGLE
        assert await warehouse.fetch(upkeep.NOW)
