"""``sluice run`` on one machine: a backup while it runs, the disk is lost, all comes back."""

import asyncio
import os
import random
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Final

import orjson

from tests.faults.broker.trial import Report
from tests.faults.kill_test import Stack
from tests.faults.oracle import Oracle
from tests.faults.processes import Part
from tests.faults.stored import Ledger
from tests.faults.traffic import Sender, client_session

TENANT: Final = "home"
EVENT_TYPE: Final = "home"
SCRIPT: Final = Path(__file__).parents[3] / "ops/backup.py"


async def back_up_and_restore(
    folder: Path, report: Report, *, seconds: float, seed: int, rate_per_s: int
) -> None:
    """Back up under load, lose everything, restore, and compare with what clients were told."""
    data_dir, backup = folder / "data", folder / "sluice.tar"
    data_dir.mkdir(mode=0o700)
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


async def _back_up(data_dir: Path, archive: Path) -> None:
    await asyncio.to_thread(_run, data_dir, archive)


async def _restored(data_dir: Path, archive: Path) -> Path:
    """Make a data dir from an archive: files first, then the warehouse alone, then the rest."""
    await asyncio.to_thread(_unpack, archive, data_dir)
    stack = Stack(data_dir, {})
    warehouse = Part(["sluice.cli", "warehouse"], stack.environment, data_dir / "warehouse.log")
    stack.log.close()
    await warehouse.start()
    try:
        await asyncio.to_thread(_run, data_dir, None)
    finally:
        await warehouse.stop()
    return data_dir


def _unpack(archive: Path, data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    with tarfile.open(archive) as packed:
        packed.extractall(data_dir, filter="data")


def _run(data_dir: Path, archive: Path | None) -> None:
    """Run the script as it is run in a container, from stdin; without an archive it restores."""
    words = [sys.executable, "-", "--data-dir", str(data_dir), *([] if archive else ["--restore"])]
    with SCRIPT.open("rb") as script, (archive or Path(os.devnull)).open("wb") as out:
        subprocess.run(words, stdin=script, stdout=out, check=True)  # noqa: S603 - ours
    left = list((data_dir / "warehouse/backups").iterdir())
    assert left == [], "a backup stays in the data dir"
