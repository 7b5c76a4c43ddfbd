"""The embedded warehouse: chDB in a process of its own behind ClickHouse's HTTP interface.

Everything else in Sluice talks to it as to any ClickHouse server, through ``clickhouse-connect``;
a person can query it with curl, Grafana or DBeaver while Sluice runs. What it keeps: an INSERT that
was answered with 200 is in the table, whatever is killed next (with tables that fsync, also across
a power cut); a heavy query never holds up an insert or one of Sluice's own reads; a reader cannot
write, nor reach anything outside the warehouse. What it leaves out: sessions, roles, replication.
"""

import asyncio
import errno
import fcntl
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

import sluice
from sluice.core.errors import ConfigError
from sluice.settings import Settings
from sluice.warehouse.server.accounts import load_passwords, write_addresses
from sluice.warehouse.server.app import Server
from sluice.warehouse.server.config import budget_of_machine
from sluice.warehouse.server.engine import DATABASE, Engine
from sluice.warehouse.server.lanes import Lanes, make_lanes
from sluice.warehouse.server.sandbox import confine

log = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
MAX_URL_BYTES: Final = 1024 * 1024
"""Room for long queries in the URL."""
READ_BUFFER_BYTES: Final = 1024 * 1024


async def serve(settings: Settings, stop: asyncio.Event, on_ready: Callable[[str], None]) -> None:
    """Open the warehouse, serve it on loopback until ``stop``, then finish what runs and close it.

    Args:
        settings: Folder, port, address file and how long stopping may take.
        stop: Set by the caller when it is time to end.
        on_ready: Called with the address, without a password, once statements are answered.

    Raises:
        ConfigError: The port is taken, or another process has the folder open.
    """
    folder = settings.warehouse_dir.absolute()
    with _locked(folder), _bound(settings.warehouse_port) as listener:
        port = listener.getsockname()[1]
        passwords = load_passwords(settings.warehouse_url_file)
        write_addresses(settings.warehouse_url_file, passwords, port=port, database=DATABASE)
        _confine(folder)  # from here on no other file can be opened
        budget = budget_of_machine()
        engine = await asyncio.to_thread(Engine, folder)
        lanes = make_lanes(threads=budget.threads, person_bytes=budget.server_bytes // 4)
        server = Server(engine, lanes, passwords.accounts())
        runner = web.ServerRunner(
            web.Server(
                server.handle,
                handler_cancellation=True,
                auto_decompress=False,
                max_line_size=MAX_URL_BYTES,
                read_bufsize=READ_BUFFER_BYTES,
                access_log=None,
            ),
            shutdown_timeout=settings.stop_timeout_s / 6,  # aiohttp waits this long twice
        )
        try:
            await runner.setup()
            await web.SockSite(runner, listener).start()
            on_ready(f"http://{HOST}:{port}/{DATABASE}")
            await stop.wait()
        finally:
            await runner.cleanup()
            await asyncio.to_thread(_close, engine, lanes)


def _close(engine: Engine, lanes: Lanes) -> None:
    lanes.close()
    engine.close()


def _confine(folder: Path) -> None:
    scratch = folder / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    os.environ["TMPDIR"] = str(scratch)  # where the engine puts what it needs for moments
    if not confine(folder, also_read=[Path(sluice.__file__).parent]):
        log.warning("This system cannot lock the warehouse into its folder")


@contextmanager
def _bound(port: int) -> Iterator[socket.socket]:
    """Hold the port; nobody can connect before the server listens."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "is taken" if error.errno == errno.EADDRINUSE else "may not be used"
            message = (
                f"Port {port} on {HOST} {why}: free it, or set SLUICE_WAREHOUSE_PORT to another."
            )
            raise ConfigError(message) from error
        yield listener


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the kernel lets go even after ``kill -9``."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "server.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = (
                f"The warehouse in {folder} is open in another process: "
                "stop that one, or set SLUICE_DATA_DIR to another folder."
            )
            raise ConfigError(message) from error
        yield
