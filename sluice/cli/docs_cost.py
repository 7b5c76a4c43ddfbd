"""The tables of docs/cost.md: bills, prices, figures, and what hosted services list."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from sluice.cli.docs_api import table_lines
from sluice.cost.bill import DAYS_PER_MONTH, PARTS, Bill, Load, bill_of
from sluice.cost.figures import MEANING, MEASURED, MEASURED_ON
from sluice.cost.peers import PEERS
from sluice.cost.prices import PRICES

EVENTS_PER_DAY: Final = (100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
EVENTS_PER_MONTH: Final = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000)
PAYLOAD_BYTES: Final = 400
BATCHES: Final = (1, 50)
MANY: Final = 1_000_000


def cost_tables() -> Mapping[str, str]:
    """Return each table by the name of its marks."""
    return {
        "cost-bills": bills_table(),
        "cost-prices": prices_table(),
        "cost-figures": figures_table(),
        "cost-peers": peers_table(),
        "cost-lists": lists_table(),
    }


def bills_table() -> str:
    """Return what some loads cost."""
    bills = [
        bill_of(Load(events_per_day=events, payload_bytes=PAYLOAD_BYTES, batch_size=batch))
        for batch in BATCHES
        for events in EVENTS_PER_DAY
    ]
    titles = (
        "events a day", "events a request", *(f"{part}, US$" for part in PARTS), "a month, US$",
        "a million events, US$", "without ClickHouse",
    )  # fmt: skip
    return "\n".join(table_lines(titles, [_bill_row(bill) for bill in bills]))


def _bill_row(bill: Bill) -> list[str]:
    edge = bill.usd_per_month - bill.usd_of("ClickHouse")
    return [
        f"{bill.load.events_per_day:,.0f}",
        f"{bill.load.batch_size:,.0f}",
        *(f"{bill.usd_of(part):,.0f}" for part in PARTS),
        f"{bill.usd_per_month:,.0f}",
        f"{bill.usd_per_million:,.3f}",
        f"{edge / bill.events_per_month * MANY:,.3f}",
    ]


def prices_table() -> str:
    """Return every price with its page."""
    rows = [
        (
            f"`{name}`",
            f"{price.usd:g}",
            price.unit,
            f"<{price.page}>",
            price.seen if price.is_confirmed else "not confirmed: quoted by others only",
        )
        for name, price in PRICES.items()
    ]
    return "\n".join(table_lines(("price", "US$", "for a", "page", "seen"), rows))


def figures_table() -> str:
    """Return every measured figure."""
    rows = [
        (f"`{name}`", f"{value:,.4g} {MEANING[name][0]}".strip(), MEANING[name][1])
        for name, value in asdict(MEASURED).items()
    ]
    titles = ("figure", f"measured {MEASURED_ON}", "meaning")
    return "\n".join(table_lines(titles, rows))


def peers_table() -> str:
    """Return a million events of hosted services beside Sluice."""
    titles = ("events a month", "Sluice, US$", *(peer.name for peer in PEERS if peer.steps))
    rows = []
    for events in EVENTS_PER_MONTH:
        bill = bill_of(Load(events_per_day=events / DAYS_PER_MONTH, payload_bytes=PAYLOAD_BYTES))
        listed = [peer.usd_per_million(events) for peer in PEERS if peer.steps]
        rows.append(
            [
                f"{events:,}",
                f"{bill.usd_per_million:,.2f}",
                *("" if usd is None else f"{usd:,.2f}" for usd in listed),
            ]
        )
    return "\n".join(table_lines(titles, rows))


def lists_table() -> str:
    """Return the list prices in the words of their pages."""
    rows = [
        (f"{peer.name}, {peer.plan}", peer.words, f"<{peer.page}>", peer.seen) for peer in PEERS
    ]
    return "\n".join(table_lines(("service", "list price", "page", "seen"), rows))
