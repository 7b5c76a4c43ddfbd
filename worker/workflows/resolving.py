"""Names to addresses, and sockets to those alone that may be reached.

What is checked is what is connected to: the check stands between the system's resolver and the
socket, at every connection, so a name that changes its mind in between changes nothing.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from errno import EACCES
from ipaddress import ip_address
from typing import Any, Final
from weakref import WeakValueDictionary

from aiohttp.abc import AbstractResolver, ResolveResult

from sluice.core.errors import SluiceError
from worker.workflows.core.reach import is_public

MAX_LOOKUPS: Final = 32
"""At once: threads of their own, because a dead name server would hold up those of everybody."""
MAX_LOOKUPS_OF_TENANT: Final = 8
"""So that one tenant's dead name servers hold up its own lookups only."""
MAX_LENT: Final = 1_000
_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


asking_tenant: ContextVar[str] = ContextVar("asking_tenant", default="")
"""For whom names are looked up."""
LISTED_BY: Final = "SLUICE_WORKFLOW_PRIVATE_HOSTS"


class RefusedAddressError(SluiceError):
    """A request may not go where it would."""


class Guard(AbstractResolver):
    """Resolves names, and makes the sockets of a connector.

    Args:
        listed: Hosts and ports that may be private.
        listed_by: What lists them, for who reads that one is not.
    """

    def __init__(self, listed: frozenset[tuple[str, int]], *, listed_by: str = LISTED_BY) -> None:
        self._listed = listed
        self._listed_by = listed_by
        self._lent: set[tuple[str, int]] = set()
        """Private addresses and ports that a listed host was found to have."""
        self._of_tenants: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._threads = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="workflow-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name that may be reached.

        Raises:
            RefusedAddressError: It has none that may be.
            OSError: It has none.
        """
        found = await self._looked_up(host, port, family)
        if (host.lower(), port) in self._listed:
            for one in found:
                self._lend(one["host"], port)
            return found
        reachable = [one for one in found if is_public(one["host"])]
        if found and not reachable:
            raise refused(host, port, self._listed_by)
        return reachable

    async def _looked_up(self, host: str, port: int, family: int) -> list[ResolveResult]:
        own = self._of_tenants.setdefault(
            asking_tenant.get(), asyncio.Semaphore(MAX_LOOKUPS_OF_TENANT)
        )
        await own.acquire()

        def end(looking: asyncio.Future[list[ResolveResult]]) -> None:
            own.release()
            if not looking.cancelled():
                looking.exception()  # nobody may be left to hear it

        looking = asyncio.get_running_loop().run_in_executor(
            self._threads, _addresses, host, port, family
        )
        looking.add_done_callback(end)
        # Whoever gives up does not free the thread.
        return await asyncio.shield(looking)

    def check_literal(self, host: str, port: int) -> None:
        """Check an IP address that a request names itself: it is not resolved.

        Raises:
            RefusedAddressError: It may not be reached.
        """
        if (host.lower(), port) in self._listed:
            self._lend(host, port)
        elif not is_public(host):
            raise refused(host, port, self._listed_by)

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Make the socket for one address: the last to look at it."""
        family, kind, protocol, _, address = info
        if not is_public(address[0]) and _key(address[0], address[1]) not in self._lent:
            raise OSError(EACCES, "the address is not a public one")
        return socket.socket(family, kind, protocol)

    def _lend(self, address: str, port: int) -> None:
        if len(self._lent) >= MAX_LENT:
            self._lent.clear()
        self._lent.add(_key(address, port))

    async def close(self) -> None:
        """Forget the lookups that have not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def refused(host: str, port: int, listed_by: str = LISTED_BY) -> RefusedAddressError:
    """Return the error of a host that may not be reached."""
    return RefusedAddressError(
        f"{host}:{port} is not on the public internet, and {listed_by} does not list it"
    )


def _key(address: str, port: int) -> tuple[str, int]:
    return ip_address(address.partition("%")[0]).compressed, port


def _addresses(host: str, port: int, family: int) -> list[ResolveResult]:
    infos = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=port,
            family=kind,
            proto=protocol,
            flags=_NUMERIC,
        )
        for kind, _, protocol, _, address in infos
    ]
