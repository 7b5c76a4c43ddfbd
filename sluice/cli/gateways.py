"""``sluice gateway --processes N``: several gateways on one port, kept alive and stopped together.

Each listens on the port for itself (``SO_REUSEPORT``): the system spreads new connections over all,
and one that ends or dies takes only its own connections with it. One that hangs would go on being
given its share: it is killed after ``HUNG_AFTER_S`` and started again. They meet in a private
folder to answer for each other's metrics (``gateway.siblings``).
"""

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sluice.cli.ports import listen_error
from sluice.cli.run import CONFIG_STATUS, reporter
from sluice.cli.supervisor import Part, PartRefusedError, Supervisor
from sluice.core.errors import SluiceError
from sluice.lifecycle import CANCEL_GRACE_S, first_cause, on_signals
from sluice.settings import Settings

START_TIMEOUT_S: Final = 60.0
HUNG_AFTER_S: Final = 30.0
"""A gateway whose event loop says nothing for so long is killed. What it answered with 202 is
durable; a client of what it has not answered sends that again."""
KILL_GRACE_S: Final = 0.5
"""A gateway ends itself after its time to stop; this much later it is killed."""


def run_gateways(settings: Settings, processes: int, *, hung_after_s: float = HUNG_AFTER_S) -> int:
    """Run so many gateways until a signal; return the exit status.

    Raises:
        ConfigError: The address cannot be listened on.
        SluiceError: A gateway did not get ready.
    """
    with _reserved(settings) as port, _meeting_place(settings) as folder:
        try:
            asyncio.run(_supervise(settings, port, processes, folder, hung_after_s))
        except BaseExceptionGroup as group:
            cause = first_cause(group)
            if isinstance(cause, PartRefusedError):
                return CONFIG_STATUS  # it has said why
            raise cause from group
    return 0


@contextmanager
def _reserved(settings: Settings) -> Iterator[int]:
    """Hold the port without listening, so that it is ours while gateways come and go."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family) as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(address)
            yield int(holder.getsockname()[1])
    except OSError as error:
        raise listen_error(error, "SLUICE_PORT", settings.host, settings.port) from error


@contextmanager
def _meeting_place(settings: Settings) -> Iterator[Path]:
    """Make a folder that only this user may enter, with a path short enough for a socket's."""
    try:
        made = tempfile.TemporaryDirectory(prefix="sluice-", ignore_cleanup_errors=True)
    except FileNotFoundError:  # a read-only root without a place for temporary files
        made = tempfile.TemporaryDirectory(
            prefix="gateways-", dir=settings.data_dir, ignore_cleanup_errors=True
        )
    with made as folder:
        yield Path(folder)


async def _supervise(
    settings: Settings, port: int, processes: int, folder: Path, hung_after_s: float
) -> None:
    stop = asyncio.Event()
    on_signals(stop.set)
    report = reporter(settings)
    environment = {
        "SLUICE_DATA_DIR": str(settings.data_dir),
        "SLUICE_HOST": settings.host,
        "SLUICE_PORT": str(port),
    }
    parts = [
        Part(
            ["gateway", "--reuse-port", "--among", f"{number}/{processes}:{folder}"],
            environment,
            report,
            name=f"gateway {number}",
            hung_after_s=hung_after_s,
        )
        for number in range(processes)
    ]
    step_s = settings.stop_delay_s + settings.stop_timeout_s + CANCEL_GRACE_S + KILL_GRACE_S
    supervisor = Supervisor([parts], step_s=step_s)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run(stop), name="supervisor")
        waiting = tasks.create_task(supervisor.wait_until_ready(), name="ready")
        stopping = tasks.create_task(stop.wait(), name="stopping")
        await asyncio.wait(
            (waiting, stopping), return_when=asyncio.FIRST_COMPLETED, timeout=START_TIMEOUT_S
        )
        if waiting.done():
            print("ready", parts[0].address, flush=True)
        elif not stop.is_set():
            late = ", ".join(supervisor.waiting_for)
            stop.set()
            message = f"{late} did not get ready within {START_TIMEOUT_S:g} s."
            raise SluiceError(message)
        waiting.cancel()
