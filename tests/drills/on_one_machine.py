"""Drills in which everything meets in a queue file."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

import aiohttp

from tests.drills.site import TENANT, OneMachine
from tests.faults.broker.stack import running
from tests.faults.processes import Part
from tests.support.stack import environment

FILLER: Final = 4_000
"""Letters in each payload where a drill fills a disk."""
LEAKED_CONNECTIONS: Final = 100
WRONG_EVENTS_PER_S: Final = 20
BUSY_S: Final = 12.0
"""Longer than an event may take to the warehouse."""


async def gateway_down(site: OneMachine) -> AsyncGenerator[str, None]:
    """The only gateway dies."""
    site.parts["gateway"].kill()
    yield "kill -9 of the gateway"
    await site.parts["gateway"].restart()
    yield "started again"


async def worker_down(site: OneMachine) -> AsyncGenerator[str, None]:
    """The only worker dies."""
    site.parts["worker"].kill()
    yield "kill -9 of the worker"
    await site.parts["worker"].restart()
    yield "started again"


async def warehouse_away(site: OneMachine) -> AsyncGenerator[str, None]:
    """The warehouse dies: inserts fail until the breaker opens."""
    site.parts["warehouse"].kill()
    yield "kill -9 of the warehouse"
    await site.parts["warehouse"].restart()
    yield "started again"


async def warehouse_hangs(site: OneMachine) -> AsyncGenerator[str, None]:
    """The warehouse takes connections and answers nothing; events wait."""
    site.parts["warehouse"].kill(signal.SIGSTOP)
    yield "the warehouse hangs (SIGSTOP)"
    site.parts["warehouse"].kill()
    await site.parts["warehouse"].restart()
    yield "killed and started again"


async def queue_locked(site: OneMachine) -> AsyncGenerator[str, None]:
    """Another program holds the queue file: nothing becomes durable in time."""
    async with running(_holder(site, "3600", "0")):
        yield "another program locks queue.sqlite"
    yield "that program ended"


async def queue_slow(site: OneMachine) -> AsyncGenerator[str, None]:
    """Another program holds the queue file again and again for most of a second."""
    async with running(_holder(site, "0.7", "0.1")):
        yield "another program locks queue.sqlite for 0.7 s at a time"
    yield "that program ended"


def _holder(site: OneMachine, hold_s: str, pause_s: str) -> Part:
    path = site.stack.data_dir / "queue.sqlite"
    words = ["tests.drills.holder", str(path), hold_s, pause_s]
    return Part(words, environment({}), site.folder / "holder.log")


async def queue_fills(site: OneMachine) -> AsyncGenerator[str, None]:
    """No worker empties the queue file."""
    site.sender.filler = FILLER
    site.parts["worker"].kill()
    yield "kill -9 of the worker, with a queue file of 1 MiB"
    await site.parts["worker"].restart()
    yield "the worker started again"


async def late_inserts(site: OneMachine) -> AsyncGenerator[str, None]:
    """The warehouse is busy with something else for most of the time."""
    warehouse = site.parts["warehouse"]
    is_busy = True

    async def keep_busy() -> None:
        while is_busy:
            warehouse.kill(signal.SIGSTOP)
            await asyncio.sleep(BUSY_S)
            warehouse.kill(signal.SIGCONT)
            await asyncio.sleep(1.0)

    busy = site.tasks.create_task(keep_busy())
    yield f"the warehouse is busy for {BUSY_S:g} s at a time"
    is_busy = False
    await busy
    yield "it is not any more"


async def connections_leak(site: OneMachine) -> AsyncGenerator[str, None]:
    """A client opens connections and never closes one."""
    leaked: list[asyncio.StreamWriter] = []
    is_leaking = True

    async def leak() -> None:
        while is_leaking:
            if len(leaked) < LEAKED_CONNECTIONS:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", site.stack.port)
                    leaked.append(writer)
            else:
                leaked.pop(0).transport.abort()
            await asyncio.sleep(0.02)

    leaking = site.tasks.create_task(leak())
    yield f"a client holds {LEAKED_CONNECTIONS} connections, the bound is 50"
    is_leaking = False
    await leaking
    for writer in leaked:
        writer.transport.abort()
    yield "that client ended"


async def wrong_release(site: OneMachine) -> AsyncGenerator[str, None]:
    """A client was released with a mistake: its events have no user."""
    is_wrong = True

    async def send_wrong() -> None:
        url = f"{site.stack.url}/api/ingestion/track"
        headers = {"Authorization": f"ApiKey {site.api_key}"}
        while is_wrong:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with site.session.post(
                    url, json={"event_type": "wrong"}, headers=headers
                ) as answer:
                    await answer.read()
            await asyncio.sleep(1 / WRONG_EVENTS_PER_S)

    client = site.tasks.create_task(send_wrong())
    yield "a client sends events without user_id"
    errors = await site.sluice("token", TENANT, "--scope", "read")
    assert errors.status == 0, errors
    headers = {"Authorization": f"Bearer {errors.stdout.strip()}"}
    url = f"{site.stack.url}/api/ingestion/errors?limit=5"
    async with site.session.get(url, headers=headers) as answer:
        assert b"user_id_missing" in await answer.read()
    is_wrong = False
    await client
    yield "its errors said user_id_missing; the client sends user_id"


async def gateway_starved(site: OneMachine) -> AsyncGenerator[str, None]:
    """The gateway gets the processor for half of each second."""
    is_starved = True

    async def starve() -> None:
        while is_starved:
            site.parts["gateway"].kill(signal.SIGSTOP)
            await asyncio.sleep(0.5)
            site.parts["gateway"].kill(signal.SIGCONT)
            await asyncio.sleep(0.5)

    starving = site.tasks.create_task(starve())
    yield "the gateway is stopped for half of each second"
    is_starved = False
    await starving
    yield "it has the processor to itself"


async def versions_differ(site: OneMachine) -> AsyncGenerator[str, None]:
    """A roll-out reached the worker and not the gateway."""
    await site.restart("worker", REVISION="the-next")
    yield "the worker has another revision"
    await site.restart("gateway", REVISION="the-next")
    yield "the gateway has it, too"
