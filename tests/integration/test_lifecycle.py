"""A process from signal to end, in bounded time."""

import asyncio
import signal
import sys
import time

import pytest

from tests.support.stack import environment

PROGRAM = """
import asyncio, sys
from sluice.core.errors import ConfigError, SluiceError
from sluice.lifecycle import run_service

async def obedient(stop):
    print("ready", flush=True)
    await stop.wait()
    print("finished", flush=True)

async def stubborn(stop):
    print("ready", flush=True)
    await asyncio.Event().wait()

async def hung(stop):
    print("ready", flush=True)
    await stop.wait()
    import time
    time.sleep(60)

async def broken(stop):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(obedient(stop))
        async with asyncio.TaskGroup() as inner:
            raise ConfigError("a file is wrong")

try:
    run_service(globals()[sys.argv[1]], stop_timeout_s=0.2, is_supervised=sys.argv[2] == "yes")
except SluiceError as error:
    print(type(error).__name__, error, flush=True)
"""


async def start(serve: str, *, is_supervised: bool = False) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, serve, "yes" if is_supervised else "no",
        env=environment({}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def read(process: asyncio.subprocess.Process) -> list[str]:
    async with asyncio.timeout(30):
        assert process.stdout is not None
        text = await process.stdout.read()
        await process.wait()
        return text.decode().splitlines()


async def wait_until_ready(process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(30):
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_service_finishes_what_it_holds_when_it_is_asked_to_stop(
    number: signal.Signals,
) -> None:
    process = await start("obedient")
    await wait_until_ready(process)
    process.send_signal(number)
    assert await read(process) == ["finished"]
    assert process.returncode == 0


async def test_service_is_cancelled_when_it_does_not_stop_in_time() -> None:
    process = await start("stubborn")
    await wait_until_ready(process)
    asked = time.monotonic()
    process.terminate()
    [line] = await read(process)
    assert line.startswith("StopTimeoutError did not stop within 0.2 s")
    assert time.monotonic() - asked < 5


@pytest.mark.parametrize("serve", ["obedient", "hung"])
async def test_supervised_service_ends_soon_when_its_supervisor_is_gone(serve: str) -> None:
    process = await start(serve, is_supervised=True)
    await wait_until_ready(process)
    gone = time.monotonic()
    assert process.stdin is not None
    process.stdin.close()
    lines = await read(process)
    assert lines == (["finished"] if serve == "obedient" else [])
    assert time.monotonic() - gone < 3


async def test_service_reports_its_own_error_out_of_a_group() -> None:
    assert (await read(await start("broken")))[-1] == "ConfigError a file is wrong"
