"""The one driver: sends a plan over HTTP and reports what it saw, cheap enough not to be measured.

In an open loop a request is due at its time, whatever became of those before it, and its latency
counts from then: a server that stalls is seen to stall, and one that was never answered counts with
all the time that it had (no coordinated omission). In a closed loop each connection sends the next
request with the answer to the last; that finds a ceiling and says little about latency.

Requests are built before; answers are read by their Content-Length. ``python -m loadtest.driver
PLAN`` prints one JSON object and ends by itself. It talks to loopback only, unless the plan says
that the other host may be loaded.
"""

import asyncio
import gc
import random
import resource
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Final, cast

import msgspec
import uvloop

from loadtest.latencies import Latencies
from loadtest.plan import DRAIN_S, MAX_REQUESTS, Phase, Plan, check, host_and_port, read_plan
from loadtest.seen import NO_ANSWER, Columns, Mark, Names, Seen, fold

RECONNECT_S: Final = 0.05
CONNECT_TRIES: Final = 3
COARSE_S: Final = 0.002
"""Timers of the loop are this rough; what is nearer is waited for turn by turn."""
LONGEST_US: Final = 2**32 - 1
OK, REDIRECTS = 200, 300
AT_ONCE: Final = 8
"""Requests that are sent in one turn of the loop, when many are due."""
OPENING: Final = 200
"""Connections that are being opened at once."""


