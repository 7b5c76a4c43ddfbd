"""Kill test: every event answered 202 is in ClickHouse exactly once, whatever was killed.

Run it yourself with ``make kill-test ROUNDS=50``. Each round sends events at a steady rate, kills
one process (or all at once, the supervisor too) with SIGKILL at a random moment, waits until
everything is up again and everything promised is visible, and lets the oracle compare.
"""

import argparse
import asyncio
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import orjson

from tests.faults.oracle import Oracle, Verdict
from tests.support.poll import poll_until
from tests.support.ports import free_port

RATE_PER_S = 2_000
"""Events a second that are sent in each round."""
ROUND_S = 2.0
TICK_S = 0.02
BATCH_SHARE = 0.5
"""Share of the events that go out in batches; the rest are single requests."""
BATCH_EVENTS = 20
BAD_SHARE = 0.01
"""Share of events that are invalid on purpose and must never be stored."""
TRIES = 40
VICTIMS = ("gateway", "worker", "warehouse", "all")
OPEN_ERROR = "publish_timeout"
"""The one refusal that leaves open whether the event is stored."""


class Stack:
    """``sluice run`` in a folder of its own, with its children found in the process table."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.environment = os.environ | {
            "SLUICE_DATA_DIR": str(data_dir),
            "SLUICE_WAREHOUSE_PORT": str(free_port()),
            "SLUICE_WORKER_PORT": str(free_port()),
        }
        self._process: asyncio.subprocess.Process | None = None
        self.log = (data_dir / "run.log").open("ab")

    @property
    def url(self) -> str:
        """Base address of the gateway."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start everything, and return when it says that it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sluice.cli", "run", "--port", str(self.port),
            env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=self.log,
        )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            async for line in self._process.stdout:
                if line.strip().startswith(b"ready"):
                    return
        message = f"sluice run ended before it was ready; see {self.log.name}"
        raise RuntimeError(message)

    async def command(self, *words: str) -> bytes:
        """Run one ``sluice`` command on the same data and return what it prints."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sluice.cli", *words,
            env=self.environment, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        printed, _ = await process.communicate()
        assert process.returncode == 0, f"sluice {words[0]} failed"
        return printed

    def children(self) -> dict[str, int]:
        """Return the process ids of the parts that run now, by name."""
        if self._process is None:
            return {}
        pid = self._process.pid
        with suppress(FileNotFoundError):
            pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return dict(_named(pids))
        return {}

    def kill(self, victim: str) -> None:
        """SIGKILL one part, or all of them with the supervisor."""
        assert self._process is not None
        children = self.children()
        if victim == "all":
            pids = [self._process.pid, *children.values()]
        else:
            pids = [children[victim]] if victim in children else []
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def ensure(self) -> None:
        """Start again what the supervisor cannot: itself."""
        if self._process is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await self._process.wait()
        if self._process is None or self._process.returncode is not None:
            await self.start()

    async def stop(self) -> None:
        """Stop in order; kill what does not stop."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(15):
                    await self._process.wait()
            except TimeoutError:
                self.kill("all")
                await self._process.wait()
        self.log.close()


def _named(pids: list[str]) -> Iterator[tuple[str, int]]:
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            for name in ("gateway", "worker", "warehouse"):
                if name in words:
                    yield name, int(pid)


