"""Drills in which everything meets in a queue file."""

import signal
from collections.abc import AsyncIterator

from tests.drills.site import OneMachine


async def gateway_down(site: OneMachine) -> AsyncIterator[str]:
    """The only gateway dies."""
    site.parts["gateway"].kill()
    yield "kill -9 of the gateway"
    await site.parts["gateway"].restart()
    yield "started again"


async def worker_down(site: OneMachine) -> AsyncIterator[str]:
    """The only worker dies."""
    site.parts["worker"].kill()
    yield "kill -9 of the worker"
    await site.parts["worker"].restart()
    yield "started again"


async def warehouse_away(site: OneMachine) -> AsyncIterator[str]:
    """The warehouse dies: inserts fail until the breaker opens."""
    site.parts["warehouse"].kill()
    yield "kill -9 of the warehouse"
    await site.parts["warehouse"].restart()
    yield "started again"


async def warehouse_hangs(site: OneMachine) -> AsyncIterator[str]:
    """The warehouse takes connections and answers nothing; events wait."""
    site.parts["warehouse"].kill(signal.SIGSTOP)
    yield "the warehouse hangs (SIGSTOP)"
    site.parts["warehouse"].kill()
    await site.parts["warehouse"].restart()
    yield "killed and started again"