class Engine:
    """One plan on its way: the connections, what is due, and what was seen."""

    def __init__(self, plan: Plan) -> None:
        check(plan)
        self.plan = plan
        self.host, self.port = host_and_port(plan.url)
        kinds = list(dict.fromkeys(request.kind for request in plan.requests))
        events = {request.kind: request.events for request in plan.requests}
        phases = list(dict.fromkeys(phase.name for phase in plan.phases))
        self.names = Names(phases, kinds, [events[kind] for kind in kinds])
        self._requests = cycle([(kinds.index(each.kind), each.raw) for each in plan.requests])
        self.columns = Columns()
        self._lags_us: list[int] = []
        self._marks: list[Mark] = []
        self.start = 0.0
        self.phase = 0
        self._waiting: deque[float] = deque()
        self._free: deque[Connection] = deque()
        self._deadline = 0.0
        """Of the closed loop; 0 in an open one."""
        self._left = 0
        self._in_flight: set[Connection] = set()
        self._idle = asyncio.Event()
        self.broken = 0
        self.is_over = False
        self.without_retry_after = 0
        self.slow_statuses: Counter[int] = Counter()
        self._ceiling = 0.0
        self._answered_at = 0.0
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> Seen:
        """Send the whole plan and return what was seen."""
        raise_file_limit()
        durations: dict[str, float] = {}
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self._open_all(tasks)
            self.start = time.perf_counter()
            slow = [
                tasks.create_task(self._drip(number / self._slow_connections))
                for number in range(self._slow_connections)
            ]
            for phase in self.plan.phases:
                took = await self._run_phase(phase)
                durations[phase.name] = durations.get(phase.name, 0.0) + took
            self.is_over = True
            for task in slow:
                task.cancel()
            for connection in [*self._free, *self._in_flight]:
                connection.close()
        return self._report(durations)

    @property
    def _slow_connections(self) -> int:
        return self.plan.slow.connections if self.plan.slow else 0

    async def _open_all(self, tasks: asyncio.TaskGroup) -> None:
        gate = asyncio.Semaphore(OPENING)
        idle: list[asyncio.Task[None]] = []

        async def open_one(*, is_idle: bool) -> None:
            async with gate:
                connection = await self.connect()
            connection.is_idle = is_idle
            if not is_idle:
                self._free.append(connection)

        for number in range(self.plan.connections + self.plan.idle_connections):
            is_idle = number >= self.plan.connections
            idle.append(tasks.create_task(open_one(is_idle=is_idle)))
        if idle:
            await asyncio.wait(idle)

    async def connect(self) -> "Connection":
        """Open one more connection."""
        loop = asyncio.get_running_loop()
        for left in reversed(range(CONNECT_TRIES)):
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(self), self.host, self.port
                )
            except OSError:
                if not left:
                    raise
                await asyncio.sleep(RECONNECT_S)
            else:
                return connection
        raise AssertionError

    async def _run_phase(self, phase: Phase) -> float:
        self.phase = self.names.phases.index(phase.name)
        rate = phase.rate or phase.share * self._ceiling
        began = time.perf_counter()
        self._marks.append(Mark(phase.name, round(began - self.start, 3)))
        before = len(self.columns.status)
        if rate:
            await self._pace(rate, phase)
        else:
            await self._loop_closed(phase)
        await self._drain()
        ended = time.perf_counter() - began
        if not rate:
            answers = self.columns.status[before:]
            self._ceiling = sum(OK <= status < REDIRECTS for status in answers) / ended
            return ended
        # A server that accepts all and answers late has done no more than it did until then.
        return max(min(ended, phase.seconds), self._answered_at - began)

    async def _pace(self, rate: float, phase: Phase) -> None:
        """Have requests due one after the other, at their times."""
        gaps = random.Random(self.plan.seed)
        total = min(int(rate * phase.seconds), phase.count, MAX_REQUESTS - len(self.columns.status))
        start = due = time.perf_counter()
        for number in range(1, total + 1):
            while (early := due - time.perf_counter()) > 0:  # noqa: ASYNC110 - waits for the clock
                await asyncio.sleep(early - COARSE_S if early > COARSE_S * 2 else 0)
            if number % AT_ONCE == 0:  # whoever is late must not keep the answers from being read
                await asyncio.sleep(0)
            if self._free:
                self._lags_us.append(int(-early * 1e6))
                self._send(self._free.popleft(), due)
            else:
                self._waiting.append(due)
            due = due + gaps.expovariate(rate) if self.plan.is_random else start + number / rate
        await asyncio.sleep(max(0.0, start + phase.seconds - time.perf_counter()))

    async def _loop_closed(self, phase: Phase) -> None:
        """Let every connection send as soon as it has an answer, until time or count are over."""
        now = time.perf_counter()
        self._deadline = now + phase.seconds
        self._left = min(phase.count, MAX_REQUESTS - len(self.columns.status))
        most = phase.at_once or len(self._free)
        while self._free and self._left > 0 and len(self._in_flight) < most:
            self._left -= 1
            self._send(self._free.popleft(), now)
        with suppress(TimeoutError):
            async with asyncio.timeout(phase.seconds):
                while self._in_flight:
                    self._idle.clear()
                    await self._idle.wait()
        self._deadline = 0.0

    async def _drain(self) -> None:
        """Wait, for a bounded time, for answers; then count what has none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._in_flight or self._waiting:
                    self._idle.clear()
                    await self._idle.wait()
        while self._waiting:
            self.note(0, self._waiting.popleft(), NO_ANSWER)
        for connection in list(self._in_flight):
            connection.give_up()
            self._in_flight.discard(connection)

    def _send(self, connection: "Connection", due: float) -> None:
        kind, raw = next(self._requests)
        self._in_flight.add(connection)
        connection.send(kind, raw, due)

    def note(self, kind: int, due: float, status: int) -> None:
        """Count what became of one request."""
        now, columns = time.perf_counter(), self.columns
        if status != NO_ANSWER:
            self._answered_at = now
        columns.due_ms.append(int((due - self.start) * 1e3) if due > self.start else 0)
        columns.latency_us.append(min(LONGEST_US, int((now - due) * 1e6)))
        columns.status.append(status)
        columns.kind.append(kind)
        columns.phase.append(self.phase)

    def answered(self, connection: "Connection") -> None:
        """Give a connection that has its answer the next request, if one is due."""
        if self._waiting:
            kind, raw = next(self._requests)
            connection.send(kind, raw, self._waiting.popleft())
            return
        if self._deadline:
            now = time.perf_counter()
            if self._left > 0 and now < self._deadline:
                self._left -= 1
                kind, raw = next(self._requests)
                connection.send(kind, raw, now)
                return
        self._in_flight.discard(connection)
        self._free.append(connection)
        if not self._in_flight:
            self._idle.set()

    def lost(self, connection: "Connection") -> None:
        """Replace a connection that the server closed."""
        if self.is_over:
            return
        self.broken += not connection.is_last
        self._in_flight.discard(connection)
        if not self._in_flight:
            self._idle.set()
        with suppress(ValueError):
            self._free.remove(connection)
        if self._tasks is not None and not connection.is_idle:
            self._tasks.create_task(self._replace())

    async def _replace(self) -> None:
        while not self.is_over:
            await asyncio.sleep(RECONNECT_S)
            with suppress(OSError):
                connection = await self.connect()
                self._in_flight.add(connection)
                self.answered(connection)
                return

    async def _drip(self, share: float) -> None:
        """Send one request after the other in drops, on a connection for each.

        It begins after that share of the time in which all begin: clients are not in step, and
        five hundred that were would be felt as one.
        """
        slow = self.plan.slow
        assert slow is not None
        await asyncio.sleep(share * slow.within_s)
        raw = self.plan.requests[0].raw
        head, _, body = raw.partition(b"\r\n\r\n")
        while not self.is_over:
            status = NO_ANSWER
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                try:
                    writer.write(head + b"\r\n\r\n")
                    for at in range(0, len(body), slow.chunk_bytes):
                        writer.write(body[at : at + slow.chunk_bytes])
                        await asyncio.sleep(slow.pause_s)
                    status = int((await reader.readuntil(b"\r\n\r\n"))[9:12])
                finally:
                    writer.close()
            self.slow_statuses[status] += 1

    def _report(self, durations: dict[str, float]) -> Seen:
        groups, seconds, statuses = fold(self.columns, self.names)
        lag = Latencies()
        lag.add(self._lags_us)
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Seen(
            groups=groups,
            seconds=seconds,
            statuses=statuses,
            lag=lag.encode(),
            durations_s=durations,
            cpu_s=used.ru_utime + used.ru_stime,
            broken_connections=self.broken,
            without_retry_after=self.without_retry_after,
            slow_statuses={str(status): n for status, n in self.slow_statuses.items()},
            marks=self._marks,
        )


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    __slots__ = (
        "_buffer",
        "_due",
        "_engine",
        "_is_busy",
        "_kind",
        "_transport",
        "is_idle",
        "is_last",
    )

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._buffer = b""
        self._due = 0.0
        self._kind = 0
        self._is_busy = False
        self.is_idle = False
        """Whether it is only held open."""
        self.is_last = False
        """Whether the server said that no further request is read here."""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to write."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass

    def send(self, kind: int, raw: bytes, due: float) -> None:
        """Send one request that was due at a time."""
        self._due = due
        self._kind = kind
        self._is_busy = True
        assert self._transport is not None
        self._transport.write(raw)

    def data_received(self, data: bytes) -> None:
        """Count a whole answer."""
        if not self._is_busy:  # such as a last word before the server closes
            return
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        if head < 0 or len(buffer) < head + 4 + content_length(buffer, head):
            self._buffer = buffer
            return
        self._buffer = b""
        self._is_busy = False
        engine = self._engine
        status = int(buffer[9:12])
        engine.note(self._kind, self._due, status)
        if status >= REDIRECTS:
            told = buffer[:head].lower()
            if status in {429, 503} and b"retry-after:" not in told:
                engine.without_retry_after += 1
            if b"\r\nconnection: close" in told:
                self.is_last = True
                self.close()
                return
        engine.answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a request that has no answer, and ask for another connection."""
        self.give_up()
        self._engine.lost(self)

    def give_up(self) -> None:
        """Count the request on its way as one that was never answered."""
        if self._is_busy:
            self._is_busy = False
            self._engine.note(self._kind, self._due, NO_ANSWER)
            self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


def content_length(buffer: bytes, head: int) -> int:
    """Return the length of an answer's body; ``head`` is where its headers end."""
    at = buffer.find(b"Content-Length: ", 0, head)
    if at < 0:  # other servers write names in lower case
        at = buffer.lower().find(b"content-length: ", 0, head)
    return int(buffer[at + 16 : buffer.find(b"\r\n", at)]) if at >= 0 else 0


def raise_file_limit() -> None:
    """Allow as many open connections as this process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def drive(plan: Plan) -> Seen:
    """Send a plan from this process."""
    return await Engine(plan).run()


def main() -> None:
    """Read the plan from the file that is named, print what was seen as JSON."""
    plan = read_plan(Path(sys.argv[1]))
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a pause would count as the server's
    seen = uvloop.run(drive(plan))
    sys.stdout.buffer.write(msgspec.json.encode(seen) + b"\n")


if __name__ == "__main__":
    main()
