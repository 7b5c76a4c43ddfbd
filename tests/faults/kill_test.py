"""Kill test: every event answered 202 is in ClickHouse exactly once, whatever was killed.

Run it yourself with ``make kill-test ROUNDS=50``. Each round sends events at a steady rate, kills
one process (or all at once, the supervisor too) with SIGKILL at a random moment, waits until
everything is up again and everything promised is visible, and lets the oracle compare. With
``ARGS=--pubsub`` the queue is Google's emulator, which is never killed: it would forget everything.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from sluice.queue.pubsub_setup import ensure_topics
from sluice.queue.pubsub_wire import Names
from tests.faults.oracle import Oracle, Verdict
from tests.faults.processes import children_of, send_signal
from tests.faults.stored import Ledger
from tests.faults.traffic import Sender, client_session
from tests.support.ports import free_port
from tests.support.pubsub import MISSING, find_jar, running_emulator

ROUND_S = 2.0
VICTIMS = ("gateway", "worker", "warehouse", "all")
TENANT = "kill-test"


class Stack:
    """``sluice run`` in a folder of its own, with its children found in the process table."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.environment = {
            **os.environ,
            **settings,
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
        return {name: pid for name, pid in children_of(self._process.pid) if name}

    def kill(self, victim: str) -> None:
        """SIGKILL one part, or all of them with the supervisor."""
        assert self._process is not None
        children = self.children()
        if victim == "all":
            pids = [self._process.pid, *children.values()]
        else:
            pids = [children[victim]] if victim in children else []
        for pid in pids:
            send_signal(pid, signal.SIGKILL)

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


async def run_rounds(
    rounds: int,
    *,
    seed: int,
    data_dir: Path,
    is_chatty: bool,
    settings: Mapping[str, str] | None = None,
) -> Report:
    """Run the test and return what happened; ``settings`` are further variables.

    Raises:
        TimeoutError: A part did not come back, or something promised did not become visible.
    """
    started = time.monotonic()
    chance = random.Random(seed)  # noqa: S311 - a seed names the run, it keeps no secret
    stack = Stack(data_dir, settings or {})
    oracle = Oracle()
    kills = dict.fromkeys(VICTIMS, 0)
    try:
        await stack.start()
        made = orjson.loads(await stack.command("tenant", "add", TENANT, "--json"))
        token = (await stack.command("token", TENANT, "--ttl", "2h")).decode().strip()
        warehouse_url = (data_dir / "warehouse.url").read_text().strip()
        async with client_session() as session:
            ledger = Ledger(session, warehouse_url, stack.url, TENANT, token)
            sender = Sender(
                session=session,
                urls=[stack.url],
                api_key=made["api_key"],
                oracle=oracle,
                chance=chance,
                run=str(seed),
            )
            for number in range(rounds):
                victim = VICTIMS[number % len(VICTIMS)]
                kills[victim] += 1
                event_type = f"round_{number}"
                last = oracle.highest
                await _round(stack, sender, victim, event_type, chance)
                await ledger.wait_until_visible(oracle, event_type, after=last)
                if is_chatty:
                    print(  # noqa: T201 - the report of a command
                        f"round {number + 1:3} killed {victim:9} accepted {len(oracle.accepted):7}",
                        flush=True,
                    )
            stored = await ledger.read()
            total = await ledger.wait_for_stats(sum(n for _, n in stored))
        verdict = oracle.judge(stored)
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


@contextmanager
def pubsub_settings() -> Iterator[Mapping[str, str]]:
    """Run Google's emulator meanwhile, as the queue of a new project with its topics."""
    jar = find_jar()
    if jar is None:
        sys.exit(MISSING)
    with running_emulator(jar) as host:
        os.environ["PUBSUB_EMULATOR_HOST"] = host
        project = f"project-{uuid.uuid4().hex[:12]}"
        asyncio.run(ensure_topics(Names(project)))
        yield {"PUBSUB_EMULATOR_HOST": host, "SLUICE_QUEUE_URL": f"pubsub://{project}"}


def main() -> int:
    """Run the rounds that the command line asks for; exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--pubsub", action="store_true", help="Google's emulator as the queue")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    print(f"seed       {options.seed}", flush=True)  # noqa: T201
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-kill-"))
        settings = stack.enter_context(pubsub_settings()) if options.pubsub else {}
        report = asyncio.run(
            run_rounds(
                options.rounds,
                seed=options.seed,
                data_dir=Path(folder),
                is_chatty=True,
                settings=settings,
            )
        )
    print("\n".join(report.lines()))  # noqa: T201
    stored = report.verdict.accepted
    return 0 if report.verdict.holds and report.stats_total >= stored else 1


if __name__ == "__main__":
    sys.exit(main())
