"""A TCP proxy in front of the broker that forwards, is slow, hangs or refuses, as it is told.

``python -m loadtest.broker_proxy`` prints ``ready PORT`` and takes one mode a line from its input:
``up``, ``slow`` (every answer 0.2 s later), ``hung`` (connections are taken and kept, no byte goes
through) or ``refusing`` (open connections are reset, new ones refused). It ends with its input.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Literal, get_args

import uvloop

Mode = Literal["up", "slow", "hung", "refusing"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
SLOW_S: Final = 0.2
CHUNK_BYTES: Final = 65_536


class Proxy:
    """Stands in front of one port of loopback."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._delay_s = 0.0
        self._port = 0
        self._server: asyncio.Server | None = None

    async def listen(self) -> int:
        """Take connections; return the port, which stays the same."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self._port

    async def turn(self, mode: Mode) -> None:
        """Behave like this from now on."""
        self._delay_s = SLOW_S if mode == "slow" else 0.0
        if mode == "hung":
            self._flows.clear()
        else:
            self._flows.set()
        if mode == "refusing":
            await self.cut()
        elif self._server is None:
            await self.listen()

    async def cut(self) -> None:
        """Refuse new connections and reset those that are open."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._writers |= {writer, far_writer}
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._forward(reader, far_writer))
                    tasks.create_task(self._forward_later(far_reader, writer, tasks))
            finally:
                self._writers -= {writer, far_writer}
                far_writer.transport.abort()
        writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self._flows.wait()
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()

    async def _forward_later(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tasks: asyncio.TaskGroup
    ) -> None:
        """Forward in order, each chunk a while after it came; what follows does not wait more."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        loop = asyncio.get_running_loop()
        tasks.create_task(self._write_when_due(line, writer))
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await line.put((loop.time() + self._delay_s, chunk))
        await line.put((loop.time(), b""))

    async def _write_when_due(
        self, line: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while True:
                due_at, chunk = await line.get()
                if not chunk:
                    break
                if (wait_s := due_at - loop.time()) > 0:
                    await asyncio.sleep(wait_s)
                await self._flows.wait()
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()


async def obey(proxy: Proxy, read_line: Callable[[], Awaitable[str]]) -> None:
    """Do what the input says until it ends."""
    print("ready", await proxy.listen(), flush=True)
    while word := (await read_line()).strip():
        mode = next(mode for mode in MODES if mode == word)
        await proxy.turn(mode)
        print(mode, flush=True)
    await proxy.cut()


def main() -> None:
    """Read the port to stand in front of from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target-port", type=int, required=True)
    options = parser.parse_args()
    proxy = Proxy(("127.0.0.1", options.target_port))
    uvloop.run(obey(proxy, lambda: asyncio.to_thread(sys.stdin.readline)))


if __name__ == "__main__":
    main()