@dataclass(slots=True)
class Sender:
    """Sends numbered events at a steady rate and tells the oracle what each answer was.

    Every second event carries an ``event_id`` and is retried until it is answered 202, as a careful
    client does; the others are sent once, and count as unanswered when the connection broke.
    """

    session: aiohttp.ClientSession
    url: str
    api_key: str
    oracle: Oracle
    chance: random.Random
    numbers: "itertools.count[int]"
    run: str

    async def send(self, event_type: str, *, seconds: float) -> None:
        """Send for some seconds, whatever the answers are (open loop)."""
        per_tick = int(RATE_PER_S * TICK_S)
        start = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for tick in range(int(seconds / TICK_S)):
                await asyncio.sleep(max(0.0, start + tick * TICK_S - time.monotonic()))
                left = per_tick
                while left > 0:
                    size = BATCH_EVENTS if self.chance.random() < BATCH_SHARE / 10 else 1
                    left -= size
                    tasks.create_task(self._deliver(event_type, size))

    async def _deliver(self, event_type: str, size: int) -> None:
        numbers = [next(self.numbers) for _ in range(size)]
        has_id = self.chance.random() < 0.5
        is_bad = size == 1 and self.chance.random() < BAD_SHARE
        events = [self._event(event_type, n, has_id=has_id, is_bad=is_bad) for n in numbers]
        outcome = await self._post(events, is_batch=size > 1, can_retry=has_id)
        {
            "accepted": self.oracle.accepted,
            "refused": self.oracle.refused,
            "unanswered": self.oracle.unanswered,
        }[outcome].update(numbers)

    def _event(self, event_type: str, n: int, *, has_id: bool, is_bad: bool) -> dict[str, object]:
        event: dict[str, object] = {
            "user_id": "" if is_bad else f"user-{n % 997}",
            "event_type": event_type,
            "payload": {"n": n},
        }
        return event | {"event_id": f"{self.run}-{n}"} if has_id else event

    async def _post(
        self, events: list[dict[str, object]], *, is_batch: bool, can_retry: bool
    ) -> str:
        path = "/api/ingestion/track/batch" if is_batch else "/api/ingestion/track"
        body = orjson.dumps({"events": events} if is_batch else events[0])
        outcome = "unanswered"
        for attempt in range(TRIES if can_retry else 1):
            if attempt:
                await asyncio.sleep(self.chance.uniform(0.1, 0.4))
            outcome = await self._post_once(path, body)
            if outcome == "accepted" or (outcome == "refused" and attempt == 0):
                return outcome
        # A retried event that was refused at last may have been stored by an earlier try.
        return "unanswered" if can_retry else outcome

    async def _post_once(self, path: str, body: bytes) -> str:
        try:
            async with self.session.post(
                self.url + path,
                data=body,
                headers={
                    "Authorization": f"ApiKey {self.api_key}",
                    "Content-Type": "application/json",
                },
            ) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            return "unanswered"
        if answer.status == 202:
            return "accepted"
        if answer.headers.get("X-Error-Type") == OPEN_ERROR:
            return "unanswered"
        return "refused"


async def read_stored(
    session: aiohttp.ClientSession, data_dir: Path, tenant: str
) -> list[tuple[int, int]]:
    """Return number and count of every stored event of the tenant, from ClickHouse itself."""
    parts = urlsplit((data_dir / "warehouse.url").read_text().strip())
    query = (
        "SELECT JSONExtractUInt(payload, 'n') AS n, count() FROM events FINAL"
        " WHERE tenant = {tenant:String} GROUP BY n FORMAT TSV"
    )
    async with session.post(
        f"http://{parts.hostname}:{parts.port}/",
        params={"param_tenant": tenant, "database": parts.path.strip("/")},
        data=query.encode(),
        headers={
            "X-ClickHouse-User": parts.username or "",
            "X-ClickHouse-Key": parts.password or "",
        },
    ) as answer:
        text = await answer.text()
        answer.raise_for_status()
    return [(int(n), int(count)) for n, count in (row.split("\t") for row in text.splitlines())]


@dataclass(frozen=True, slots=True)
class Report:
    """The sum of all rounds."""

    rounds: int
    kills: dict[str, int]
    verdict: Verdict
    stats_total: int
    seconds: float

    def lines(self) -> Iterator[str]:
        """Yield the report as a person reads it."""
        verdict = self.verdict
        yield f"rounds     {self.rounds} ({', '.join(f'{k} {v}' for k, v in self.kills.items())})"
        yield f"sent       {verdict.sent}"
        yield f"accepted   {verdict.accepted}"
        yield f"refused    {verdict.refused}"
        yield f"unanswered {verdict.unanswered}"
        yield f"stats      {self.stats_total}"
        yield f"lost       {len(verdict.lost)} {list(verdict.lost[:10]) or ''}"
        yield f"doubled    {len(verdict.doubled)} {list(verdict.doubled[:10]) or ''}"
        yield f"smuggled   {len(verdict.smuggled)} {list(verdict.smuggled[:10]) or ''}"
        yield f"seconds    {self.seconds:.0f}"


