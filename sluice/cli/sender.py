"""Reads a file of events, sends it in batches, and keeps count; ``send`` shows it.

A thread reads, names and batches; tasks of the loop send. Between them is a bounded queue, so
memory stays the same for any file. Every batch is tried until the server answers for it: a lost
connection, 429 and 5xx are tried again, with the waits that the server asks for, until nothing
was accepted for ``give_up_after_s``. A repeat is harmless, because each event has its id.
"""

import asyncio
import gzip
import io
import random
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import msgspec
import zstandard

from sluice.core.errors import ConfigError, SluiceError
from sluice.core.event_lines import Batch, Batcher, Skip
from sluice.core.retry import backoff_s
from sluice.core.send_verdict import Again, Done, Drop, Halve, Wrong, default_reason, judge
from sluice.lifecycle import first_cause

BLOCK_BYTES: Final = 1024 * 1024
MAX_BATCH_BYTES: Final = 4_000_000
REQUEST_TIMEOUT_S: Final = 30.0
BACKOFF_BASE_S: Final = 0.1
BACKOFF_CAP_S: Final = 10.0
KEPT_SKIPS: Final = 100
MAX_WAITING_BLOCKS: Final = 2
"""Read but not yet taken by a sender: bounds the memory, and how far the bar runs ahead."""
GZIP_MAGIC: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """Where to, as whom, and within which bounds."""

    url: str
    """Base address of the gateway."""
    api_key: str = field(repr=False)
    batch_size: int
    concurrency: int
    give_up_after_s: float
    is_compressed: bool
    """Whether bodies go out as zstd."""


@dataclass(slots=True)
class Tally:
    """What became of the lines so far."""

    queued: int = 0
    skipped: int = 0
    skips: list[Skip] = field(default_factory=list)
    """The first ones, by line number within a batch."""
    read_bytes: int = 0
    """How far the file was read, in its own (compressed) bytes."""
    retries: int = 0
    problem: str = ""
    """Why it ended early; empty when the whole file was sent."""

    def skip(self, count: int, reasons: list[Skip]) -> None:
        """Count skipped lines and keep the first reasons."""
        self.skipped += count
        self.skips += reasons[: KEPT_SKIPS - len(self.skips)]


class WrongRequestError(ConfigError):
    """The server will not take any request of ours as it is: key or address are wrong."""


class _GaveUpError(SluiceError):
    """Nothing was accepted for too long."""


class _AnswerError(msgspec.Struct):
    index: int
    error_type: str
    detail: str = ""


class _Answer(msgspec.Struct):
    queued: bool | int = 0
    skipped: int = 0
    errors: list[_AnswerError] = []


