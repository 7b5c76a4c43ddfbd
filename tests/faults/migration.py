"""``python -m tests.faults.migration``: from the first schema to the newest, under load.

Clients send events and ask for stats all the time; no request may fail, no total may go back, and
in the end all is counted once. Two ways:

* ``code``: the first release runs, as git has it; schema, worker and gateway are exchanged in the
  order of docs/clickhouse.md. Needs the history, which a shallow clone has not.
* ``schema``: today's gateway on a database of the first schema, as when somebody began with the
  gateway; then the schema, then a worker, which is restarted.

The embedded warehouse plays ClickHouse and runs through. Exit status 1: a promise was broken.
"""

import argparse
import asyncio
import io
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvloop
import zstandard

import sluice
from sluice.core.tokens import mint_read_token
from sluice.settings import load_settings
from sluice.warehouse.client import Warehouse
from sluice.warehouse.migrate import migrations, statements
from sluice.warehouse.queries import Query
from tests.faults.broker.trial import Outcome, Report
from tests.faults.oracle import Oracle
from tests.faults.processes import Part
from tests.faults.reader import Reader
from tests.faults.stored import Ledger
from tests.faults.traffic import Sender, client_session
from tests.support import command
from tests.support.ports import free_port
from tests.support.stack import environment

FIRST_RELEASE: Final = "41726b92d9d83e3057f0d5abe516e07398dfff69"
"""The commit with which the first release ended."""
FIRST_SCHEMA: Final = ("0001_events", "0002_rollups", "0003_errors", "0004_users")
"""Its migrations. They are never edited, so that today's files are those of then."""
NEW: Final = Path(sluice.__file__).parents[1]
"""Where today's code is."""
TENANT: Final = "migration"
EVENT_TYPE: Final = "migration"
HISTORY: Final = Query(
    "history",
    """
INSERT INTO events
    (tenant, event_id, user_id, event_type, occurred_at, received_at, source, payload)
SELECT {tenant:String}, generateUUIDv4(), concat('user-', toString(number % 997)), 'history',
    now64(9) - number % 80000, now64(6) - number % 80000, 'track', '{"total":1}'
FROM numbers({events:UInt32})
""",
)
TOUCHED: Final = Query(
    "history_touched",
    """
INSERT INTO touched_hours (tenant, hour)
SELECT DISTINCT tenant, toStartOfHour(received_at) FROM events WHERE tenant = {tenant:String}
""",
)
SETTLE_S: Final = 1.0
"""What clients may still have under way at a gateway that no new request goes to."""


def first_release(folder: Path) -> Path | None:
    """Unpack the first release into a folder; None where there is no history that has it."""
    git = shutil.which("git")
    if git is None:
        return None
    packed = subprocess.run(  # noqa: S603 - a commit of ours
        [git, "archive", FIRST_RELEASE], cwd=NEW, capture_output=True, check=False
    )
    if packed.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


