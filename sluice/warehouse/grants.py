"""The least that each part needs to be allowed on a ClickHouse server. Pure: no I/O.

``docs/clickhouse.md`` shows them as statements, a test runs each part with them, and ``sluice
doctor`` asks the server for each.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

GRANTS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "setup": (
        ("CREATE DATABASE, CREATE TABLE, CREATE VIEW, ALTER TABLE, SELECT, INSERT", "@db@.*"),
    ),
    "worker": (
        ("SELECT, INSERT, ALTER DELETE, ALTER UPDATE", "@db@.*"),
        ("CREATE TABLE", "@db@.migrations"),
        ("SELECT", "system.mutations"),
        ("CREATE TEMPORARY TABLE", "*.*"),
    ),
    "gateway": (("SELECT", "@db@.*"),),
}
"""By process: what, and on what; ``@db@`` is the database."""


def needed(processes: Collection[str], database: str) -> Iterator[tuple[str, str]]:
    """Yield each single right that these processes need, and on what, each once."""
    seen: set[tuple[str, str]] = set()
    for process, grants in GRANTS.items():
        if process not in processes:
            continue
        for rights, where in grants:
            for right in rights.split(", "):
                one = right, where.replace("@db@", database)
                if one not in seen:
                    seen.add(one)
                    yield one
