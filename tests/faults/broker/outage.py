"""The broker is cut off in every way: nobody is refused or kept waiting, and nothing is lost."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tests.faults.broker.stack import BrokerStack, ProxyPart
from tests.faults.broker.trial import Report, Trial, trial
from tests.faults.traffic import RATE_PER_S

MODES: Final = ("refuse", "hang", "reset", "delay 5", "drop-answers")
BEFORE_S: Final = 3.0
AFTER_S: Final = 5.0
OPENING_S: Final = 1.5
"""How long the breaker may take to open."""
DRAINED_WITHIN_S: Final = 60
GIVEN_UP_AFTER_S: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Monotonic times of one outage."""

    cut: float
    mended: float
    drained: float | None
    """When all spools were empty; None if never."""


async def cut_off(
    stack: BrokerStack,
    report: Report,
    *,
    mode: str,
    seconds: float,
    seed: int,
    rate_per_s: int = RATE_PER_S,
    before_s: float = BEFORE_S,
    after_s: float = AFTER_S,
    proxies: Sequence[ProxyPart] = (),
) -> None:
    """Send at a steady rate, cut the way to the broker for some seconds, mend it, and count.

    Args:
        stack: What is cut off.
        report: Gets the figures.
        mode: How the proxies fail.
        seconds: How long.
        seed: Of the clients.
        rate_per_s: Events a second.
        before_s: How long the clients send before.
        after_s: How long they go on when the broker is back.
        proxies: Those that fail; empty: all.
    """
    async with trial(stack, seed, connections=0) as clients:  # nobody waits for a connection
        event_type = "outage"
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                clients.sender.send(
                    event_type, seconds=before_s + seconds + after_s, rate_per_s=rate_per_s
                )
            )
            await asyncio.sleep(before_s)
            times = await _cut(stack, proxies or stack.proxies, mode, seconds)
        await clients.wait_until_visible(event_type)
        await _judge(clients, report, mode, times)


async def _cut(
    stack: BrokerStack, proxies: Sequence[ProxyPart], mode: str, seconds: float
) -> Times:
    cut = time.monotonic()
    for proxy in proxies:
        await proxy.use(mode)
    await asyncio.sleep(seconds)
    for proxy in proxies:
        await proxy.use("pass")
    mended = time.monotonic()
    drained = None
    with suppress(TimeoutError):
        await stack.wait_until_drained(within_s=GIVEN_UP_AFTER_S)
        drained = time.monotonic()
    return Times(cut=cut, mended=mended, drained=drained)


async def _judge(clients: Trial, report: Report, mode: str, times: Times) -> None:
    answers = clients.sender.answers
    opening = times.cut + OPENING_S
    after = times.drained or float("inf")

    def say(what: str, text: object, *, is_well: bool = True) -> None:
        report.say(f"{mode}: {what}", text, is_well=is_well)

    for name, span in {
        "before": answers.between(0, times.cut),
        "breaker opens": answers.between(times.cut, opening),
        "broker is away": answers.between(opening, times.mended),
        "draining": answers.between(times.mended, after),
        "overall": answers,
    }.items():
        say(name, span)
    say("5xx", answers.failed, is_well=answers.failed == 0)
    say("without answer", answers.broken, is_well=answers.broken == 0)
    if times.drained is None:
        say("spool empty", f"not within {GIVEN_UP_AFTER_S} s", is_well=False)
    else:
        took_s = times.drained - times.mended
        say("spool empty", f"after {took_s:.1f} s", is_well=took_s <= DRAINED_WITHIN_S)
    outcome = await clients.judge()
    say("totals", outcome, is_well=outcome.holds)
