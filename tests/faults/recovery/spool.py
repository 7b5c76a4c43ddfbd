"""A gateway's disk is lost while Pub/Sub is away: what is lost, and how one sees it."""

import shutil
import signal
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.broker.stack import BrokerStack, Gateway
from tests.faults.broker.trial import Report, trial
from tests.faults.recovery.clickhouse import ask

BEFORE: Final = "before the outage"
DURING: Final = "during the outage"
AFTER: Final = "after the loss"
ACCEPTED: Final = "sluice_events_accepted_total"
SPOOLED_BYTES: Final = "sluice_spool_stored_bytes"
NOTED: Final = "SELECT sum(events) FROM accepted FINAL WHERE tenant = {tenant:String}"


async def lose_the_spool(
    stack: BrokerStack, report: Report, *, seconds: float, seed: int, rate_per_s: int
) -> None:
    """Cut the broker off, fill the spool, lose its disk, and compare the figures with the truth."""
    [gateway] = stack.gateways
    async with trial(stack, seed) as clients:
        send, oracle = clients.sender.send, clients.oracle
        await send(BEFORE, seconds=seconds / 2, rate_per_s=rate_per_s)
        await clients.wait_until_visible(BEFORE)
        safe = set(oracle.accepted)
        await stack.gateway_proxy.use("refuse")
        await send(DURING, seconds=seconds / 2, rate_per_s=rate_per_s)
        during = oracle.accepted - safe
        seen = await _scrape(clients.sender.session, gateway)
        gateway.part.kill(signal.SIGKILL)
        shutil.rmtree(gateway.folder)
        gateway.folder.mkdir(mode=0o700)
        await stack.gateway_proxy.use("pass")
        await gateway.part.restart()
        await send(AFTER, seconds=seconds / 2, rate_per_s=rate_per_s)
        await clients.wait_until_visible(AFTER)
        again = await _scrape(clients.sender.session, gateway)
        outcome = await clients.judge()
        [[noted]] = await ask(stack.warehouse_url, NOTED, tenant=clients.ledger.tenant)
    lost = set(outcome.verdict.lost)
    told = int(seen[ACCEPTED] + again[ACCEPTED]) - int(noted)
    report.say("spool: accepted into it", f"{len(during)}, {int(seen[SPOOLED_BYTES])} bytes")
    report.say(
        "spool: lost",
        f"{len(lost)}, all of them accepted during the outage",
        is_well=bool(lost) and lost <= during and not outcome.verdict.doubled,
    )
    report.say(
        "spool: seen",
        f"{ACCEPTED} is {told} more than the ledger's accepted",
        is_well=told == len(lost),
    )
    is_well = outcome.rows == len(oracle.accepted) - len(lost) == outcome.stats_total
    report.say("spool: the rest", outcome, is_well=is_well)


async def _scrape(session: aiohttp.ClientSession, gateway: Gateway) -> dict[str, float]:
    """Return the sums of the gateway's metrics over their labels, by name."""
    async with session.get(f"{gateway.url}/metrics") as answer:
        text = await answer.text()
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums
