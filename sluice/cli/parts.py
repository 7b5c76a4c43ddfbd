"""``sluice gateway``, ``sluice worker``, ``sluice warehouse``: the parts, one process each."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated

import typer

from sluice.cli.gateways import run_gateways
from sluice.cli.options import DataDir, Host, Port
from sluice.cli.ports import LISTEN_ERRORS, listen_error
from sluice.core.errors import ConfigError
from sluice.lifecycle import run_service
from sluice.logs import configure_logging
from sluice.settings import Settings, load_settings

OnReady = Callable[[str], None]
ServePart = Callable[[Settings, asyncio.Event, OnReady], Awaitable[None]]

app = typer.Typer()

Supervised = Annotated[bool, typer.Option("--supervised", hidden=True)]


@app.command()
def gateway(
    *,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, max=64, help="How many, all on one port.")
    ] = 1,
    reuse_port: Annotated[
        bool, typer.Option("--reuse-port", help="Share the port with gateways started so too.")
    ] = False,
    among: Annotated[str, typer.Option("--among", hidden=True)] = "",
    supervised: Supervised = False,
) -> None:
    """Run the HTTP edge: takes events, queues them durably, answers reads.

    With --processes N one that dies or hangs is started again, and /metrics of any of them answers
    for all. With --reuse-port a new gateway may take over
    from an old one on the same port.

    Example: `sluice gateway --host 0.0.0.0 --port 8080 --processes 4`
    """
    settings = load_settings(host=host, port=port, data_dir=data_dir)
    if processes > 1:
        raise typer.Exit(run_gateways(settings, processes))
    from gateway.app import serve  # here, because it is heavy and not needed to refuse a setting
    from gateway.siblings import Place

    _run(
        partial(serve, reuse_port=reuse_port, place=Place.of(among) if among else None),
        settings,
        "SLUICE_PORT",
        settings.port,
        stop_delay_s=settings.stop_delay_s,
        is_supervised=supervised,
    )


@app.command()
def worker(
    *,
    only: Annotated[
        str, typer.Option("--only", help="Destinations to feed, with commas.", show_default="all")
    ] = "",
    data_dir: DataDir = None,
    supervised: Supervised = False,
) -> None:
    """Run the consumers: take events from the queue and store them in the warehouse.

    Example: `sluice worker --only warehouse`
    """
    settings = load_settings(data_dir=data_dir)
    from worker.app import serve  # as above
    from worker.destinations import NAMES

    names = chosen_names(only, NAMES)
    _run(
        partial(serve, only=names),
        settings,
        "SLUICE_WORKER_PORT",
        settings.worker_port,
        is_supervised=supervised,
    )


@app.command()
def warehouse(*, data_dir: DataDir = None, supervised: Supervised = False) -> None:
    """Run the embedded ClickHouse engine behind ClickHouse's HTTP interface, on loopback."""
    settings = load_settings(data_dir=data_dir)
    from sluice.warehouse.server import serve  # as above

    _run(
        serve, settings, "SLUICE_WAREHOUSE_PORT", settings.warehouse_port, is_supervised=supervised
    )


def chosen_names(only: str, known: Sequence[str]) -> list[str]:
    """Return the names of a list with commas; all that are known when it is empty.

    Raises:
        ConfigError: It names something that is not known.
    """
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in known:
            message = f"--only is {only!r}: known destinations are {', '.join(known)}."
            raise ConfigError(message)
    return names or list(known)


def _run(
    serve: ServePart,
    settings: Settings,
    variable: str,
    port: int,
    *,
    stop_delay_s: float = 0.0,
    is_supervised: bool,
) -> None:
    configure_logging(settings)

    async def serve_part(stop: asyncio.Event) -> None:
        await serve(settings, stop, _say_ready)

    try:
        run_service(
            serve_part,
            stop_timeout_s=stop_delay_s + settings.stop_timeout_s,
            is_supervised=is_supervised,
        )
    except OSError as error:
        if error.errno not in LISTEN_ERRORS:
            raise
        raise listen_error(error, variable, settings.host, port) from error


def _say_ready(address: str) -> None:
    print("ready", address, flush=True)
