"""What of a batch is to be forwarded to Amplitude."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sluice.telemetry import ERASED
from worker.core.erasures import Erased
from worker.core.lane import Item
from worker.mapping import DESTINATION, Skipped


@dataclass(slots=True)
class Prepared:
    """What of one envelope is to be forwarded."""

    items: list[Item] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def leave_out_erased(batch: Sequence[Prepared], known: Erased) -> None:
    """Take out what people sent who were erased since; called in a thread."""
    gone = 0
    for prepared in batch:
        items = [
            item
            for item in prepared.items
            if not known.covers_row(item.tenant, item.received_at, item.row)
        ]
        gone += len(prepared.items) - len(items)
        prepared.items = items
        prepared.skipped = [
            one
            for one in prepared.skipped
            if not known.covers_user(one.outcome.tenant, one.user_id, one.outcome.received_at)
        ]
    ERASED.labels(DESTINATION).inc(gone)


def by_tenant(batch: Sequence[Prepared]) -> dict[str, list[Item]]:
    """Return a batch's events by their tenant, each one's in order."""
    found: dict[str, list[Item]] = {}
    for prepared in batch:
        for item in prepared.items:
            found.setdefault(item.tenant, []).append(item)
    return found
