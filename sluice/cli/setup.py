"""``sluice setup``: creates what the other parts expect, as often as you like."""

import asyncio
import time
from typing import Annotated, Final

import typer

from sluice.cli.options import AsJson, DataDir, print_json
from sluice.core.errors import QueueUnavailableError, WarehouseUnavailableError
from sluice.core.tokens import parse_ttl
from sluice.credentials import jwt_secret
from sluice.private_files import ensure_private_dir
from sluice.queue import open_queue
from sluice.settings import Settings, load_settings
from sluice.telemetry import configure_logging
from sluice.warehouse.client import Warehouse
from sluice.warehouse.migrate import migrate

ASK_EVERY_S: Final = 0.25

app = typer.Typer()


@app.command()
def setup(
    *,
    wait: Annotated[
        str, typer.Option("--wait", help="How long to wait for the warehouse.")
    ] = "60s",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Create the queue and the warehouse's tables. What exists already stays as it is.

    Example: `SLUICE_WAREHOUSE_URL=http://user:password@ch:8123/sluice sluice setup`
    """
    settings = load_settings(data_dir=data_dir)
    configure_logging(settings)
    wait_s = parse_ttl(wait, name="--wait")
    ensure_private_dir(settings.data_dir)
    if not settings.jwks_url:
        jwt_secret(settings)
    made = asyncio.run(set_up_queue(settings))
    applied = asyncio.run(_set_up_warehouse(settings, wait_s))
    if as_json:
        print_json({"queue_created": any(made.values()), "migrations_applied": applied})
        return
    for name, is_new in made.items():
        print(f"queue: {name} {'created' if is_new else 'exists'}")
    print(f"warehouse: {', '.join(applied) + ' applied' if applied else 'tables are up to date'}")


async def set_up_queue(settings: Settings) -> dict[str, bool]:
    """Make what the queue needs; return each part's name with whether it was made now.

    Raises:
        QueueUnavailableError: It cannot be made; the sentence says what to do.
    """
    if settings.pubsub_project is not None:
        from sluice.queue.pubsub_setup import ensure_topics
        from sluice.queue.pubsub_wire import Names

        return await ensure_topics(Names(settings.pubsub_project))
    is_new = not settings.queue_path.exists()
    async with open_queue(settings) as queue:
        state = await queue.state()
        if state.condition == "unavailable":
            raise QueueUnavailableError(state.detail)
    return {str(settings.queue_path): is_new}


async def _set_up_warehouse(settings: Settings, wait_s: float) -> list[str]:
    deadline = time.monotonic() + wait_s
    async with Warehouse(settings) as warehouse:
        while True:
            try:
                return await migrate(warehouse)
            except WarehouseUnavailableError as error:
                if time.monotonic() > deadline:
                    message = f"the warehouse was not there within {wait_s:g} s: {error}"
                    raise WarehouseUnavailableError(message) from error
                await asyncio.sleep(ASK_EVERY_S)
