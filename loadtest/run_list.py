"""``python -m loadtest.run_list``: how long a list of many runs takes, and is it complete?

``sluice run`` with a tenant that has so many finished runs, each of five transitions that came in
different inserts. Every filter is asked for in turn, at the rate that a tenant has, with a read
beside it that has next to nothing to look for. Then all pages are walked through while new runs
arrive: by the API, and in the warehouse. Exit status 1: a page was wrong, or p99 beyond the goal.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from loadtest.bench import warehouse_url
from loadtest.latencies import quantile
from loadtest.processes import children, command, free_port, running
from loadtest.report import measured_on, say, table

GOAL_MS: Final = 100.0
RUNS: Final = "/api/workflow/runs"
TENANT: Final = "lists"
EVERY_S: Final = 0.11
"""A tenant may ask ten times a second."""
STATES: Final = ("scheduled", "started", "in progress", "in progress")
LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
SPACING_S: Final = 60
ROWS_AN_INSERT: Final = 2_000
FILTERS: Final = (
    "",
    "with_total=true",
    "state=failed&with_total=true",
    "state=started&with_total=true",
    "state=running+with+failures&with_total=true",
    "type=ERASE&with_total=true",
    "created_from=2026-01-20&created_to=2026-02&with_total=true",
    "ended_from=2026-01-20&ended_to=2026-02&with_total=true",
    "state=failed,canceled&type=erase&created_from=2026-01-20&ended_to=2026-02&with_total=true",
    "limit=500",
    "limit=500&state=succeeded&with_total=true",
)
CPU: Final = ("processor", "nothing")
"""Of gateway and warehouse for each request: says something also on a busy machine."""
NOTHING: Final = "created_from=2199"
"""What is asked for beside them."""


class Lists:
    """The gateway and the warehouse of a run."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, token: str, warehouse: str
    ) -> None:
        self._session = session
        self._url = url + RUNS
        self._headers = {"Authorization": f"Bearer {token}"}
        parts = urlsplit(warehouse)
        self._warehouse = f"http://{parts.hostname}:{parts.port}/"
        self._database = parts.path.strip("/")
        self._login = {
            "Authorization": aiohttp.encode_basic_auth(parts.username or "", parts.password or "")
        }
        self._next_at = 0.0

    async def turn(self) -> None:
        """Wait until another request is within the rate."""
        at = max(self._next_at, time.monotonic())
        self._next_at = at + EVERY_S
        await asyncio.sleep(max(0.0, at - time.monotonic()))

    async def get(self, query: str) -> tuple[float, Any]:
        """Return milliseconds and the page."""
        await self.turn()
        started = time.perf_counter()
        async with self._session.get(f"{self._url}?{query}", headers=self._headers) as answer:
            body = await answer.read()
            elapsed = time.perf_counter() - started
            assert answer.status == 200, (answer.status, body)
        return elapsed * 1000, orjson.loads(body)

    async def start(self) -> str:
        """Start a run and return its id."""
        await self.turn()
        body = {"config_id": "og-data-request", "inputs": {"user_id": "u-1"}}
        async with self._session.post(
            self._url, data=orjson.dumps(body), headers=self._headers
        ) as answer:
            found = orjson.loads(await answer.read())
        return str(found.get("id", ""))

    async def insert(self, rows: Sequence[dict[str, Any]]) -> None:
        """Put rows into the warehouse."""
        async with self._session.post(
            self._warehouse,
            params={
                "database": self._database,
                "query": "INSERT INTO workflow_runs FORMAT JSONEachRow",
            },
            data=b"\n".join(map(orjson.dumps, rows)),
            headers=self._login,
        ) as answer:
            assert answer.status == 200, await answer.text()

    async def select(self, sql: str) -> list[list[str]]:
        """Return rows of texts."""
        async with self._session.post(
            self._warehouse,
            params={"database": self._database, "default_format": "TSV"},
            data=sql.encode(),
            headers=self._login,
        ) as answer:
            text = await answer.text()
            assert answer.status == 200, text
        return [line.split("\t") for line in text.splitlines()]


def transitions(at: datetime, chance: random.Random) -> list[dict[str, Any]]:
    """Return the rows of a run that began at a time and ended."""
    second = at.hour * 3600 + at.minute * 60 + at.second
    letters = "".join(chance.choices(LETTERS, k=5))
    config_id, run_type = chance.choice(
        (("og-cohort", "amplitude.export-cohort"), ("cg-replay", "replay"), ("og-erase", "erase"))
    )
    end = chance.choices(("succeeded", "failed", "canceled"), (90, 8, 2))[0]
    row = {
        "tenant": TENANT,
        "run_id": f"wf-{at:%Y%m%d}-{second:05d}-{letters}",
        "config_id": config_id,
        "type": run_type,
        "name": run_type,
        "workflow_id": run_type,
        "source": "api",
        "created_at": _text(at),
        "principal_id": "auth0|1",
        "principal_name": "Ann",
        "principal_email": "ann@example.org",
        "launched_version": "etv-20260101-00000-6AbCDE",
        "inputs": '{"cohortId":"c-1"}',
        "epoch": 1,
    }
    rows = [
        {**row, "state": state, "seq": seq, "program": "p" * 500}
        for seq, state in enumerate(STATES)
    ]
    ended = _text(at + timedelta(seconds=chance.uniform(1, 300)))
    failed = {
        "error_attribution": "platform",
        "error_type": "sluice.workflow.step/http",
        "error_message": "requestExport was answered 503 for too long.",
    }
    over = {"state": end, "seq": len(STATES), "ended_at": ended, "outputs": '{"rows":1}'}
    return [*rows, {**row, **over, **(failed if end == "failed" else {})}]


