"""The processes of one ``sluice gateway --processes N`` answer a scrape for each other.

Prometheus reaches one of them, whichever takes the connection. Each serves its own metrics on a
private Unix socket in a folder that their parent made; the one that is asked gathers the others'
within ``GATHER_S`` and merges them, each sample with the label ``process``. One that is dead, hangs
or says too much is left out and counted.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from gateway.single_flight import SingleFlight
from sluice.core.errors import ConfigError
from sluice.core.exposition import merged
from sluice.telemetry import SIBLINGS_LEFT_OUT

GATHER_S: Final = 3.0
"""Longer than a sibling may wait for its queue; far below Prometheus' own 10 s."""
KEEP_S: Final = 0.2
"""However often the metrics are asked for, the others are asked at most this often."""
MAX_TEXT_BYTES: Final = 8 * 1024 * 1024
LABEL: Final = "process"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Which of how many processes this is, and where they meet."""

    number: int
    count: int
    folder: Path

    @classmethod
    def of(cls, text: str) -> Self:
        """Read ``NUMBER/COUNT:FOLDER``.

        Raises:
            ConfigError: It is not that.
        """
        numbers, _, folder = text.partition(":")
        number, _, count = numbers.partition("/")
        if not (number.isdecimal() and count.isdecimal() and folder and int(number) < int(count)):
            message = f"--among is {text!r}: use NUMBER/COUNT:FOLDER, as the parent does."
            raise ConfigError(message)
        return cls(int(number), int(count), Path(folder))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}:{self.folder}"

    def socket_of(self, number: int) -> Path:
        """Return where a process serves its metrics."""
        return self.folder / f"{number}.sock"


class Siblings:
    """This process among the others."""

    def __init__(
        self, place: Place, own: Callable[[], Awaitable[bytes]], *, gather_s: float = GATHER_S
    ) -> None:
        """Take where it is and what returns its own metrics."""
        self._place = place
        self._own = own
        self._gather_s = gather_s
        self._texts: SingleFlight[str, bytes] = SingleFlight(
            keep_s=KEEP_S, max_entries=1, monotonic=time.monotonic
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Answer the others until ``stop``."""
        server = await asyncio.start_unix_server(
            self._answer, str(self._place.socket_of(self._place.number))
        )
        async with server:
            await stop.wait()

    async def text(self) -> bytes:
        """Return the metrics of all processes that answer in time."""
        return await self._texts.get("all", self._gather)

    async def _gather(self) -> bytes:
        others = [number for number in range(self._place.count) if number != self._place.number]
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._ask(number)) for number in others]
        found = {number: task.result() for number, task in zip(others, asked, strict=True)}
        for number, text in found.items():
            if text is None:
                SIBLINGS_LEFT_OUT.add(1)
                _log.warning("A scrape goes without a process", extra={"left_out": number})
        found[self._place.number] = (await self._own()).decode()
        texts = [(str(number), text) for number, text in sorted(found.items()) if text is not None]
        return await asyncio.to_thread(lambda: merged(texts, label=LABEL).encode())

    async def _ask(self, number: int) -> str | None:
        try:
            async with asyncio.timeout(self._gather_s):
                reader, writer = await asyncio.open_unix_connection(
                    str(self._place.socket_of(number)), limit=MAX_TEXT_BYTES
                )
                try:
                    return await _read_whole(reader)
                finally:
                    writer.transport.abort()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            return None

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._gather_s):
                text = await self._own()
                writer.write(len(text).to_bytes(8, "big") + text)
                await writer.drain()
        except (TimeoutError, OSError):
            _log.debug("Another process did not wait for the metrics of this one")
        finally:
            writer.close()


async def _read_whole(reader: asyncio.StreamReader) -> str | None:
    size = int.from_bytes(await reader.readexactly(8), "big")
    if size > MAX_TEXT_BYTES:
        return None
    return (await reader.readexactly(size)).decode()