class Site:
    """One data dir with a queue file, and processes of either code on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.data_dir.mkdir(mode=0o700)
        self.jwt_secret = secrets.token_hex(32)
        self._worker_port = free_port()
        self._warehouse_port = free_port()
        self._parts = 0

    @property
    def warehouse_url(self) -> str:
        """Where ClickHouse is, with user, password and database."""
        return (self.data_dir / "warehouse.url").read_text().strip()

    def variables(self, code: Path, **settings: str) -> Mapping[str, str]:
        """Return the environment of a process that runs the code of a folder."""
        given = {
            "DATA_DIR": str(self.data_dir),
            "JWT_SECRET": self.jwt_secret,
            "WAREHOUSE_PORT": str(self._warehouse_port),
            "WORKER_PORT": str(self._worker_port),
            "WORKER_URL": f"http://127.0.0.1:{self._worker_port}",
            **settings,
        }
        # Without the safe path the folder that we are in would come first.
        return environment(given) | {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}

    def part(self, name: str, code: Path, **settings: str) -> Part:
        """Return a process, which is not started."""
        self._parts += 1
        log = self.folder / f"{self._parts}-{name}.log"
        return Part(["sluice.cli", name], self.variables(code, **settings), log)

    def gateway(self, code: Path) -> tuple[Part, str]:
        """Return a gateway, which is not started, and its base address."""
        port = free_port()
        return self.part("gateway", code, PORT=str(port)), f"http://127.0.0.1:{port}"

    async def command(self, code: Path, *words: str) -> str:
        """Run a ``sluice`` command and return what it prints."""
        ran = await command.run(
            sys.executable, "-m", "sluice.cli", *words, env=self.variables(code)
        )
        assert ran.status == 0, ran
        return ran.stdout

    @asynccontextmanager
    async def warehouse(self) -> AsyncIterator[Warehouse]:
        """Connect to ClickHouse."""
        settings = load_settings(data_dir=self.data_dir, warehouse_url=self.warehouse_url)
        async with Warehouse(settings) as warehouse:
            yield warehouse


@dataclass(frozen=True, slots=True)
class Load:
    """How much is sent, and what is there before."""

    step_s: float
    """Between one change and the next."""
    rate_per_s: int
    history: int
    """Events in the database before anything begins."""
    seed: int


@dataclass(frozen=True, slots=True)
class Clients:
    """Who sends and who asks."""

    sender: Sender
    reader: Reader
    ledger: Ledger

    def use(self, url: str) -> None:
        """Send everything from now on to another gateway."""
        self.sender.urls = [url]
        self.reader.url = url


async def upgrade_code(site: Site, report: Report, load: Load, old: Path) -> None:
    """Exchange schema, worker and gateway of the first release for today's."""
    async with AsyncExitStack() as stops:
        await _started(stops, site.part("warehouse", NEW))
        await site.command(old, "setup")
        key = (await site.command(old, "tenant", "add", TENANT, "--json")).split('"')
        api_key = next(word for word in key if word.startswith("sk_"))
        await _remember(site, load)
        old_worker = await _started(stops, site.part("worker", old))
        part, url = site.gateway(old)
        old_gateway = await _started(stops, part)
        new_worker = site.part("worker", NEW)
        new_gateway, new_url = site.gateway(NEW)
        applied: list[str] = []

        async def migrate() -> None:
            applied.append(await site.command(NEW, "setup"))

        async def exchange_worker() -> None:
            old_worker.kill(signal.SIGTERM)
            await old_worker.stop()
            await _started(stops, new_worker)

        async def exchange_gateway(clients: Clients) -> None:
            await _started(stops, new_gateway)
            clients.use(new_url)
            await asyncio.sleep(SETTLE_S)
            await old_gateway.stop()

        async with _clients(site, load, url, api_key) as clients:
            steps = [migrate, exchange_worker, lambda: exchange_gateway(clients)]
            await _through(clients, load, steps)
            await _judge(clients, report, "code", load)
    report.say("code: schema", applied[0].splitlines()[-1])


async def upgrade_schema(site: Site, report: Report, load: Load) -> None:
    """Run today's gateway on the first schema, then migrate, then start and restart a worker."""
    async with AsyncExitStack() as stops:
        await _started(stops, site.part("warehouse", NEW))
        await _make_first_schema(site)
        key = (await site.command(NEW, "tenant", "add", TENANT, "--json")).split('"')
        api_key = next(word for word in key if word.startswith("sk_"))
        await _remember(site, load)
        part, url = site.gateway(NEW)
        await _started(stops, part)
        worker = site.part("worker", NEW)

        async def migrate() -> None:
            await site.command(NEW, "setup")

        async def start_worker() -> None:
            await _started(stops, worker)

        async def restart_worker() -> None:
            worker.kill(signal.SIGTERM)
            await worker.restart()

        async with _clients(site, load, url, api_key) as clients:
            await _through(clients, load, [migrate, start_worker, restart_worker])
            await _judge(clients, report, "schema", load)


async def _started(stops: AsyncExitStack, part: Part) -> Part:
    stops.push_async_callback(part.stop)
    await part.start()
    return part


async def _make_first_schema(site: Site) -> None:
    async with site.warehouse() as warehouse:
        await warehouse.command(
            "CREATE TABLE migrations (name String, applied_at DateTime('UTC') DEFAULT now())"
            " ENGINE = ReplacingMergeTree ORDER BY name"
        )
        for name, text in migrations():
            if name in FIRST_SCHEMA:
                for statement in statements(text, durable=True):
                    await warehouse.command(statement)
                row = zstandard.ZstdCompressor().compress(b'{"name":"%s"}\n' % name.encode())
                await warehouse.insert_rows("migrations", row, columns=["name"])


