"""Reads a file of events, sends it in batches, and keeps count; ``send`` shows it.

A thread reads, names and batches; tasks of the loop send. Between them is a bounded queue, so
memory stays the same for any file. Every batch is tried until the server answers for it: a lost
connection, 408, 425, 429 and 5xx but 501 and 505 are tried again, with the waits that the server
asks for, until nothing was accepted for ``give_up_after_s``. A repeat is harmless, because each
event has its id.
"""

import asyncio
import gzip
import io
import random
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
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
from sluice.no_answer import reason_of

BLOCK_BYTES: Final = 1024 * 1024
MAX_BATCH_BYTES: Final = 4_000_000
REQUEST_TIMEOUT_S: Final = 30.0
BACKOFF_BASE_S: Final = 0.1
BACKOFF_CAP_S: Final = 10.0
KEPT_SKIPS: Final = 100
MAX_WAITING_BLOCKS: Final = 2
"""Read but not yet taken by a sender: bounds the memory."""
GZIP_MAGIC: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """Where to, as whom, and within which bounds."""

    url: str
    """Base address of the gateway."""
    api_key: str = field(repr=False)
    batch_size: int
    concurrency: int
    give_up_after_s: int
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
    read_events: int = 0
    """Lines among them that were put into batches or skipped."""
    retries: int = 0
    problem: str = ""
    """Why it ended early; empty when the whole file was sent."""

    @property
    def settled_bytes(self) -> int:
        """How much of the file is queued or skipped, judged by the share of what was read."""
        if not self.read_events:
            return 0
        settled = min(self.queued + self.skipped, self.read_events)
        return self.read_bytes * settled // self.read_events

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

    def __init__(self, file: io.RawIOBase) -> None:
        self._raw = _Counted(file)

    @property
    def read_bytes(self) -> int:
        """How much of the file itself was read."""
        return self._raw.count

    def close(self) -> None:
        """Close the file; for the thread that reads, because no other knows that it does not."""
        self._raw.close()

    def blocks(self) -> Iterator[bytes]:
        """Yield the content until its end.

        Raises:
            SluiceError: The file cannot be read further.
        """
        try:
            is_gzip = self._raw.peek(len(GZIP_MAGIC)) == GZIP_MAGIC
            read = gzip.GzipFile(fileobj=self._raw).read1 if is_gzip else self._raw.read
            while block := read(BLOCK_BYTES):
                yield block
        except (OSError, EOFError, zlib.error) as error:
            message = f"the file is damaged or cannot be read further: {error}"
            raise SluiceError(message) from error


class _Counted(io.RawIOBase):
    """Counts what is read through it, also where a file cannot tell its position (a pipe).

    The file has no buffer: a buffer's lock, held while a pipe is silent, would keep Ctrl-C waiting.
    What comes slowly is sent as it comes, not when a block is full.
    """

    def __init__(self, file: io.RawIOBase) -> None:
        super().__init__()
        self._file = file
        self._head = b""
        self.count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if self._head:
            block, self._head = self._head, b""
        else:
            block = self._file.read(size) or b""
        self.count += len(block)
        return block

    def close(self) -> None:
        self._file.close()
        super().close()

    def peek(self, size: int) -> bytes:
        """Return the first bytes of the file, fewer if it has no more; reading starts at them."""
        while len(self._head) < size and (block := self._file.read(size - len(self._head))):
            self._head += block
        return self._head


class Sender:
    """Sends one file; ``tally`` tells at any time how far it is.

    ``report`` gets a line when a request first has to be repeated, and when the reason changes.
    """

    def __init__(self, options: SendOptions, source: Source, report: Callable[[str], None]) -> None:
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
        self._report = report
        self._reported = ""

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
        timeout = aiohttp.ClientTimeout(total=None)  # each request has its own
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
            self._take_skips(batcher)
            self.tally.read_events += sum(len(batch.events) for batch in batches or ())
            putting = waiting.put(batches)
            try:
                done = asyncio.run_coroutine_threadsafe(putting, loop)
            except RuntimeError:
                putting.close()
                raise
            done.result()

        batcher = Batcher(self._options.batch_size, MAX_BATCH_BYTES)
        try:
            try:
                for block in self._source.blocks():
                    hand_over(list(batcher.feed(block)))
            except SluiceError as error:
                self.tally.problem = f"{error} (after line {batcher.line})"
            hand_over(list(batcher.finish()))
            hand_over(None)
        except (RuntimeError, CancelledError):
            return  # the loop has ended: nobody listens any more
        finally:
            self._source.close()

    def _take_skips(self, batcher: Batcher) -> None:
        skips, batcher.skips = batcher.skips, []
        self.tally.skip(len(skips), skips)
        self.tally.read_events += len(skips)
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
        started = time.monotonic()  # a file that comes slowly is no silence of the server
        while True:
            left_s = self._left_s(started)
            verdict, reason = await self._try(session, batch, body, within_s=left_s)
            match verdict:
                case Again(after_s):
                    failures += 1
                    await self._wait(failures, after_s, reason, left_s=self._left_s(started))
                case Halve():
                    for half in batch.halves():
                        await self._send(session, half)
                    return
                case _:
                    return

    def _left_s(self, started: float) -> float:
        since = max(self._last_success, started)
        return since + self._options.give_up_after_s - time.monotonic()

    async def _wait(
        self, failures: int, after_s: float | None, reason: str, *, left_s: float
    ) -> None:
        patience = _in_words(self._options.give_up_after_s)
        kind = reason.partition(" (")[0] if reason.startswith(_ANSWERED) else reason
        if kind != self._reported:
            self._reported = kind
            self._report(f"{reason}; trying for up to {patience}")
        wait_s = backoff_s(
            failures,
            base_s=BACKOFF_BASE_S,
            cap_s=BACKOFF_CAP_S,
            jitter=random.random(),  # noqa: S311 - spreads retries, keeps no secret
        )
        wait_s = max(wait_s, after_s or 0.0)
        await asyncio.sleep(max(0.0, min(wait_s, left_s)))
        if wait_s >= left_s:
            message = f"nothing was accepted for {patience}: {reason}"
            raise _GaveUpError(message)
        self.tally.retries += 1

    async def _try(
        self, session: aiohttp.ClientSession, batch: Batch, body: bytes, *, within_s: float
    ) -> tuple[Done | Again | Halve | Drop, str]:
        url = self._track if batch.is_single else f"{self._track}/batch"
        try:
            async with (
                asyncio.timeout(min(within_s, REQUEST_TIMEOUT_S)),
                session.post(url, data=body, allow_redirects=False) as answer,
            ):
                text = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Again(), f"no answer from {self._options.url} ({reason_of(error)})"
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
        return verdict, f"{_ANSWERED} {answer.status} ({_detail(text)})"

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


_ANSWERED: Final = "the server answered"


def _in_words(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{seconds} s" if rest else f"{minutes} min"


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
