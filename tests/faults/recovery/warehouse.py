"""ClickHouse is lost with everything in it, while clients go on sending; totals are exact again."""

import asyncio
import shutil
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from tests.faults.broker.stack import BrokerStack
from tests.faults.broker.trial import Report, Trial, trial
from tests.faults.recovery.clickhouse import ask, back_up, restore

EVENT_TYPE: Final = "recovery"
AGAIN_SHARE: Final = 0.05
"""Share of the events that clients send once more: they must not count twice afterwards either."""
MARGIN: Final = timedelta(seconds=2)
"""How far before the backup Pub/Sub is asked to begin again. In production an hour; here the whole
run is shorter than that, and what only the backup holds is to be seen."""

KEPT: Final = """
SELECT countIf(stored_at < toDateTime64({lost_at:Float64}, 3, 'UTC')),
    countIf(stored_at >= toDateTime64({lost_at:Float64}, 3, 'UTC'))
FROM events FINAL WHERE tenant = {tenant:String}
"""
ACCEPTED: Final = """
SELECT (SELECT sum(events - repeats) FROM accepted FINAL WHERE tenant = {tenant:String})
    - (SELECT count() - uniqExact(event_id) FROM event_keys FINAL WHERE tenant = {tenant:String})
"""
"""What the edge accepted, without the copies that clients sent."""


async def rebuild_from_nothing(
    stack: BrokerStack, report: Report, *, seconds: float, seed: int, rate_per_s: int
) -> None:
    """Lose ClickHouse without a backup; Pub/Sub's retention has it all."""
    name = "from nothing"
    began = datetime.now(UTC)
    async with trial(stack, seed) as clients:
        clients.sender.again_share = AGAIN_SHARE
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                clients.sender.send(EVENT_TYPE, seconds=2 * seconds, rate_per_s=rate_per_s)
            )
            await asyncio.sleep(seconds)
            held = await _count(stack)
            lost_at = await _lose_warehouse(stack)
            await stack.command("setup")
            await stack.command("rewind", "--to", began.isoformat(), "--yes")
            await _start_workers(stack)
        await _judge(stack, clients, report, name, held, lost_at)


async def rebuild_from_backup(
    stack: BrokerStack, report: Report, *, seconds: float, seed: int, rate_per_s: int
) -> None:
    """Lose ClickHouse; a backup has what was, Pub/Sub what came since."""
    name = "from a backup"
    backup = stack.folder / f"backup-{seed}"
    async with trial(stack, seed) as clients:
        clients.sender.again_share = AGAIN_SHARE
        await clients.sender.send(EVENT_TYPE, seconds=seconds, rate_per_s=rate_per_s)
        await clients.wait_until_visible(EVENT_TYPE)
        await asyncio.sleep(2 * MARGIN.total_seconds())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                clients.sender.send(EVENT_TYPE, seconds=2 * seconds, rate_per_s=rate_per_s)
            )
            await asyncio.sleep(seconds / 2)
            before = datetime.now(UTC) - MARGIN
            await back_up(stack.warehouse_url, stack.warehouse_dir, backup)
            await asyncio.sleep(seconds / 2)
            held = await _count(stack)
            lost_at = await _lose_warehouse(stack)
            await restore(stack.warehouse_url, stack.warehouse_dir, backup)
            await stack.command("setup")
            await stack.command("rewind", "--to", before.isoformat(), "--yes")
            await _start_workers(stack)
        await _judge(stack, clients, report, name, held, lost_at)
        [[kept, again]] = await ask(
            stack.warehouse_url, KEPT, tenant=clients.ledger.tenant, lost_at=lost_at
        )
        is_both = int(kept) > 0 and int(again) > 0
        report.say(f"{name}: rows", f"backup {kept}, Pub/Sub {again}", is_well=is_both)


async def _lose_warehouse(stack: BrokerStack) -> float:
    """Stop the workers, end ClickHouse, delete what it kept, start it empty; say when that was."""
    for worker in stack.workers:
        await worker.stop()
    stack.warehouse.kill(signal.SIGKILL)
    shutil.rmtree(stack.warehouse_dir, onerror=_look_again)
    lost_at = time.time()
    await stack.warehouse.restart()
    return lost_at


def _look_again(remove: Callable[[str], object], path: str, _error: object) -> None:
    """Pass over what the process that ends just now removed itself."""


async def _start_workers(stack: BrokerStack) -> None:
    async with asyncio.TaskGroup() as tasks:
        for worker in stack.workers:
            tasks.create_task(worker.start())


async def _count(stack: BrokerStack) -> int:
    [[rows]] = await ask(stack.warehouse_url, "SELECT count() FROM events FINAL")
    return int(rows)


async def _judge(
    stack: BrokerStack, clients: Trial, report: Report, name: str, held: int, lost_at: float
) -> None:
    await clients.wait_until_visible(EVENT_TYPE)
    took_s = time.time() - lost_at
    outcome = await clients.judge()
    answers = clients.sender.answers
    report.say(f"{name}: lost", f"ClickHouse with {held} events", is_well=held > 0)
    report.say(f"{name}: 5xx", answers.failed, is_well=answers.failed == 0)
    report.say(f"{name}: totals", outcome, is_well=outcome.holds)
    [[accepted]] = await ask(stack.warehouse_url, ACCEPTED, tenant=clients.ledger.tenant)
    is_equal = int(accepted) == outcome.rows
    report.say(f"{name}: ledger", f"accepted without copies {accepted}", is_well=is_equal)
    report.say(f"{name}: all there", f"{took_s:.1f} s after the loss")