def _text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds")


async def fill(lists: Lists, count: int, chance: random.Random) -> None:
    """Put finished runs into the warehouse, the transitions of each in inserts of their own."""
    for chunk in _chunks(count):
        made = [
            transitions(START + timedelta(seconds=SPACING_S * n + chance.random()), chance)
            for n in chunk
        ]
        for rows in zip(*made, strict=True):
            await lists.insert(rows)


def _chunks(count: int) -> Iterator[range]:
    for start in range(0, count, ROWS_AN_INSERT):
        yield range(start, min(start + ROWS_AN_INSERT, count))


def processor_ms(pids: Sequence[int]) -> float:
    """Return the processor time that processes have had."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


async def time_filters(
    lists: Lists, each: int, pids: Sequence[int]
) -> tuple[list[list[str]], bool]:
    """Return a line for each filter, and whether all are within the goal."""
    lines = []
    is_good = True
    for query in FILTERS:
        took: list[float] = []
        beside: list[float] = []
        spent = [0.0, 0.0]
        for _ in range(each):
            for at, (asked, times) in enumerate(((query, took), (NOTHING, beside))):
                before = processor_ms(pids)
                times.append((await lists.get(asked))[0])
                spent[at] += (processor_ms(pids) - before) / each
        took.sort()
        beside.sort()
        p99 = quantile(took, 0.99)
        is_good = is_good and p99 < GOAL_MS
        lines.append(
            [
                f"`{query}`" if query else "none",
                f"{quantile(took, 0.5):.0f} ms",
                f"{p99:.0f} ms",
                f"{quantile(beside, 0.5):.0f} ms",
                f"{quantile(beside, 0.99):.0f} ms",
                f"{quantile(took, 0.5) / quantile(beside, 0.5):.1f}",
                f"{spent[0]:.0f} ms",
                f"{spent[1]:.0f} ms",
            ]
        )
    return lines, is_good


@asynccontextmanager
async def arriving(lists: Lists, chance: random.Random) -> AsyncIterator[list[str]]:
    """Let runs arrive while the block runs; the ids of those that the API started."""
    stop = asyncio.Event()
    started: list[str] = []

    async def arrive() -> None:
        while not stop.is_set():
            await lists.insert(transitions(datetime.now(UTC), chance))
            run_id = await lists.start()
            if run_id:
                started.append(run_id)
            await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(arrive())
        try:
            yield started
        finally:
            stop.set()


async def walk(lists: Lists, chance: random.Random) -> str:
    """Walk through all pages while runs arrive; return what is wrong, or nothing."""
    before = {row[0] for row in await lists.select("SELECT DISTINCT run_id FROM workflow_runs")}
    seen: list[str] = []
    took: list[float] = []
    token = ""
    async with arriving(lists, chance) as started:
        while True:
            query = f"limit=500&next_token={token}" if token else "limit=500"
            elapsed, page = await lists.get(query)
            took.append(elapsed)
            seen += [run["id"] for run in page["data"]]
            token = page["next_token"]
            if not token:
                break
        known = set(started)
        shown = {run["id"] for run in (await lists.get("limit=500"))[1]["data"]}
    took.sort()
    say(
        f"{len(seen):,} runs on {len(took)} pages, p50 {quantile(took, 0.5):.0f} ms, p99"
        f" {quantile(took, 0.99):.0f} ms; {len(started)} runs were started meanwhile"
    )
    if len(seen) != len(set(seen)):
        return "a run was shown twice"
    if before - set(seen):
        return f"{len(before - set(seen))} runs were not shown"
    if known - shown:
        return "a run that was started meanwhile is not on the first page"
    return ""


async def measure(
    url: str, token: str, warehouse: str, options: argparse.Namespace, pids: Sequence[int]
) -> int:
    """Fill, time, walk; print; return the exit status."""
    chance = random.Random(7)
    async with aiohttp.ClientSession() as session:
        lists = Lists(session, url, token, warehouse)
        say(f"writing {options.runs:,} runs of {len(STATES) + 1} transitions")
        await fill(lists, options.runs, chance)
        lines, is_good = await time_filters(lists, options.each, pids)
        [[rows]] = await lists.select("SELECT count() FROM workflow_runs")
        problem = await walk(lists, chance)
    print(measured_on())
    print(f"{options.runs:,} runs, {int(rows):,} rows not merged yet:\n")
    print(table(("filter", "p50", "p99", "nothing p50", "nothing p99", "ratio", *CPU), lines))
    print(problem or "All pages together had every run once, while others arrived.")
    return int(bool(problem) or not is_good)


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000, help="finished runs")
    parser.add_argument("--each", type=int, default=40, help="requests for each filter")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-lists-") as name:
        folder = Path(name)
        port = free_port()
        env = {
            "SLUICE_DATA_DIR": str(folder / "data"),
            "SLUICE_PORT": str(port),
            "SLUICE_WORKER_PORT": str(free_port()),
            "SLUICE_WAREHOUSE_PORT": str(free_port()),
        }
        with running(["sluice.cli", "run"], env=env, log=folder / "run.log") as process:
            parts = children(process.pid)
            pids = [parts["gateway"], parts["warehouse"]]
            command(["tenant", "add", TENANT, "--json"], env)
            token = command(["token", TENANT, "--ttl", "2h"], env).decode().strip()
            url = f"http://127.0.0.1:{port}"
            warehouse = warehouse_url(folder / "data")
            return asyncio.run(measure(url, token, warehouse, options, pids))


if __name__ == "__main__":
    sys.exit(main())
