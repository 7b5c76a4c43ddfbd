"""``sluice run`` on one machine: a backup while it runs, the disk is lost, all comes back."""

import asyncio
import random
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final

import orjson

from tests.faults.broker.trial import Report
from tests.faults.kill_test import Stack
from tests.faults.oracle import Oracle
from tests.faults.processes import Part
from tests.faults.recovery.clickhouse import back_up, restore
from tests.faults.stored import Ledger
from tests.faults.traffic import Sender, client_session

TENANT: Final = "home"
EVENT_TYPE: Final = "home"
COPIED: Final = ("tenants.toml", "jwt.secret", "warehouse.url", "warehouse.reader.url")


async def back_up_and_restore(
    folder: Path, report: Report, *, seconds: float, seed: int, rate_per_s: int
) -> None:
    """Back up under load, lose everything, restore, and compare with what clients were told."""
    data_dir, backup = folder / "data", folder / "backup"
    data_dir.mkdir(mode=0o700)
    backup.mkdir(mode=0o700)
    oracle = Oracle()
    stack = Stack(data_dir, {})
    try:
        await stack.start()
        made = orjson.loads(await stack.command("tenant", "add", TENANT, "--json"))
        async with client_session() as session:
            sender = Sender(
                session=session,
                urls=[stack.url],
                api_key=made["api_key"],
                oracle=oracle,
                chance=random.Random(seed),  # noqa: S311 - a seed names the run, it keeps no secret
                run=str(seed),
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(sender.send(EVENT_TYPE, seconds=seconds, rate_per_s=rate_per_s))
                await asyncio.sleep(seconds / 2)
                promised = set(oracle.accepted)
                await _back_up(data_dir, backup)
    finally:
        stack.kill("all")
        await stack.stop()
    shutil.rmtree(data_dir)
    lost_at = time.monotonic()
    again = Stack(await _restored(data_dir, backup), {})
    try:
        await again.start()
        token = (await again.command("token", TENANT, "--ttl", "1h")).decode().strip()
        url = (data_dir / "warehouse.url").read_text().strip()
        async with client_session() as session:
            ledger = Ledger(session, url, again.url, TENANT, token)
            await ledger.wait_until_visible(Oracle(accepted=promised), EVENT_TYPE)
            stored = await ledger.read()
            rows = sum(count for _, count in stored)
            total = await ledger.wait_for_stats(rows)
    finally:
        await again.stop()
    kept = oracle.judge(stored)
    broken = set(kept.lost) & promised
    is_well = not (broken or kept.doubled or kept.smuggled)
    said = f"accepted before the backup {len(promised)}, of these lost {len(broken)}"
    report.say("home: backup", said, is_well=is_well and len(promised) > 0)
    since = len(oracle.accepted) - len(promised)
    report.say("home: since", f"accepted {since}, lost {len(kept.lost)}")
    report.say("home: totals", f"stored {rows} stats {total}", is_well=rows == total)
    report.say("home: all there", f"{time.monotonic() - lost_at:.1f} s after the loss")


async def _back_up(data_dir: Path, to: Path) -> None:
    """The queue first: what leaves it meanwhile is in the warehouse by then."""
    await asyncio.to_thread(_copy_queue, data_dir / "queue.sqlite", to / "queue.sqlite")
    url = (data_dir / "warehouse.url").read_text().strip()
    await back_up(url, data_dir / "warehouse", to / "warehouse")
    for name in COPIED:
        shutil.copy2(data_dir / name, to / name)


def _copy_queue(source: Path, target: Path) -> None:
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as here,
        closing(sqlite3.connect(target)) as there,
    ):
        here.backup(there)


def _copy_back(backup: Path, data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    for name in (*COPIED, "queue.sqlite"):
        shutil.copy2(backup / name, data_dir / name)


async def _restored(data_dir: Path, backup: Path) -> Path:
    """Make a data dir from a backup: files first, then the warehouse alone, then the rest."""
    _copy_back(backup, data_dir)
    stack = Stack(data_dir, {})
    warehouse = Part(["sluice.cli", "warehouse"], stack.environment, data_dir / "warehouse.log")
    stack.log.close()
    await warehouse.start()
    try:
        url = (data_dir / "warehouse.url").read_text().strip()
        await restore(url, data_dir / "warehouse", backup / "warehouse")
    finally:
        await warehouse.stop()
    return data_dir
