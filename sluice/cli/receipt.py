"""``sluice receipt``: where one event is, asked of the warehouse itself."""

import asyncio
import sys
from typing import Annotated, Final

import msgspec
import typer

from gateway.core.receipt import Receipt, forwarded_to, possible_ids, receipt_of
from gateway.sources.names import spellings
from sluice.cli.options import AsJson, DataDir, print_json
from sluice.core.receipts import Findings
from sluice.settings import Settings, load_settings
from sluice.tenants import TenantsFile, unknown_tenant
from sluice.warehouse.client import Warehouse
from sluice.warehouse.receipts import find_event

FAILED: Final = 1
UNKNOWN: Final = (
    "no event of {slug} has the id {name!r}: not accepted (GET /api/ingestion/errors says why), not"
    " stored yet (try again in a few seconds), or erased"
)

app = typer.Typer()


@app.command()
def receipt(
    name: Annotated[
        str,
        typer.Argument(
            help="X-Event-Id, or the client's own id.", show_default=False, metavar="EVENT_ID"
        ),
    ],
    *,
    slug: Annotated[str, typer.Option("--tenant", help="The tenant's slug.", show_default=False)],
    user_id: Annotated[
        str | None,
        typer.Option("--user-id", help="The user whose own the name is.", show_default=False),
    ] = None,
    anonymous_id: Annotated[
        str | None,
        typer.Option("--anonymous-id", help="Amplitude's device_id.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Print the trace of one event: received, stored, and what each destination made of it.

    Exit status: 0 there is a receipt, 1 no event has this id.

    Example: `sluice receipt order-123 --tenant demo`
    """
    settings = load_settings(data_dir=data_dir)
    tenant = TenantsFile(settings.tenants_path).directory.by_slug.get(slug)
    if tenant is None:
        raise unknown_tenant(slug, settings.tenants_path)
    names = spellings(name, user_id=user_id, anonymous_id=anonymous_id)
    ids = possible_ids(slug, names, user_id=user_id)
    found = asyncio.run(_find(settings, slug, ids)) if ids else Findings()
    told = receipt_of(found, ids, forwards_to=forwarded_to(tenant))
    if told is None:
        print(f"sluice: {UNKNOWN.format(slug=slug, name=name)}", file=sys.stderr)
        sys.exit(FAILED)
    if as_json:
        print_json(msgspec.to_builtins(told))
    else:
        print("\n".join(lines_of(told)))


async def _find(settings: Settings, slug: str, ids: list[str]) -> Findings:
    async with Warehouse(settings, makes_database=False) as warehouse:
        return await find_event(warehouse, slug, ids)


def lines_of(told: Receipt) -> list[str]:
    """Return a receipt for people: a line on the event, a summary, and a line for each step."""
    who = " ".join(part for part in (told.event_type, told.user_id) if part)
    steps = [f"{step.at or '':27}  {step.step:9}  {step.detail}" for step in told.trace]
    return [f"{told.event_id}  {who}".rstrip(), told.summary, *steps]
