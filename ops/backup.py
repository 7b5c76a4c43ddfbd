#!/usr/bin/env python3
"""Backs a whole Sluice up while it runs (`sluice run`), and restores it. Needs Python alone.

The archive goes to stdout: queue, tables, tenants, secrets, documents and files of runs:

    python ops/backup.py --data-dir sluice-data > sluice.tar
    docker exec -i sluice python - < ops/backup.py > sluice.tar

To restore, unpack it into an empty data dir, start `sluice warehouse` alone, and run this with
`--restore`: docs/recovery.md. Exit status 1: it failed, and the archive is of no use.
"""

import argparse
import base64
import http.client
import os
import shutil
import sqlite3
import sys
import tarfile
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

ANSWERED_WITHIN_S = 3600
"""ClickHouse copies its parts before it answers; a disk of some 100 GB takes less."""
BACKUPS = Path("warehouse/backups")
"""The one folder into which the embedded warehouse may write, in the data dir."""
COPIED = (
    *("tenants.toml", "jwt.secret", "warehouse.url", "warehouse.reader.url"),
    *("files", "workflows"),
)
"""What does not change while it is read: whoever writes these renames whole files."""


class RefusedError(Exception):
    """What is missing, or what ClickHouse said."""


def main() -> None:
    """Back up, or restore."""
    parser = argparse.ArgumentParser(description="Back up `sluice run` while it runs.")
    parser.add_argument("--data-dir", default=os.environ.get("SLUICE_DATA_DIR", "sluice-data"))
    parser.add_argument("--restore", action="store_true", help="the tables of an unpacked archive")
    options = parser.parse_args()
    data_dir = Path(options.data_dir)
    try:
        if options.restore:
            restore(data_dir)
        else:
            back_up(data_dir)
    except (OSError, sqlite3.Error, http.client.HTTPException, RefusedError) as error:
        sys.exit(f"backup: {error}")


def back_up(data_dir: Path) -> None:
    """Write the archive to stdout.

    The queue first: what leaves it meanwhile is in the tables by then, and what is in both counts
    once.
    """
    if sys.stdout.isatty():
        raise RefusedError("the archive goes to stdout: add > FILE")
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    tables = data_dir / BACKUPS / name
    # Beside the queue, not in /tmp, which is memory in a container.
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=data_dir) as folder:
        queue = Path(folder, "queue.sqlite")
        copy_queue(data_dir / "queue.sqlite", queue)
        try:
            ask(data_dir, f"BACKUP DATABASE sluice TO Disk('backups', '{name}')")
            with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
                archive.add(queue, "queue.sqlite")
                archive.add(tables, str(BACKUPS / name))
                for one in COPIED:
                    if (data_dir / one).exists():
                        archive.add(data_dir / one, one)
        finally:
            shutil.rmtree(tables, ignore_errors=True)


def restore(data_dir: Path) -> None:
    """Give the tables of the one backup in the data dir to an empty warehouse; then remove it."""
    found = sorted((data_dir / BACKUPS).iterdir())
    if len(found) != 1:
        raise RefusedError(f"{data_dir / BACKUPS} has {len(found)} backups, and has to have one")
    ask(data_dir, f"RESTORE DATABASE sluice FROM Disk('backups', '{found[0].name}')")
    shutil.rmtree(found[0])


def copy_queue(source: Path, target: Path) -> None:
    """Copy the queue as it is at one moment, also while others write."""
    with (
        closing(sqlite3.connect(f"file:{source.absolute()}?mode=ro", uri=True)) as here,
        closing(sqlite3.connect(target)) as there,
    ):
        here.backup(there)
    target.chmod(0o600)


def ask(data_dir: Path, statement: str) -> None:
    """Have ClickHouse do it.

    Raises:
        RefusedError: It did not; with what it said.
    """
    url = urlsplit((data_dir / "warehouse.url").read_text().strip())
    login = base64.b64encode(f"{url.username}:{unquote(url.password or '')}".encode()).decode()
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=ANSWERED_WITHIN_S)
    with closing(connection):
        connection.request("POST", "/", statement, {"Authorization": f"Basic {login}"})
        answer = connection.getresponse()
        said = answer.read().decode(errors="replace").strip()
    if answer.status != http.client.OK:
        raise RefusedError(said)


if __name__ == "__main__":
    main()
