"""A proxy that answers some requests by itself, as an overloaded or lossy way would."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self

import aiohttp
from aiohttp import web

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
_NOT_PASSED_ON: Final = {"host", "content-length", "transfer-encoding", "connection"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What one request gets instead of its answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    is_passed_on: bool = False
    """Whether the request reaches the target all the same, and only its answer is lost."""


class Unsteady:
    """Passes requests on to a URL, but for the faults; an async context manager.

    Args:
        target: Base address.
        faults: By number of the request, from 0.
    """

    def __init__(self, target: str, faults: Mapping[int, Fault]) -> None:
        self._target = target
        self._faults = faults
        self.arrivals: list[float] = []
        """When each request came, on the monotonic clock."""
        self.url = ""

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop listening."""
        await self._runner.cleanup()
        await self._session.close()

    async def _serve(self, request: web.Request) -> web.Response:
        fault = self._faults.get(len(self.arrivals))
        self.arrivals.append(time.monotonic())
        body = await request.read()
        if fault is None or fault.is_passed_on:
            answer = await self._pass_on(request, body)
            if fault is None:
                return answer
        return web.Response(
            status=fault.status,
            body=fault.body,
            content_type="application/json",
            headers=dict(fault.headers),
        )

    async def _pass_on(self, request: web.Request, body: bytes) -> web.Response:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _NOT_PASSED_ON
        }
        async with self._session.request(
            request.method, self._target + request.path_qs, headers=headers, data=body
        ) as answer:
            passed = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() not in _NOT_PASSED_ON
            }
            return web.Response(status=answer.status, body=await answer.read(), headers=passed)
