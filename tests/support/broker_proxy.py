"""A TCP proxy that fails in the ways in which the way to a broker fails.

In a test's own process it is an async context manager; as a process of its own, which may be killed
and started again, it is ``python -m tests.support.broker_proxy --port P --target HOST:PORT``. It
says ``ready``, takes a mode a line on standard input, says ``ok`` when the mode is in effect, and
ends with its input.

* ``pass`` forwards.
* ``refuse``: nobody listens, and what was open is reset.
* ``hang``: connections are accepted and read, and nothing is forwarded. Those that were open then
  stay dead for ever, as behind a firewall that forgot them; only new ones work afterwards.
* ``reset``: whoever sends something is reset.
* ``delay N``: what the client sends arrives N seconds later.
* ``drop-answers``: what the client sends arrives, the answers are thrown away. Connections that
  missed one are reset when the mode ends.
"""

import argparse
import asyncio
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

CHUNK_BYTES: Final = 65_536
MAX_DELAYED_CHUNKS: Final = 1_024
"""On one connection; past it the proxy stops reading, as a full pipe would."""
END_WITHIN_S: Final = 2.0
MODES: Final = ("pass", "refuse", "hang", "reset", "delay", "drop-answers")
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)

_Delayed = asyncio.Queue[tuple[float, bytes]]


@dataclass(slots=True, eq=False)
class _Link:
    """One client's connection and its continuation to the target."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    is_dead: bool = False
    """Swallows what is sent in either direction, for ever."""
    is_torn: bool = False
    """An answer was thrown away, so that what follows would make no sense."""
    delayed: _Delayed = field(default_factory=lambda: asyncio.Queue(MAX_DELAYED_CHUNKS))

    def reset(self) -> None:
        """End both sides at once, the client's with RST."""
        if not self.near.is_closing():
            sock = self.near.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self.near.transport.abort()
        self.far.transport.abort()


class BrokerProxy:
    """Forwards connections in the manner of its mode; an async context manager."""

    def __init__(self, target: str, *, port: int = 0) -> None:
        """Take ``host:port`` to forward to, and the port to listen on (0 takes a free one)."""
        host, _, number = target.rpartition(":")
        self._target = host, int(number)
        self._port = port
        self._mode = "pass"
        self._delay_s = 0.0
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[object]] = set()
        self._server: asyncio.Server | None = None

    @property
    def host(self) -> str:
        """``host:port`` of the proxy."""
        return f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        """Listen."""
        await self._listen()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Stop listening and end all connections."""
        await self._refuse()
        if self._serving:
            await asyncio.wait(self._serving, timeout=END_WITHIN_S)

    async def use(self, mode: str, delay_s: float = 0.0) -> None:
        """Change the mode; in effect on return."""
        if mode not in MODES:
            message = f"unknown mode {mode!r}"
            raise ValueError(message)
        self._mode, self._delay_s = mode, delay_s
        for link in list(self._links):
            link.is_dead = link.is_dead or mode == "hang"
            if link.is_torn:
                link.reset()
        if mode == "refuse":
            await self._refuse()
        else:
            await self._listen()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
            self._port = int(self._server.sockets[0].getsockname()[1])

    async def _refuse(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for link in list(self._links):
            link.reset()
        if server is not None:
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            await self._serve_link(reader, writer, far_reader, far_writer)
        except OSError:
            writer.transport.abort()
        finally:
            self._serving.discard(task)

    async def _serve_link(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        link = _Link(writer, far_writer, is_dead=self._mode == "hang")
        self._links.add(link)
        if self._server is None:  # it was closed while the connection was being made
            link.reset()
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(self._pump(link, reader, is_answer=False)),
                    tasks.create_task(self._pump(link, far_reader, is_answer=True)),
                    tasks.create_task(_feed(link)),
                ]
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in running:
                    task.cancel()
        finally:
            self._links.discard(link)
            link.reset()

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, *, is_answer: bool) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if self._mode == "reset":
                    return
                if is_answer and self._mode == "drop-answers":
                    link.is_torn = True
                elif link.is_dead:
                    continue
                elif is_answer:
                    link.near.write(chunk)
                    await link.near.drain()
                else:
                    delay_s = self._delay_s if self._mode == "delay" else 0.0
                    await link.delayed.put((time.monotonic() + delay_s, chunk))
            if is_answer:  # the target ended the connection in order: the client gets all of it
                link.near.close()
                await link.near.wait_closed()


async def _feed(link: _Link) -> None:
    """Send on what the client said when it is due."""
    with suppress(OSError):
        while True:
            due, chunk = await link.delayed.get()
            wait_s = due - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            if not link.is_dead:
                link.far.write(chunk)
                await link.far.drain()


async def _serve_until_input_ends(port: int, target: str) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with BrokerProxy(target, port=port) as proxy:
        _say(f"ready {proxy.host}")
        while line := await reader.readline():
            mode, *seconds = line.decode().split()
            await proxy.use(mode, *map(float, seconds))
            _say(f"ok {mode}")


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the proxy as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--target", required=True)
    options = parser.parse_args()
    asyncio.run(_serve_until_input_ends(options.port, options.target))


if __name__ == "__main__":
    main()
