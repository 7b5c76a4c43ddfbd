"""``sluice setup --dry-run``: what would be created, and who needs which role."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sluice.cli.options import print_json
from sluice.cli.setup_queue import QueuePart, look_at_queue
from sluice.core.errors import WarehouseError
from sluice.settings import Settings
from sluice.warehouse.client import Warehouse
from sluice.warehouse.migrate import migrations, pending

VERBS: Final = {"missing": "would be created", "exists": "exists"}
ROLE_TITLES: Final = ("process", "role", "on", "so that it")


def dry_run(settings: Settings, *, as_json: bool) -> None:
    """Print the plan; nothing is changed.

    A warehouse that does not answer yet hides only what is missing in it.

    Raises:
        QueueUnavailableError: The queue cannot be asked; the text says why.
        WarehouseError: The warehouse cannot be asked; what can be told is printed.
    """
    parts = asyncio.run(look_at_queue(settings))
    try:
        missing: list[str] | None = asyncio.run(_pending(settings))
        trouble = None
    except WarehouseError as error:
        missing, trouble = None, error
    roles = role_rows(settings)
    if as_json:
        print_json(_as_json(parts, missing, roles))
    else:
        print("\n".join(_lines(parts, missing, roles)))
    if trouble is not None:
        raise trouble


async def _pending(settings: Settings) -> list[str]:
    async with Warehouse(settings, makes_database=False) as warehouse:
        return await pending(warehouse)


def role_rows(settings: Settings) -> list[tuple[str, ...]]:
    """Return the least roles: process, role, on what, why; none where the queue is a file."""
    if settings.pubsub_project is None:
        return []
    from sluice.queue.pubsub_plan import plan_of, short  # here, because it is heavy
    from sluice.queue.pubsub_wire import Names

    return [
        (one.process, one.role, f"{one.kind} {short(one.resource)}", one.why)
        for one in plan_of(Names(settings.pubsub_project)).grants
    ]


def _as_json(
    parts: list[QueuePart], missing: list[str] | None, roles: list[tuple[str, ...]]
) -> dict[str, Any]:
    return {
        "dry_run": True,
        "queue": [part.as_json() for part in parts],
        "migrations_pending": missing,
        "roles": [dict(zip(("process", "role", "on", "why"), row, strict=True)) for row in roles],
    }


def _lines(
    parts: list[QueuePart], missing: list[str] | None, roles: list[tuple[str, ...]]
) -> Iterator[str]:
    yield "Nothing is changed. `sluice setup` would do this:"
    yield ""
    rows = [(part.kind, part.name, VERBS[part.outcome], part.settings) for part in parts]
    rows += [("tables", name, _table_words(name, missing), "") for name, _ in migrations()]
    yield from columns(rows)
    for part in parts:
        if part.differs:
            yield ""
            yield part.line
    if roles:
        yield ""
        yield "The least roles that each process needs:"
        yield ""
        yield from columns([ROLE_TITLES, *roles])


def _table_words(name: str, missing: list[str] | None) -> str:
    if missing is None:
        return "not known"
    return "would be applied" if name in missing else "exist"


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows as lines in which what belongs to a column starts at the same place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
