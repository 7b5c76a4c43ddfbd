"""Every event answered 202 is in ClickHouse once, whatever was killed of a distributed Sluice."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from tests.faults.broker.stack import BrokerStack
from tests.faults.broker.trial import Report, trial
from tests.faults.processes import Part
from tests.faults.traffic import RATE_PER_S

ROUND_S: Final = 2.0
DRAINED_WITHIN_S: Final = 60
AGAIN_SHARE: Final = 0.1
VICTIMS: Final = ("gateway", "worker", "warehouse", "proxies", "spooling gateway", "all")
"""A spooling gateway is one that is killed while the broker is cut off and its spool is in use."""


async def kill_at_random(
    stack: BrokerStack,
    report: Report,
    *,
    rounds: int,
    seed: int,
    victims: Sequence[str] = VICTIMS,
    rate_per_s: int = RATE_PER_S,
) -> None:
    """Kill the victims in turn, with SIGKILL at a random moment, and start them again."""
    started = time.monotonic()
    chance = random.Random(seed)  # noqa: S311 - a seed names the run, it keeps no secret
    async with trial(stack, seed) as clients:
        clients.sender.again_share = AGAIN_SHARE
        for number in range(rounds):
            victim = victims[number % len(victims)]
            event_type = f"round_{number}"
            began = time.monotonic()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(
                    clients.sender.send(event_type, seconds=ROUND_S, rate_per_s=rate_per_s)
                )
                await _kill(stack, victim, chance)
            sent = time.monotonic()
            await stack.wait_until_drained(within_s=DRAINED_WITHIN_S)
            drained = time.monotonic()
            await clients.wait_until_visible(event_type)
            report.say(
                f"round {number + 1:3}",
                f"killed {victim:16} accepted {len(clients.oracle.accepted):7}; answered after"
                f" {sent - began:4.1f} s, spools empty {drained - sent:.1f} s later, all visible"
                f" {time.monotonic() - drained:.1f} s later",
            )
        outcome = await clients.judge()
        answers = clients.sender.answers
    report.say("kills", outcome, is_well=outcome.holds)
    report.say("kills: 5xx", answers.failed, is_well=answers.failed == 0)
    report.say("kills: seconds", f"{time.monotonic() - started:.0f}")


async def _kill(stack: BrokerStack, victim: str, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(0.1, 0.3))
    async with _cut(stack, is_cut=victim == "spooling gateway"):
        await asyncio.sleep(chance.uniform(0.1, ROUND_S - 0.5))
        parts = _victims(stack, victim, chance)
        for part in parts:
            part.kill()
        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                tasks.create_task(part.restart())


def _victims(stack: BrokerStack, victim: str, chance: random.Random) -> list[Part]:
    gateways = [gateway.part for gateway in stack.gateways]
    choice: dict[str, list[Part]] = {
        "gateway": [chance.choice(gateways)],
        "spooling gateway": [chance.choice(gateways)],
        "worker": [chance.choice(stack.workers)],
        "warehouse": [stack.warehouse],
        "proxies": [*stack.proxies],
    }
    return choice.get(victim, [*gateways, *stack.workers, stack.warehouse, *stack.proxies])


@asynccontextmanager
async def _cut(stack: BrokerStack, *, is_cut: bool) -> AsyncIterator[None]:
    if is_cut:
        await stack.gateway_proxy.use("refuse")
    yield
    if is_cut:
        await stack.gateway_proxy.use("pass")
