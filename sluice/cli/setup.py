"""``sluice setup``: creates what the other parts expect, as often as you like."""

import asyncio
import time
from typing import Annotated, Final

import typer

from sluice.cli.options import AsJson, DataDir, print_json
from sluice.cli.setup_plan import dry_run
from sluice.cli.setup_queue import QueuePart, set_up_queue
from sluice.core.errors import WarehouseUnavailableError
from sluice.core.tokens import parse_ttl
from sluice.credentials import jwt_secret
from sluice.logs import configure_logging
from sluice.private_files import ensure_private_dir
from sluice.settings import Settings, load_settings
from sluice.warehouse.client import Warehouse
from sluice.warehouse.migrate import migrate

ASK_EVERY_S: Final = 0.25

app = typer.Typer()


@app.command()
def setup(
    *,
    is_dry: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be created, and change nothing.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Make every table once more, for a new server of a cluster."),
    ] = False,
    wait: Annotated[
        str, typer.Option("--wait", help="How long to wait for the warehouse.")
    ] = "60s",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Create the queue and the warehouse's tables. What exists already stays as it is.

    With Google Pub/Sub: topics and subscriptions; a subscription that keeps less than planned is
    mended, and said. `--dry-run` shows the plan, and the least roles that each process needs.

    Example: `SLUICE_QUEUE_URL=pubsub://my-project sluice setup --dry-run`
    """
    settings = load_settings(data_dir=data_dir)
    configure_logging(settings)
    wait_s = parse_ttl(wait, name="--wait")
    if is_dry:
        dry_run(settings, as_json=as_json)
        return
    ensure_private_dir(settings.data_dir)
    if not settings.jwks_url:
        jwt_secret(settings)
    parts = asyncio.run(set_up_queue(settings))
    if not as_json:  # said before the warehouse may stop all
        for part in parts:
            print(f"queue: {part.line}", flush=True)
    applied = asyncio.run(_set_up_warehouse(settings, wait_s, again=again, is_chatty=not as_json))
    if as_json:
        _print_json(parts, applied)
        return
    print(f"warehouse: {', '.join(applied) + ' applied' if applied else 'tables are up to date'}")


def _print_json(parts: list[QueuePart], applied: list[str]) -> None:
    is_created = any(part.outcome == "created" for part in parts)
    print_json(
        {
            "queue_created": is_created,
            "queue": [part.as_json() for part in parts],
            "migrations_applied": applied,
        }
    )


async def _set_up_warehouse(
    settings: Settings, wait_s: float, *, again: bool, is_chatty: bool
) -> list[str]:
    deadline = time.monotonic() + wait_s
    async with Warehouse(settings) as warehouse:
        while True:
            try:
                return await migrate(warehouse, again=again)
            except WarehouseUnavailableError as error:
                if time.monotonic() > deadline:
                    message = f"the warehouse was not there within {wait_s:g} s: {error}"
                    raise WarehouseUnavailableError(message) from error
                if is_chatty:
                    is_chatty = False  # once
                    print(f"warehouse: waiting up to {wait_s:g} s, because {error}", flush=True)
                await asyncio.sleep(ASK_EVERY_S)
