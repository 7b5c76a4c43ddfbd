"""How many servers ClickHouse has, and what each of our statements needs there. Pure: no I/O.

Only replicas are meant: every server has everything. Tables that are spread over shards are not
supported, because a deduplication or a count would see a part only.
"""

import re
from collections.abc import Mapping
from enum import Enum
from functools import cache
from importlib import resources
from typing import Any, Final

PATH: Final = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
"""Where replicas of a table meet in Keeper; ``shard`` and ``replica`` are macros of the server. It
has no UUID in it, so that a server that is added later finds its tables by the same statements."""

QUORUM_TIMEOUT_MS: Final = 25_000
"""Below the time that an insert may take in all."""

_CREATE_TABLE: Final = re.compile(r"(CREATE TABLE IF NOT EXISTS \w+)")
_CREATE_VIEW: Final = re.compile(r"(CREATE VIEW IF NOT EXISTS \w+)")
_ENGINE: Final = re.compile(r"\bENGINE = (\w*MergeTree)\b(?:\(([^()]*)\))?")
_CREATED: Final = re.compile(
    r"CREATE (?:TABLE|VIEW) IF NOT EXISTS (\w+)(.*?);$", re.DOTALL | re.MULTILINE
)
_READ: Final = re.compile(r"\b(?:FROM|JOIN)\s+(\w+)")
_MUTATION: Final = re.compile(r"\s*(ALTER TABLE|DELETE FROM)\b")
_COMMENT: Final = re.compile(r"--[^\n]*")


class Topology(Enum):
    """What ClickHouse consists of."""

    SINGLE = "single"
    """One server; also several behind a name that Sluice was told nothing of."""
    CLUSTER = "cluster"
    """Replicas whose tables are made with ON CLUSTER (``SLUICE_WAREHOUSE_CLUSTER``)."""
    DATABASE = "database"
    """Replicas whose database has the engine Replicated, which carries statements by itself."""
    CLOUD = "cloud"
    """ClickHouse Cloud: every table is shared by all servers, whatever its engine was called."""

    @property
    def is_replicated(self) -> bool:
        """Whether servers copy from each other, a moment later."""
        return self in (Topology.CLUSTER, Topology.DATABASE)


def topology_of(engine: str, cluster: str) -> Topology:
    """Return the topology by the engine of our database and the cluster that was set."""
    if cluster:
        return Topology.CLUSTER
    return {"Replicated": Topology.DATABASE, "Shared": Topology.CLOUD}.get(engine, Topology.SINGLE)


def rendered(statement: str, topology: Topology, cluster: str) -> str:
    """Return a statement of a migration as it has to be there."""
    if not topology.is_replicated:
        return statement
    if topology is Topology.CLUSTER:
        for made in (_CREATE_TABLE, _CREATE_VIEW):
            statement = made.sub(rf"\1{on_cluster(cluster)}", statement)
    return _ENGINE.sub(lambda engine: _replicated(engine, topology), statement)


def _replicated(engine: re.Match[str], topology: Topology) -> str:
    # A Replicated database gives each table a path of its own, and refuses another.
    given = [PATH] if topology is Topology.CLUSTER else []
    given += [engine[2]] if engine[2] else []
    return f"ENGINE = Replicated{engine[1]}({', '.join(given)})"


def on_cluster(cluster: str) -> str:
    """Return the clause, or nothing where there is no cluster."""
    return f" ON CLUSTER `{cluster}`" if cluster else ""


def insert_settings(topology: Topology) -> Mapping[str, Any]:
    """Return what an insert needs to be safe when a server is lost right after.

    A majority has the rows before it is confirmed. Blocks that look alike are not dropped: copies
    collapse by their keys, and a block that was deleted must be able to come again.
    """
    settings: dict[str, Any] = {"insert_deduplicate": 0}
    if topology.is_replicated:
        settings |= {"insert_quorum": "auto", "insert_quorum_timeout": QUORUM_TIMEOUT_MS}
    return settings


def read_settings(topology: Topology) -> Mapping[str, Any]:
    """Return what a read needs to see all that was confirmed before, whichever server was asked."""
    return {"select_sequential_consistency": 1} if topology is Topology.CLOUD else {}


def mutation_settings(topology: Topology) -> Mapping[str, Any]:
    """Return what a mutation needs, whose conditions look into other tables.

    Each server works them out for itself; that they agree is what ``catching_up`` is for.
    """
    settings: dict[str, Any] = {"allow_nondeterministic_mutations": 1}
    return settings | {"mutations_sync": 2} if topology.is_replicated else settings


def catching_up(sql: str, topology: Topology, cluster: str) -> list[str]:
    """Return the statements after which a server has all that a statement of ours is to see.

    A mutation runs on every server, so all have to have it; for a read it is the one that is asked.
    """
    if not topology.is_replicated:
        return []
    everywhere = on_cluster(cluster) if is_mutation(sql) else ""
    return [f"SYSTEM SYNC REPLICA{everywhere} {table} LIGHTWEIGHT" for table in tables_read(sql)]


def is_mutation(sql: str) -> bool:
    """Return whether a statement changes rows that are stored."""
    return _MUTATION.match(sql) is not None


def tables_read(sql: str) -> list[str]:
    """Return the tables of ours that a statement reads, those behind views included, by name."""
    found = set(_READ.findall(_COMMENT.sub("", sql)))
    known = _tables()
    return sorted({table for name in found & known.keys() for table in known[name]})


@cache
def _tables() -> Mapping[str, frozenset[str]]:
    """Return each table with itself, and each view with the tables behind it."""
    folder = resources.files("sluice.warehouse") / "migrations"
    known = {"migrations": frozenset({"migrations"})}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            text = _COMMENT.sub("", file.read_text(encoding="utf-8"))
            for name, body in _CREATED.findall(text):
                is_view = body.lstrip().startswith("AS")
                behind = {one for one in _READ.findall(body) if one in known} if is_view else {name}
                known[name] = frozenset(behind)
    return known
