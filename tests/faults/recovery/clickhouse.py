"""What an operator asks ClickHouse itself during a recovery, as with curl."""

import shutil
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp

ANSWERED_WITHIN_S: Final = 120
NAME: Final = "before"
"""Of the backup."""


async def ask(url: str, sql: str, **params: object) -> list[list[str]]:
    """Return the rows of a statement's answer; ``{name:Type}`` is a parameter.

    Raises:
        AssertionError: ClickHouse refused it.
    """
    parts = urlsplit(url)
    timeout = aiohttp.ClientTimeout(total=ANSWERED_WITHIN_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(
            f"http://{parts.hostname}:{parts.port}/",
            params={
                "database": parts.path.strip("/"),
                "default_format": "TSV",
                **{f"param_{name}": str(value) for name, value in params.items()},
            },
            data=sql.encode(),
            headers={
                "X-ClickHouse-User": parts.username or "",
                "X-ClickHouse-Key": parts.password or "",
            },
        ) as answer,
    ):
        text = await answer.text()
        assert answer.ok, text
    return [line.split("\t") for line in text.splitlines()]


async def back_up(url: str, warehouse_dir: Path, to: Path) -> None:
    """Make a backup of everything and carry it to another disk."""
    await ask(url, f"BACKUP DATABASE sluice TO Disk('backups', '{NAME}')")
    shutil.move(warehouse_dir / "backups" / NAME, to)


async def restore(url: str, warehouse_dir: Path, backup: Path) -> None:
    """Carry a backup back to an empty warehouse and restore it."""
    shutil.copytree(backup, warehouse_dir / "backups" / NAME)
    await ask(url, f"RESTORE DATABASE sluice FROM Disk('backups', '{NAME}')")
