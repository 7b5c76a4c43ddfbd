"""``sluice cost``: what Sluice costs its owner, beside what hosted services list."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any, Final, get_args

import typer

from sluice.cli.options import AsJson, print_json
from sluice.core.errors import ConfigError
from sluice.cost.bill import PARTS, Bill, ClickHouse, Compute, Load, bill_of
from sluice.cost.figures import MEASURED, MEASURED_ON
from sluice.cost.peers import PEERS
from sluice.cost.prices import PRICES

MANY: Final = 1e6

app = typer.Typer()


@app.command()
def cost(
    *,
    events_per_day: Annotated[
        float, typer.Option("--events-per-day", help="In the mean.", show_default=False)
    ],
    payload_bytes: Annotated[
        float,
        typer.Option("--payload-bytes", help="JSON of one event's payload.", show_default=False),
    ],
    batch_size: Annotated[float, typer.Option("--batch-size", help="Events of a request.")] = 1,
    compute: Annotated[str, typer.Option("--compute", help="gke or cloud-run.")] = "gke",
    clickhouse: Annotated[str, typer.Option("--clickhouse", help="cloud or own.")] = "cloud",
    retention_days: Annotated[
        float, typer.Option("--retention-days", help="How long ClickHouse keeps events.")
    ] = 365,
    keep_days: Annotated[float, typer.Option("--keep-days", help="SLUICE_PUBSUB_KEEP_DAYS.")] = 0,
    utilisation: Annotated[
        float, typer.Option("--utilisation", help="Share of processors that a mean day uses.")
    ] = 0.5,
    as_json: AsJson = False,
) -> None:
    """Print what a month and a million events cost: Pub/Sub, compute, ClickHouse, network.

    By list prices and measured figures, without free tiers, discounts and people: docs/cost.md.

    Example: `sluice cost --events-per-day 10000000 --payload-bytes 400`
    """
    try:
        load = Load(
            events_per_day=events_per_day,
            payload_bytes=payload_bytes,
            batch_size=batch_size,
            compute=_chosen("--compute", compute, get_args(Compute)),
            clickhouse=_chosen("--clickhouse", clickhouse, get_args(ClickHouse)),
            retention_days=retention_days,
            keep_days=keep_days,
            utilisation=utilisation,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    bill = bill_of(load)
    if as_json:
        print_json(as_object(bill))
    else:
        print("\n".join(lines_of(bill)))


def _chosen(option: str, value: str, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        message = f"{option} is {value!r}; it is one of {', '.join(allowed)}"
        raise ConfigError(message)
    return value


def as_object(bill: Bill) -> dict[str, Any]:
    """Return the bill for programs: each line with its price, and the prices with their pages."""
    used = {item.price for item in bill.items}
    return {
        "load": asdict(bill.load),
        "needs": asdict(bill.needs),
        "items": [asdict(item) for item in bill.items],
        "parts": {part: bill.usd_of(part) for part in PARTS},
        "usd_per_month": bill.usd_per_month,
        "events_per_month": bill.events_per_month,
        "usd_per_million": bill.usd_per_million,
        "prices": {name: asdict(PRICES[name]) for name in sorted(used)},
        "figures": asdict(MEASURED),
        "figures_measured_on": MEASURED_ON,
        "peers": [
            {
                "name": peer.name,
                "plan": peer.plan,
                "usd_per_million": peer.usd_per_million(bill.events_per_month),
                "list": peer.words,
                "page": peer.page,
                "seen": peer.seen,
            }
            for peer in PEERS
        ],
    }


def lines_of(bill: Bill) -> Iterator[str]:
    """Yield the bill for people."""
    needs = bill.needs
    yield (
        f"{bill.events_per_month / MANY:,.1f} million events a month,"
        f" {needs.events_per_s:,.1f} a second in the mean, {needs.event_bytes:,.0f} bytes each"
    )
    yield (
        f"{needs.gateway_vcpu:,.1f} vCPU of gateways, {needs.worker_vcpu:,.1f} of workers,"
        f" {needs.warehouse_vcpu:,.1f} of ClickHouse; {needs.events_per_message:,.1f} events in a"
        f" message of Pub/Sub, {needs.billed_bytes:,.0f} bytes billed for each"
    )
    yield ""
    for item in bill.items:
        price = PRICES[item.price]
        doubt = "" if price.is_confirmed else "  (not seen on the vendor's page)"
        yield (
            f"{item.part:10}  {item.name:30}  {item.quantity:>16,.2f} x ${price.usd:<10g}"
            f" {item.usd:>14,.2f}  {price.unit}{doubt}"
        )
    yield ""
    for part in PARTS:
        yield f"{part:10}  {bill.usd_of(part):>14,.2f} US$ a month"
    yield f"{'all':10}  {bill.usd_per_month:>14,.2f} US$ a month"
    yield f"{'':10}  {bill.usd_per_million:>14,.4f} US$ a million events"
    yield ""
    yield "Hosted services, list price of a million events (they do more: docs/cost.md):"
    for peer in PEERS:
        listed = peer.usd_per_million(bill.events_per_month)
        said = "no list price for so many" if listed is None else f"{listed:,.2f} US$"
        yield f"{peer.name:18}  {said:>26}  {peer.page}, {peer.seen}"
