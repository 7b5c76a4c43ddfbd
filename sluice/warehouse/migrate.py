"""The schema: numbered files that are applied once, may be applied twice, and never edited.

Each statement is idempotent (``IF NOT EXISTS``), so two processes may migrate at the same time and
a crash in the middle is mended by the next start.
"""

import re
from collections.abc import Iterator
from importlib import resources
from typing import Final

import zstandard

from sluice.core.errors import WarehouseError, WarehouseUnavailableError
from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import Query
from sluice.warehouse.topology import rendered

DURABLE: Final = ", fsync_after_insert = 1, fsync_part_directory = 1"
"""Table settings of the embedded warehouse: what the queue forgot must survive a power cut."""

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS migrations (name String, applied_at DateTime('UTC') DEFAULT now())
ENGINE = ReplacingMergeTree ORDER BY name
"""
_APPLIED: Final = Query("migrations_applied", "SELECT DISTINCT name FROM migrations ORDER BY name")
_STATEMENT_END: Final = re.compile(r";[ \t]*$", re.MULTILINE)


def migrations() -> Iterator[tuple[str, str]]:
    """Yield name and text of each migration, in order."""
    folder = resources.files("sluice.warehouse") / "migrations"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            yield file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")


def statements(text: str, *, durable: bool) -> list[str]:
    """Return the statements of a migration; a semicolon at the end of a line ends one."""
    filled = text.replace("@fsync@", DURABLE if durable else "")
    return [part.strip() for part in _STATEMENT_END.split(filled) if _has_code(part)]


def _has_code(part: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("--") for line in part.splitlines())


async def pending(warehouse: Warehouse) -> list[str]:
    """Return the names of the migrations that are not applied, and change nothing.

    Raises:
        WarehouseUnavailableError: The warehouse did not answer; call again.
    """
    try:
        applied = {str(name) for (name,) in await warehouse.fetch(_APPLIED)}
    except WarehouseUnavailableError:
        raise
    except WarehouseError:  # there is no database, or no table
        applied = set()
    return [name for name, _ in migrations() if name not in applied]


async def migrate(warehouse: Warehouse, *, again: bool = False) -> list[str]:
    """Apply what is missing and return its names.

    Args:
        warehouse: Where.
        again: Apply everything once more, for a server that has come to a cluster.

    Raises:
        WarehouseError: A statement was refused.
        WarehouseUnavailableError: The warehouse did not answer; call again.
    """
    await _run(warehouse, _CREATE)
    applied = {str(name) for (name,) in await warehouse.fetch(_APPLIED)}
    missing = [(name, text) for name, text in migrations() if again or name not in applied]
    for name, text in missing:
        for statement in statements(text, durable=warehouse.is_embedded):
            await _run(warehouse, statement)
        row = b'{"name":"%s"}\n' % name.encode()
        await warehouse.insert_rows(
            "migrations", zstandard.ZstdCompressor().compress(row), columns=["name"]
        )
    return [name for name, _ in missing]


async def _run(warehouse: Warehouse, statement: str) -> None:
    statement = rendered(statement, await warehouse.topology(), warehouse.cluster)
    try:
        await warehouse.command(statement)
    except WarehouseUnavailableError:
        raise
    except WarehouseError:
        # Two processes that create the same table at once can still collide; what collided exists
        # by now, so that the same statement passes.
        await warehouse.command(statement)