class Source:
    """The file, plain or gzip (told by its first bytes), in blocks."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._raw = _Counted(file)
        is_gzip = file.peek(2)[:2] == GZIP_MAGIC
        self._gzip = gzip.GzipFile(fileobj=self._raw) if is_gzip else None

    @property
    def read_bytes(self) -> int:
        """How much of the file itself was read."""
        return self._raw.count

    def blocks(self) -> Iterator[bytes]:
        """Yield the content until its end.

        Raises:
            SluiceError: The file cannot be read further.
        """
        read = self._raw.read if self._gzip is None else self._gzip.read1
        try:
            while block := read(BLOCK_BYTES):
                yield block
        except (OSError, EOFError, zlib.error) as error:
            message = f"the file is damaged or cannot be read further: {error}"
            raise SluiceError(message) from error


class _Counted(io.RawIOBase):
    """Counts what is read through it, also where a file cannot tell its position (a pipe)."""

    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__()
        self._file = file
        self.count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        # read1: what comes slowly through a pipe is sent as it comes, not when a block is full
        block = self._file.read1(size)
        self.count += len(block)
        return block


class Sender:
    """Sends one file; ``tally`` tells at any time how far it is."""

    def __init__(self, options: SendOptions, source: Source) -> None:
        self.tally = Tally()
        self._options = options
        self._source = source
        self._track = f"{options.url}/api/ingestion/track"
        self._headers = {
            "Authorization": f"ApiKey {options.api_key}",
            "Content-Type": "application/json",
        }
        if options.is_compressed:
            self._headers["Content-Encoding"] = "zstd"
        self._last_success = time.monotonic()

    async def run(self) -> None:
        """Send everything, or until it makes no sense to go on; ``tally.problem`` says which.

        Raises:
            WrongRequestError: Key or address are wrong; nothing more was sent.
        """
        waiting: asyncio.Queue[list[Batch] | None] = asyncio.Queue(MAX_WAITING_BLOCKS)
        self._last_success = time.monotonic()
        reader = threading.Thread(
            target=self._read, args=(asyncio.get_running_loop(), waiting), daemon=True
        )
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(self._options.concurrency):
                        tasks.create_task(self._send_all(session, waiting))
                    reader.start()
            except* _GaveUpError as group:
                self.tally.problem = str(first_cause(group))

    def _read(
        self, loop: asyncio.AbstractEventLoop, waiting: asyncio.Queue[list[Batch] | None]
    ) -> None:
        def hand_over(batches: list[Batch] | None) -> None:
            asyncio.run_coroutine_threadsafe(waiting.put(batches), loop).result()

        batcher = Batcher(self._options.batch_size, MAX_BATCH_BYTES)
        try:
            try:
                for block in self._source.blocks():
                    hand_over(list(batcher.feed(block)))
                    self._take_skips(batcher)
            except SluiceError as error:
                self.tally.problem = f"{error} (after line {batcher.line})"
            hand_over(list(batcher.finish()))
            self._take_skips(batcher)
            hand_over(None)
        except (RuntimeError, asyncio.CancelledError):
            return  # the loop has ended: nobody listens any more

    def _take_skips(self, batcher: Batcher) -> None:
        skips, batcher.skips = batcher.skips, []
        self.tally.skip(len(skips), skips)
        self.tally.read_bytes = self._source.read_bytes

    async def _send_all(
        self, session: aiohttp.ClientSession, waiting: asyncio.Queue[list[Batch] | None]
    ) -> None:
        while (batches := await waiting.get()) is not None:
            for batch in batches:
                await self._send(session, batch)
        waiting.put_nowait(None)  # for the next sender

    async def _send(self, session: aiohttp.ClientSession, batch: Batch) -> None:
        body = batch.body()
        if self._options.is_compressed:
            body = await asyncio.to_thread(zstandard.compress, body, 1)
        failures = 0
        while True:
            verdict, reason = await self._try(session, batch, body)
            match verdict:
                case Again(after_s):
                    failures += 1
                    await self._wait(failures, after_s, reason)
                case Halve():
                    for half in batch.halves():
                        await self._send(session, half)
                    return
                case _:
                    return

    async def _wait(self, failures: int, after_s: float | None, reason: str) -> None:
        silent_s = time.monotonic() - self._last_success
        if silent_s > self._options.give_up_after_s:
            message = f"nothing was accepted for {silent_s:.0f} s: {reason}"
            raise _GaveUpError(message)
        self.tally.retries += 1
        wait_s = backoff_s(
            failures,
            base_s=BACKOFF_BASE_S,
            cap_s=BACKOFF_CAP_S,
            jitter=random.random(),  # noqa: S311 - spreads retries, keeps no secret
        )
        await asyncio.sleep(max(wait_s, after_s or 0.0))

    async def _try(
        self, session: aiohttp.ClientSession, batch: Batch, body: bytes
    ) -> tuple[Done | Again | Halve | Drop, str]:
        url = self._track if batch.is_single else f"{self._track}/batch"
        try:
            async with session.post(url, data=body, allow_redirects=False) as answer:
                text = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Again(), f"no answer ({str(error) or type(error).__name__})"
        verdict = judge(answer.status, answer.headers.get("Retry-After"), events=len(batch.events))
        match verdict:
            case Done():
                self._last_success = time.monotonic()
                self._count(batch, text)
            case Drop():
                error_type = answer.headers.get("X-Error-Type", default_reason(answer.status))
                self.tally.skip(1, [Skip(batch.lines[0], error_type, _detail(text))])
            case Wrong(remedy):
                message = f"the server answered {answer.status} ({_detail(text)}): {remedy}."
                raise WrongRequestError(message)
            case Again() | Halve():
                pass
        return verdict, f"the server answered {answer.status} ({_detail(text)})"

    def _count(self, batch: Batch, text: bytes) -> None:
        try:
            answer = msgspec.json.decode(text, type=_Answer)
        except msgspec.DecodeError as error:
            message = f"{self._options.url} answered what is no answer of this API: check --url."
            raise WrongRequestError(message) from error
        self.tally.queued += int(answer.queued)
        self.tally.skip(
            answer.skipped,
            [
                Skip(batch.lines[each.index], each.error_type, each.detail)
                for each in answer.errors
                if 0 <= each.index < len(batch.lines)
            ],
        )


def _detail(text: bytes) -> str:
    try:
        answer = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        words = next(iter(answer.values()), msgspec.Raw(b'""'))
        found = msgspec.json.decode(words)
    except msgspec.DecodeError:
        return "no reason given"
    if isinstance(found, list):
        found = " ".join(str(word) for word in found)
    return str(found)[:300]
