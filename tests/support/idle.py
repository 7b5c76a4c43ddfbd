"""Thousands of connections that say nothing."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from yarl import URL

AT_ONCE = 200
SPARE_FILES = 1_000
"""Descriptors left to the rest of the test process."""


def most_connections(wanted: int) -> int:
    """Raise the bound on open files and return how many connections it allows, up to ``wanted``."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + SPARE_FILES if hard == resource.RLIM_INFINITY else hard
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return min(wanted, files - SPARE_FILES)


@asynccontextmanager
async def idle_connections(url: str, count: int) -> AsyncIterator[None]:
    """Hold that many open connections to a server."""
    parts = URL(url)
    address = (parts.host, parts.port)
    sockets: list[socket.socket] = []
    loop = asyncio.get_running_loop()
    try:
        while len(sockets) < count:
            async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
                for _ in range(min(AT_ONCE, count - len(sockets))):
                    sock = socket.socket()
                    sockets.append(sock)
                    sock.settimeout(0)
                    tasks.create_task(loop.sock_connect(sock, address))
        yield
    finally:
        for sock in sockets:
            sock.close()