async def _remember(site: Site, load: Load) -> None:
    async with site.warehouse() as warehouse:
        await warehouse.run(HISTORY, tenant=TENANT, events=load.history)
        await warehouse.run(TOUCHED, tenant=TENANT)


@asynccontextmanager
async def _clients(site: Site, load: Load, url: str, api_key: str) -> AsyncIterator[Clients]:
    token = mint_read_token(TENANT, secret=site.jwt_secret, now=datetime.now(UTC), ttl_s=3600)
    async with client_session() as session:
        sender = Sender(
            session=session,
            urls=[url],
            api_key=api_key,
            oracle=Oracle(),
            chance=random.Random(load.seed),  # noqa: S311 - a seed names the run
            run=str(load.seed),
            tries=1,
        )
        reader = Reader(session, token, url)
        yield Clients(sender, reader, Ledger(session, site.warehouse_url, url, TENANT, token))


async def _through(
    clients: Clients, load: Load, steps: Sequence[Callable[[], Awaitable[None]]]
) -> None:
    """Take the steps, one after the other, while clients send and ask."""
    is_done = asyncio.Event()

    async def send() -> None:
        while not is_done.is_set():
            await clients.sender.send(EVENT_TYPE, seconds=1.0, rate_per_s=load.rate_per_s)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send())
        tasks.create_task(clients.reader.go_on(is_done))
        await asyncio.sleep(load.step_s)
        for step in steps:
            await step()
            await asyncio.sleep(load.step_s)
        is_done.set()


async def _judge(clients: Clients, report: Report, name: str, load: Load) -> None:
    sender, reader = clients.sender, clients.reader
    ledger = Ledger(
        sender.session, clients.ledger.warehouse_url, reader.url, TENANT, clients.ledger.token
    )
    await ledger.wait_until_visible(sender.oracle, EVENT_TYPE)
    stored = await ledger.read(EVENT_TYPE)
    rows = sum(count for _, count in stored)
    total = await ledger.wait_for_stats(rows + load.history)
    outcome = Outcome(sender.oracle.judge(stored), rows, total - load.history)
    answers = sender.answers
    failed = answers.failed + answers.broken
    report.say(f"{name}: sent", f"{len(answers.all)} requests, failed {failed}", is_well=not failed)
    report.say(
        f"{name}: stats",
        f"asked {reader.answers} times, failed {len(reader.failures)} {reader.failures[:2] or ''}",
        is_well=reader.answers > 0 and not reader.failures,
    )
    report.say(f"{name}: totals", outcome, is_well=outcome.holds)


async def run_parts(options: argparse.Namespace, folder: Path) -> Report:
    """Run what the command line asks for, each part on processes of its own."""
    report = Report(is_chatty=True)
    load = Load(options.seconds, options.rate, options.history, options.seed)
    for name in options.only:
        (folder / name).mkdir()
    if "code" in options.only:
        old = await asyncio.to_thread(first_release, folder / "first-release")
        if old is None:
            report.say("code", "no history here that has the first release", is_well=False)
        else:
            await upgrade_code(Site(folder / "code"), report, load, old)
    if "schema" in options.only:
        await upgrade_schema(Site(folder / "schema"), report, load)
    return report


def main() -> int:
    """Run the parts that the command line names; exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = ("code", "schema")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--seconds", type=float, default=4, help="of load between two changes")
    parser.add_argument("--rate", type=int, default=1_000, help="events a second")
    parser.add_argument("--history", type=int, default=500_000, help="events that are there before")
    parser.add_argument("--keep", action="store_true", help="data and logs, although all is well")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="sluice-migration-"))
    print(f"seed {options.seed}, data and logs in {folder}", flush=True)  # noqa: T201
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(run_parts(options, folder))
    report.say("seconds", f"{time.monotonic() - started:.0f}")
    if report.is_well and not options.keep:
        shutil.rmtree(folder)
    return 0 if report.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
