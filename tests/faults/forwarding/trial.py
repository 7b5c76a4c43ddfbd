"""One run: events in, faults and kills meanwhile, and the verdict."""

import asyncio
import random
import signal
import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from tests.faults.broker.trial import Report
from tests.faults.forwarding.clients import Clients
from tests.faults.forwarding.oracle import Verdict, judge
from tests.faults.forwarding.plan import TenantPlan
from tests.faults.forwarding.script import Script
from tests.faults.forwarding.stack import ForwardingStack, forwarding_stack
from tests.faults.traffic import client_session
from tests.support.poll import poll_until

LOOK_EVERY_S: Final = 0.25
KNOWN_WITHIN_S: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a run goes."""

    seed: int
    kills: int
    stops: int
    """How often the worker is stopped in order besides, and started again."""
    kill_after_s: tuple[float, float]
    """How long a worker lives at least and at most, counted from when it is ready."""
    hangs: int
    settled_within_s: float
    """How long is waited for the last events, once the faults are over."""

    @property
    def seconds(self) -> float:
        """How long the traffic and the script of faults take."""
        return max(4.0, (self.kills + self.stops) * sum(self.kill_after_s) / 2)


async def run_trial(folder: Path, plans: Sequence[TenantPlan], run: Run, report: Report) -> None:
    """Send, break, kill, wait, and judge twice: while some users are throttled, and at the end."""
    started = time.monotonic()
    async with client_session() as session, forwarding_stack(folder, session) as stack:
        clients = [_clients(stack, session, plan) for plan in plans]
        script = Script(stack, plans, seconds=run.seconds, seed=run.seed, hangs=run.hangs)
        await script.begin()
        await stack.worker.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(script.run())
            tasks.create_task(_kill(stack, run))
            for one in clients:
                tasks.create_task(one.send(seconds=0.8 * run.seconds))
        report.say(
            "sent", f"{time.monotonic() - started:.0f} s, {run.kills} kills, {run.stops} stops"
        )
        await script.end()
        throttled = {(plan.slug, user) for plan in plans for user in plan.throttled}
        await _settled(stack, waiting=throttled, within_s=run.settled_within_s)
        report.say("still throttled", f"{len(throttled)} users; all others are settled")
        await _judge(stack, clients, report, still_throttled=True)
        await script.release()
        await _settled(stack, waiting=set(), within_s=run.settled_within_s)
        report.say("all released", f"after {time.monotonic() - started:.0f} s")
        await _judge(stack, clients, report, still_throttled=False)
        shown = sorted((await stack.requests()).items(), key=lambda item: -item[1])
        report.say("requests", ", ".join(f"{name} {count}" for name, count in shown))


def _clients(stack: ForwardingStack, session: aiohttp.ClientSession, plan: TenantPlan) -> Clients:
    properties = {"drop": plan.filtered_type} if plan.filtered_type else {}
    key = stack.add_tenant(plan.slug, plan.amplitude_key, **properties)
    return Clients(session, stack.gateway_url, key, plan)


async def _kill(stack: ForwardingStack, run: Run) -> None:
    dice = random.Random(run.seed)  # noqa: S311 - a seed names the run, it keeps no secret
    signals = [signal.SIGKILL] * run.kills + [signal.SIGTERM] * run.stops
    for number in dice.sample(signals, len(signals)):
        await asyncio.sleep(dice.uniform(*run.kill_after_s))
        stack.worker.kill(number)
        await stack.worker.restart()


async def _settled(
    stack: ForwardingStack, *, waiting: AbstractSet[tuple[str, str]], within_s: float
) -> None:
    """Wait until nobody's events wait but these users', or for too long: the verdict tells."""

    async def is_settled() -> bool:
        # The warehouse too: what an event is called there, and its outcome, are the evidence.
        return await stack.is_drained() and await stack.waiting_users() <= waiting

    with suppress(TimeoutError):
        _: bool = await poll_until(is_settled, within_s=within_s, every_s=LOOK_EVERY_S)


async def _judge(
    stack: ForwardingStack, clients: Sequence[Clients], report: Report, *, still_throttled: bool
) -> None:
    verdict = Verdict()
    for one in clients:
        plan = one.plan
        found = await stack.evidence(plan.slug, plan.amplitude_key)
        waiting = plan.throttled if still_throttled else ()
        verdict.add(judge(plan, one.accepted, found, still_throttled=waiting))
    for name, text, is_well in verdict.lines():
        report.say(name, text, is_well=is_well)
