"""``python -m tests.simulators.amplitude``: serve until stopped."""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from tests.simulators.amplitude.app import build_apps
from tests.simulators.amplitude.rest_app import build_storage
from tests.simulators.amplitude.service import Service

BACKLOG = 1024


async def serve(given: argparse.Namespace) -> None:
    """Serve until a signal comes, or the end of stdin where that was asked for."""
    service = Service()
    service.pattern.options.secret_key = given.secret_key
    service.pattern.options.latency_ms = given.latency_ms
    service.is_any_key_known = given.any_key
    for api_key in given.api_key:
        service.add(api_key)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    storage = build_storage()
    app, files = build_apps(service, storage)
    async with (
        running(files, given.host, given.storage_port) as storage.url,
        running(app, given.host, given.port) as url,
    ):
        print(f"ready {url}", flush=True)  # noqa: T201 - the parent waits for it
        if given.until_eof:
            await _stop_at_eof(stop)
        await stop.wait()


@asynccontextmanager
async def running(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Serve an application and yield its address."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def _stop_at_eof(stop: asyncio.Event) -> None:
    """Set the event once stdin is closed."""
    loop = asyncio.get_running_loop()

    class Until(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            stop.set()

    await loop.connect_read_pipe(Until, sys.stdin)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulators.amplitude", description=__doc__
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--storage-port", type=int, default=0, help="where signed links lead")
    parser.add_argument(
        "--api-key", action="append", default=[], help="a known key; again for more"
    )
    parser.add_argument("--any-key", action="store_true", help="every key is known")
    parser.add_argument("--secret-key", default="secret", help="of every project (Basic)")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="from arrival to answer")
    parser.add_argument("--until-eof", action="store_true", help="stop when stdin closes")
    given = parser.parse_args(arguments)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(given))
    else:
        uvloop.run(serve(given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
