"""``sluice run``: warehouse, worker and gateway in one go, on embedded defaults."""

import asyncio
import http.client
import logging
import os
import sys
from typing import Annotated, Final

import typer

from sluice.cli.options import DataDir, Host, Port
from sluice.cli.ports import LOOPBACK, Ports, choose_ports, moved_lines
from sluice.cli.run_lock import RunNote, hold, refuse_if_held
from sluice.cli.simulated import Simulated, forget_simulated, let_forward
from sluice.cli.supervisor import Part, PartRefusedError, Report, Supervisor
from sluice.cli.welcome import (
    DEMO,
    base_url,
    data_dir_option,
    first_key_lines,
    this_command,
    warehouse_lines,
    welcome_lines,
)
from sluice.core.errors import SluiceError
from sluice.credentials import jwt_secret
from sluice.lifecycle import first_cause, on_signals
from sluice.logs import configure_logging, is_text
from sluice.private_files import ensure_private_dir
from sluice.settings import Settings, load_settings
from sluice.tenants import TenantsFile

_log = logging.getLogger(__name__)
START_TIMEOUT_S: Final = 120.0
PROBE_TIMEOUT_S: Final = 2.0
PROBE_EVERY_S: Final = 0.05
CONFIG_STATUS: Final = 2
STEP_S: Final = 3.2
"""For each of three parts, so that all have ended within 10 s."""
PART_STOP_TIMEOUT_S: Final = 2.5
"""What a part is told to keep, so that it ends by itself before it is killed."""

app = typer.Typer()


@app.command()
def run(
    *,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    is_simulated: Annotated[
        bool,
        typer.Option(
            "--simulate-amplitude", help="Run an Amplitude of your own; nothing goes to the real."
        ),
    ] = False,
) -> None:
    """Start everything: the embedded warehouse, the worker and the gateway.

    The first start makes the tenant `demo` and prints its API key and lines to paste. One line
    `ready` on stdout says that it serves. Ctrl-C or SIGTERM stops it within 10 seconds.

    Example: `sluice run --port 9000 --data-dir /var/lib/sluice`
    """
    settings = load_settings(host=host, port=port, data_dir=data_dir)
    refuse_if_held(settings.data_dir)
    simulated = Simulated.of(settings) if is_simulated else None
    report = reporter(settings)
    ports = choose_ports(settings)  # before anything is made: a refused start leaves nothing
    ensure_private_dir(settings.data_dir)
    with hold(settings.data_dir) as lock:
        lock.write(
            RunNote(
                os.getpid(),
                base_url(settings.host, ports.gateway),
                base_url(LOOPBACK, ports.worker),
            )
        )
        for line in moved_lines(settings, ports):
            report(line)
        key = _first_start(settings)
        tenants = TenantsFile(settings.tenants_path)
        for line in let_forward(tenants) if simulated else forget_simulated(tenants):
            report(line)
        try:
            asyncio.run(_supervise(settings, ports, key, simulated, report))
        except BaseExceptionGroup as group:
            cause = first_cause(group)
            if isinstance(cause, PartRefusedError):
                raise typer.Exit(CONFIG_STATUS) from group
            raise cause from group


def _first_start(settings: Settings) -> str | None:
    """Make what a first start needs; return the API key of the first tenant if it was made now."""
    if not settings.jwks_url:
        jwt_secret(settings)
    tenants = TenantsFile(settings.tenants_path)
    if tenants.directory.by_slug or settings.tenants_path.exists():
        return None
    key = tenants.add_tenant(DEMO)
    print(first_key_lines(key), flush=True)
    return key


def _has_own_warehouse(settings: Settings) -> bool:
    return not settings.warehouse_url.get_secret_value()


async def _supervise(
    settings: Settings, ports: Ports, key: str | None, simulated: Simulated | None, report: Report
) -> None:
    stop = asyncio.Event()
    on_signals(stop.set)
    names = ["gateway", "worker"]
    if _has_own_warehouse(settings):
        names.append("warehouse")
    environment = _environment(settings, ports)
    if simulated:
        environment |= simulated.environment(settings)
    steps = [[Part([name], environment, report)] for name in names]
    if simulated:
        steps[-1].append(simulated.part(report))
    supervisor = Supervisor(steps, step_s=STEP_S)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run(stop), name="supervisor")
        is_ready = await _wait_until_serving(supervisor, settings, ports, stop)
        if is_ready:
            url = base_url(settings.host, ports.gateway)
            worker = base_url(LOOPBACK, ports.worker)
            option = data_dir_option(settings.data_dir)
            print(welcome_lines(url, worker, this_command(), option, key))
            if _has_own_warehouse(settings):
                warehouse = base_url(LOOPBACK, ports.warehouse)
                print(warehouse_lines(warehouse, settings.warehouse_reader_url_file))
            if simulated:
                print(simulated.lines)
            print("ready", flush=True)
        elif not stop.is_set():
            stop.set()
            missing = ", ".join(supervisor.waiting_for) or "a part"
            message = f"{missing} did not get ready within {START_TIMEOUT_S:g} s."
            raise SluiceError(message)


def _environment(settings: Settings, ports: Ports) -> dict[str, str]:
    given = {
        "SLUICE_DATA_DIR": str(settings.data_dir),
        "SLUICE_HOST": settings.host,
        "SLUICE_PORT": str(ports.gateway),
        "SLUICE_WORKER_PORT": str(ports.worker),
        "SLUICE_WAREHOUSE_PORT": str(ports.warehouse),
        "SLUICE_STOP_TIMEOUT_S": f"{PART_STOP_TIMEOUT_S:g}",
    }
    if "worker_url" not in settings.given:
        given["SLUICE_WORKER_URL"] = base_url(LOOPBACK, ports.worker)
    return given


async def _wait_until_serving(
    supervisor: Supervisor, settings: Settings, ports: Ports, stop: asyncio.Event
) -> bool:
    """Return True when every part serves; False when asked to stop or out of time."""
    host = base_url(settings.host, ports.gateway).removeprefix("http://").rpartition(":")[0]
    probes = [(host.strip("[]"), ports.gateway, "/readyz")]
    if _has_own_warehouse(settings):
        # The worker makes the tables at its first start; only then can anything be read.
        probes += [(LOOPBACK, ports.warehouse, "/ping"), (LOOPBACK, ports.worker, "/readyz")]
    else:
        probes.append((LOOPBACK, ports.worker, "/livez"))

    async def serving() -> None:
        await supervisor.wait_until_ready()
        for probe in probes:
            while True:
                if await asyncio.to_thread(_answers, *probe):
                    break
                await asyncio.sleep(PROBE_EVERY_S)

    try:
        async with asyncio.timeout(START_TIMEOUT_S), asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(serving())
            stopping = tasks.create_task(stop.wait())
            await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            stopping.cancel()
    except TimeoutError:
        return False
    return not waiting.cancelled()


def _answers(host: str, port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reporter(settings: Settings) -> Report:
    """Return what tells the operator, on stderr: as a log where logs are lines of JSON."""
    configure_logging(settings)
    if not is_text(settings):
        return _log.warning
    return lambda line: print(f"sluice: {line}", file=sys.stderr, flush=True)
