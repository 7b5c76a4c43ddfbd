"""What the statements become where ClickHouse has several servers."""

import re

import pytest

from sluice.core.errors import ConfigError
from sluice.settings import load_settings
from sluice.warehouse import erasures, queries, upkeep
from sluice.warehouse.migrate import migrations, statements
from sluice.warehouse.topology import (
    Topology,
    catching_up,
    insert_settings,
    is_mutation,
    mutation_settings,
    read_settings,
    rendered,
    tables_read,
    topology_of,
)

STATEMENTS = [part for _, text in migrations() for part in statements(text, durable=False)]


@pytest.mark.parametrize(
    ("engine", "cluster", "topology"),
    [
        ("Atomic", "", Topology.SINGLE),
        ("", "", Topology.SINGLE),
        ("Atomic", "main", Topology.CLUSTER),
        ("Replicated", "", Topology.DATABASE),
        ("Shared", "", Topology.CLOUD),
    ],
)
def test_topology_follows_from_the_engine_of_the_database_and_the_setting(
    engine: str, cluster: str, topology: Topology
) -> None:
    assert topology_of(engine, cluster) is topology


@pytest.mark.parametrize("topology", [Topology.SINGLE, Topology.CLOUD])
def test_statement_stays_as_it_is_when_servers_share_their_tables(topology: Topology) -> None:
    assert all(rendered(one, topology, "") == one for one in STATEMENTS)


def test_every_table_is_replicated_on_the_cluster_when_there_is_one() -> None:
    for statement in STATEMENTS:
        made = rendered(statement, Topology.CLUSTER, "main")
        created = re.search(
            r"^CREATE (TABLE|VIEW) IF NOT EXISTS \w+( ON CLUSTER `main`)?", made, re.MULTILINE
        )
        assert created is None or created[2]
        engines = re.findall(r"ENGINE = (\w+)\(([^)]*)\)", made)
        assert len(engines) == made.count("ENGINE = ")
        for engine, given in engines:
            assert engine.startswith("Replicated")
            assert given.startswith("'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'")


def test_version_of_a_table_is_kept_behind_path_and_replica() -> None:
    sql = "ENGINE = ReplacingMergeTree(noted_at)"
    assert rendered(sql, Topology.CLUSTER, "main").endswith("'{replica}', noted_at)")
    assert rendered(sql, Topology.DATABASE, "") == "ENGINE = ReplicatedReplacingMergeTree(noted_at)"
    assert rendered("ENGINE = ReplacingMergeTree", Topology.DATABASE, "").endswith("MergeTree()")


def test_tables_of_a_statement_are_those_that_it_reads_and_those_behind_views() -> None:
    assert tables_read(upkeep.KEY_COPIES.sql) == ["event_keys"]
    assert tables_read(upkeep.RECOMPUTE.sql) == ["event_duplicates", "events"]
    assert tables_read(upkeep.NOW.sql) == []
    assert tables_read(erasures.IDENTITIES_LEFT.sql) == ["erasures", "events"]
    assert tables_read(queries.STATS_STALE_HOURS.sql) == ["rollups", "touched_hours"]
    assert tables_read("SELECT applied_at FROM migrations -- FROM events") == ["migrations"]


def test_server_catches_up_before_it_is_asked_and_all_do_before_a_mutation() -> None:
    read = upkeep.KEY_COPIES.sql
    assert catching_up(read, Topology.SINGLE, "") == []
    assert catching_up(read, Topology.CLOUD, "") == []
    assert catching_up(read, Topology.CLUSTER, "main") == [
        "SYSTEM SYNC REPLICA event_keys LIGHTWEIGHT"
    ]
    mutation = erasures.DELETES["outcomes"].sql
    assert is_mutation(mutation)
    assert is_mutation(upkeep.DELETE_COPIES.sql)
    assert catching_up(mutation, Topology.CLUSTER, "main") == [
        "SYSTEM SYNC REPLICA ON CLUSTER `main` erasure_targets LIGHTWEIGHT"
    ]


def test_settings_make_a_majority_confirm_and_every_server_delete() -> None:
    assert insert_settings(Topology.SINGLE) == {"insert_deduplicate": 0}
    assert insert_settings(Topology.CLUSTER)["insert_quorum"] == "auto"
    assert mutation_settings(Topology.DATABASE)["mutations_sync"] == 2
    assert read_settings(Topology.CLOUD) == {"select_sequential_consistency": 1}
    assert read_settings(Topology.CLUSTER) == {}


@pytest.mark.parametrize("name", ["a`b", "a b", "x" * 65])
def test_setting_refuses_what_is_no_name_of_a_cluster(name: str) -> None:
    with pytest.raises(ConfigError, match="SLUICE_WAREHOUSE_CLUSTER"):
        load_settings(warehouse_cluster=name)
