"""What the warehouse destination stores of envelopes beside the rows of their own table."""

from collections.abc import Sequence
from typing import Final

import msgspec

from sluice.core.envelope import split, unseal
from sluice.logs import get_logger
from sluice.telemetry import DEAD_LETTERS
from sluice.warehouse.client import Warehouse
from sluice.workflows.core.runs import Run
from worker.core.letters import Letter
from worker.core.old_runs import carried_over
from worker.encoding import frames
from worker.warehouse_parts import Dead, Prepared, letters_of

log: Final = get_logger(__name__)


async def carry_over(warehouse: Warehouse, readable: Sequence[Prepared]) -> list[Dead]:
    """Make runs of privacy requests that were queued before there were commands.

    Raises:
        WarehouseError: They may not be stored; may be repeated.
    """
    runs: list[Run] = []
    dead: list[Dead] = []
    for prepared in readable:
        if prepared.envelope.kind == "runs":
            for row in split(unseal(prepared.envelope)):
                try:
                    runs.append(carried_over(row))
                except (msgspec.DecodeError, ValueError) as error:
                    dead.append(Dead(prepared, row, f"not a run: {error}"))
    if runs:
        await warehouse.insert_rows(
            "workflow_runs", frames(runs), columns=list(Run.__struct_fields__)
        )
    return dead


async def bury(warehouse: Warehouse, dead: Sequence[Dead]) -> None:
    """Store what cannot be stored as rows as dead letters, and tell the tenants.

    Raises:
        WarehouseError: They may not be stored; may be repeated.
    """
    if not dead:
        return
    letters, records = letters_of(dead)
    await warehouse.insert_rows(
        "dead_letters", frames(letters), columns=list(Letter.__struct_fields__)
    )
    if records:
        await warehouse.insert_rows("errors", frames(records))
    DEAD_LETTERS.inc(len(letters))
    log.error("Rows were put aside as dead letters", rows=len(letters), reason=dead[0].reason)