async def run_rounds(rounds: int, *, seed: int, data_dir: Path, is_chatty: bool) -> Report:
    """Run the test and return what happened.

    Raises:
        TimeoutError: A part did not come back, or something promised did not become visible.
    """
    started = time.monotonic()
    chance = random.Random(seed)  # noqa: S311 - a seed names the run, it keeps no secret
    stack = Stack(data_dir)
    oracle = Oracle()
    kills = dict.fromkeys(VICTIMS, 0)
    try:
        await stack.start()
        made = orjson.loads(await stack.command("tenant", "add", "kill-test", "--json"))
        token = (await stack.command("token", "kill-test", "--ttl", "2h")).decode().strip()
        timeout = aiohttp.ClientTimeout(total=10)
        connector = aiohttp.TCPConnector(limit=256)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            sender = Sender(
                session, stack.url, made["api_key"], oracle, chance, itertools.count(1), str(seed)
            )
            stored: list[tuple[int, int]] = []
            for number in range(rounds):
                victim = VICTIMS[number % len(VICTIMS)]
                kills[victim] += 1
                await _round(stack, sender, victim, f"round_{number}", chance)
                stored = await _wait_until_visible(session, stack, oracle)
                if is_chatty:
                    print(  # noqa: T201 - the report of a command
                        f"round {number + 1:3} killed {victim:9} accepted {len(oracle.accepted):7}",
                        flush=True,
                    )
            verdict = oracle.judge(stored)
            total = await _wait_for_stats(session, stack, token, sum(n for _, n in stored))
        return Report(rounds, kills, verdict, total, time.monotonic() - started)
    finally:
        await stack.stop()


async def _round(
    stack: Stack, sender: Sender, victim: str, event_type: str, chance: random.Random
) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sender.send(event_type, seconds=ROUND_S))
        await asyncio.sleep(chance.uniform(0.1, ROUND_S - 0.2))
        stack.kill(victim)
        await stack.ensure()


async def _wait_until_visible(
    session: aiohttp.ClientSession, stack: Stack, oracle: Oracle
) -> list[tuple[int, int]]:
    async def all_promised() -> list[tuple[int, int]]:
        try:
            stored = await read_stored(session, stack.data_dir, "kill-test")
        except (aiohttp.ClientError, TimeoutError, OSError):
            return []
        return [] if oracle.accepted - {n for n, _ in stored} else stored

    try:
        return await poll_until(all_promised, within_s=60, every_s=0.25)
    except TimeoutError:
        return await read_stored(session, stack.data_dir, "kill-test")


async def _wait_for_stats(
    session: aiohttp.ClientSession, stack: Stack, token: str, expected: int
) -> int:
    last = -1

    async def equals() -> bool:
        nonlocal last
        async with session.get(
            f"{stack.url}/api/ingestion/stats",
            params={"window": "7d"},
            headers={"Authorization": f"Bearer {token}"},
        ) as answer:
            if answer.status == 200:
                last = (await answer.json())["total_events"]
        return last == expected

    with suppress(TimeoutError):
        _: bool = await poll_until(equals, within_s=30, every_s=0.25)
    return last


def main() -> int:
    """Run the rounds that the command line asks for; exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    print(f"seed       {options.seed}", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory(prefix="sluice-kill-") as folder:
        report = asyncio.run(
            run_rounds(options.rounds, seed=options.seed, data_dir=Path(folder), is_chatty=True)
        )
    print("\n".join(report.lines()))  # noqa: T201
    stored = report.verdict.accepted
    return 0 if report.verdict.holds and report.stats_total >= stored else 1


if __name__ == "__main__":
    sys.exit(main())
