"""A TCP proxy that can be cut: how tests make a dependency vanish without touching it."""

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Self

from yarl import URL

CHUNK_BYTES = 65_536


class TcpProxy:
    """Forwards connections to the server of a URL until it is cut; an async context manager."""

    def __init__(self, target: str) -> None:
        self._target = URL(target)
        self._writers: set[asyncio.StreamWriter] = set()
        self._open = AsyncExitStack()

    @property
    def url(self) -> str:
        """The target's URL, by way of the proxy."""
        return str(self._target.with_host("127.0.0.1").with_port(self._port))

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def mend(self) -> None:
        """Listen again where it was cut."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    async def __aexit__(self, *exc: object) -> None:
        """Stop listening and end all connections."""
        await self.cut()

    async def cut(self) -> None:
        """Refuse new connections and break those that are open."""
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(
                self._target.host, self._target.port
            )
            self._writers |= {writer, far_writer}
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_pump(reader, far_writer))
                    tasks.create_task(_pump(far_reader, writer))
            finally:
                self._writers -= {writer, far_writer}
                far_writer.transport.abort()
        writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.transport.abort()
