"""``sluice gateway --processes``: several gateways on one port, as a person runs them."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.siblings import GATHER_S
from sluice.queue import open_queue
from sluice.settings import load_settings
from sluice.tenants import TenantsFile
from tests.support.gateway import EVENT, TRACK
from tests.support.poll import poll_until
from tests.support.ports import free_port
from tests.support.prometheus import complaints
from tests.support.stack import environment
from tests.support.telemetry import sum_of

WITHIN_S = 90
EVENTS = 60


@contextmanager
def running_gateways(
    data_dir: Path, *options: str, program: Sequence[str] = ("-m", "sluice.cli", "gateway")
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command until the block ends; yield it and the address that it said."""
    data_dir.mkdir(exist_ok=True)
    settings = {"DATA_DIR": str(data_dir), "PORT": "0", "LOG_FORMAT": "json"}
    with (data_dir / "log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, *program, *options],
            env=environment(settings), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=log, text=True, start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        word, _, url = process.stdout.readline().strip().partition(" ")
        assert word == "ready", (data_dir / "log").read_text()
        yield process, url
    finally:
        process.terminate()
        process.wait(WITHIN_S)
        process.stdout.close()


def children_of(pid: int) -> set[int]:
    """Return the processes that a process has started."""
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


async def post(url: str, api_key: str) -> int:
    """Send one event on a connection of its own; return the status, 0 where it was refused."""
    headers = {"Authorization": f"ApiKey {api_key}", "Content-Type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(url + TRACK, data=EVENT) as answer,
        ):
            return answer.status
    except aiohttp.ClientError:
        return 0


async def test_gateways_share_a_port_and_one_that_dies_is_replaced(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    api_key = TenantsFile(settings.tenants_path).add_tenant("acme")
    with running_gateways(tmp_path, "--processes", "3") as (process, url):
        first = children_of(process.pid)
        assert len(first) == 3
        assert [await post(url, api_key) for _ in range(EVENTS)] == [202] * EVENTS
        victim = min(first)
        os.kill(victim, signal.SIGKILL)

        async def is_replaced() -> bool:
            now = children_of(process.pid)
            return len(now) == 3 and victim not in now

        await poll_until(is_replaced, within_s=WITHIN_S, what="another gateway runs")
        assert 202 in [await post(url, api_key) for _ in range(EVENTS)]
    assert process.returncode == 0
    async with open_queue(settings) as queue:
        assert (await queue.backlog("warehouse")).events >= EVENTS


HANGS_SOON = (
    "from sluice.cli.gateways import run_gateways; from sluice.settings import load_settings;"
    "run_gateways(load_settings(), 2, hung_after_s=5)"
)


@pytest.mark.long(40)
async def test_gateway_that_hangs_is_replaced_and_what_it_accepted_is_kept(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    api_key = TenantsFile(settings.tenants_path).add_tenant("acme")
    with running_gateways(tmp_path, program=("-c", HANGS_SOON)) as (process, url):
        before = children_of(process.pid)
        statuses = [await post(url, api_key) for _ in range(EVENTS)]
        async with asyncio.TaskGroup() as tasks:
            sent = [tasks.create_task(post(url, api_key)) for _ in range(EVENTS)]
            hung = max(before)
            os.kill(hung, signal.SIGSTOP)
            # It is given connections until it is killed; nobody who waits there is told 202.

            async def is_replaced() -> bool:
                now = children_of(process.pid)
                return len(now) == 2 and hung not in now

            await poll_until(is_replaced, within_s=WITHIN_S, what="another gateway runs")
        statuses += [task.result() for task in sent]

        async def speaks_for_all() -> bool:
            return sorted(processes_in(await scrape(url))) == ["0", "1"]

        await poll_until(speaks_for_all, within_s=WITHIN_S, what="all answer")
        statuses += [await post(url, api_key) for _ in range(EVENTS)]
        assert before - children_of(process.pid) == {hung}
        log = (tmp_path / "log").read_text()
        assert "gave no sign of life for 5 s" in log
        assert "died (signal 9) because it hung; starting again in" in log
    assert set(statuses) <= {202, 0}
    assert statuses[:EVENTS] == statuses[-EVENTS:] == [202] * EVENTS
    async with open_queue(settings) as queue:
        assert (await queue.backlog("warehouse")).events >= statuses.count(202)


async def scrape(url: str) -> str:
    """Return what one of the gateways says, on a connection of its own; nothing if it hangs."""
    timeout = aiohttp.ClientTimeout(total=GATHER_S + 2)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url + "/metrics") as answer,
        ):
            return await answer.text()
    except TimeoutError:
        return ""


def processes_in(metrics: str) -> dict[str, float]:
    """Return the processes that a scrape speaks for, with the events that each took."""
    return {
        name: sum_of(metrics, "sluice_events_accepted_total", process=name)
        for name in re.findall(r'sluice_build_info{process="(\d+)"', metrics)
    }


async def test_scrape_of_any_gateway_answers_for_all_that_answer(tmp_path: Path) -> None:
    api_key = TenantsFile(load_settings(data_dir=tmp_path).tenants_path).add_tenant("acme")
    with running_gateways(tmp_path, "--processes", "3") as (process, url):
        assert [await post(url, api_key) for _ in range(EVENTS)] == [202] * EVENTS
        metrics = await scrape(url)
        taken = processes_in(metrics)
        assert sorted(taken) == ["0", "1", "2"]
        assert sum(taken.values()) == EVENTS
        assert sum_of(metrics, "sluice_process_left_out_total") == 0
        assert metrics.count("# TYPE sluice_events_accepted_total counter\n") == 1
        assert complaints(metrics) == []

        hung = max(children_of(process.pid))
        os.kill(hung, signal.SIGSTOP)
        try:
            # The system goes on giving it connections, so some scrapes have no answer at all.
            async def goes_without_it() -> str:
                text = await scrape(url)
                return text if len(processes_in(text)) == 2 else ""

            rest = await poll_until(goes_without_it, within_s=WITHIN_S, what="it is left out")
            assert sum_of(rest, "sluice_process_left_out_total") >= 1
            assert complaints(rest) == []
        finally:
            os.kill(hung, signal.SIGCONT)

        async def speaks_for_all() -> bool:
            return processes_in(await scrape(url)) == taken

        await poll_until(speaks_for_all, within_s=WITHIN_S, what="it is back")


async def test_gateway_takes_over_a_port_that_is_shared(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    api_key = TenantsFile(settings.tenants_path).add_tenant("acme")
    port = str(free_port())
    with (
        running_gateways(tmp_path, "--reuse-port", "--port", port) as (old, url),
        running_gateways(tmp_path, "--reuse-port", "--port", port),
    ):
        old.terminate()
        assert old.wait(WITHIN_S) == 0
        assert [await post(url, api_key) for _ in range(10)] == [202] * 10


def test_port_that_is_taken_stops_the_start_with_one_line(tmp_path: Path) -> None:
    with running_gateways(tmp_path / "one") as (_, url):
        port = url.rpartition(":")[2]
        result = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "sluice.cli", "gateway", "--processes", "2", "--port", port],
            env=environment({"DATA_DIR": str(tmp_path / "two")}), capture_output=True, text=True,
            timeout=WITHIN_S, check=False,
        )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert port in result.stderr
