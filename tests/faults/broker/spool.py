"""A spool that takes no more, at its bound or on a full disk: 503, and it clears by itself."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from tests.faults.broker.stack import BrokerStack, Gateway, running
from tests.faults.broker.trial import Report, Trial, trial
from tests.support.broker_proxy import BrokerProxy
from tests.support.poll import poll_until

MAX_BYTES: Final = 1024 * 1024
"""The smallest bound that there is."""
FILE_LIMIT_BYTES: Final = 1_500_000
"""No file of the gateway may grow past this: how a full disk is made without rights."""
FILLER: Final = 2_000
RATE_PER_S: Final = 500
FULL_WITHIN_S: Final = 30
CLEARS_WITHIN_S: Final = 60
EVENT_TYPE: Final = "spool"


async def fill_to_its_bound(stack: BrokerStack, report: Report, *, seed: int) -> None:
    """Cut the broker off until the spool is at its bound, then mend it."""
    async with (
        BrokerProxy(stack.emulator) as proxy,
        _edge(stack, seed, proxy, QUEUE_MAX_BYTES=str(MAX_BYTES)) as (gateway, clients),
    ):
        await proxy.use("refuse")
        await _send_until_refused(clients)
        await proxy.use("pass")
        mended = time.monotonic()
        await _send_until_accepted(clients)
        took_s = time.monotonic() - mended
        await _judge(stack, gateway, clients, report, "spool at its bound", took_s)


async def fill_its_disk(stack: BrokerStack, report: Report, *, seed: int) -> None:
    """Cut the broker off until the disk is full; give the disk room, and only then mend it."""
    async with (
        BrokerProxy(stack.emulator) as proxy,
        _edge(stack, seed, proxy) as (gateway, clients),
    ):
        await proxy.use("refuse")
        with _full_disk(gateway):
            await _send_until_refused(clients)
        has_room = time.monotonic()
        await _send_until_accepted(clients)
        took_s = time.monotonic() - has_room
        await proxy.use("pass")
        await _judge(stack, gateway, clients, report, "spool on a full disk", took_s)


@asynccontextmanager
async def _edge(
    stack: BrokerStack, seed: int, proxy: BrokerProxy, **settings: str
) -> AsyncIterator[tuple[Gateway, Trial]]:
    """Run a gateway behind a proxy, with clients whose large events are sent only once."""
    gateway = stack.new_gateway(broker=proxy.host, **settings)
    async with running(gateway.part), trial(stack, seed, gateway) as clients:
        clients.sender.filler = FILLER
        clients.sender.tries = 1
        yield gateway, clients


@contextmanager
def _full_disk(gateway: Gateway) -> Iterator[None]:
    pid = gateway.part.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, before[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


async def _send_until_refused(clients: Trial) -> None:
    answers = clients.sender.answers
    async with asyncio.timeout(FULL_WITHIN_S):
        while not answers.failed:
            await clients.sender.send(EVENT_TYPE, seconds=0.5, rate_per_s=RATE_PER_S)
    await clients.sender.send(EVENT_TYPE, seconds=0.5, rate_per_s=RATE_PER_S)


async def _send_until_accepted(clients: Trial) -> None:
    answers = clients.sender.answers

    async def is_accepted() -> bool:
        before = len(answers.all)
        await clients.sender.send(EVENT_TYPE, seconds=0.1, rate_per_s=RATE_PER_S)
        return all(one.status < 500 for one in answers.all[before:])

    _: bool = await poll_until(is_accepted, within_s=CLEARS_WITHIN_S, every_s=0.25)


async def _judge(
    stack: BrokerStack, gateway: Gateway, clients: Trial, report: Report, name: str, took_s: float
) -> None:
    await stack.wait_until_drained(gateway, within_s=CLEARS_WITHIN_S)
    await clients.wait_until_visible(EVENT_TYPE)
    outcome = await clients.judge()
    answers = clients.sender.answers
    waits = [one.retry_after for one in answers.refused]
    known = sorted({int(wait) for wait in waits if wait and wait.isdigit()})
    is_told = all(wait and wait.isdigit() and int(wait) > 0 for wait in waits)
    report.say(
        name,
        f"{len(waits)} times 503, Retry-After {known}, took events again after {took_s:.1f} s",
        is_well=bool(waits) and is_told and answers.failed == len(waits),
    )
    report.say(f"{name}: totals", outcome, is_well=outcome.holds)
