"""Whose forwarding waits and why, for the people who look."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import NAMESPACE_OID, uuid5

from sluice.core.errors import ErrorRecord, ErrorType
from sluice.core.event import format_ts
from worker.core.holds import EVERYBODY, Hold
from worker.lot import Lot

MAX_SENTENCES: Final = 20


def sentences(lot: Lot) -> Sequence[str]:
    """Return one sentence for each tenant whose project or users wait; the first few of them."""
    found: list[str] = []
    for tenant, holds in lot.holds.items():
        count = lot.count(tenant)
        project = holds.get(EVERYBODY)
        users = len(holds) - (project is not None)
        if project is not None:
            since = datetime.fromtimestamp(project.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            found.append(
                f"{tenant}: {project.reason} since {since} ({project.detail});"
                f" {count} events are parked"
            )
        elif users:
            found.append(f"{tenant}: {users} users wait; {count} events are parked")
        if len(found) == MAX_SENTENCES:
            break
    return found


def credentials_record(tenant: str, hold: Hold) -> ErrorRecord:
    """Return the error record that tells a tenant that its API key is refused."""
    at = format_ts(datetime.fromtimestamp(hold.since, UTC))
    return ErrorRecord(
        tenant=tenant,
        error_id=str(uuid5(NAMESPACE_OID, f"amplitude\x00{tenant}\x00{at}")),
        ts=at,
        source="amplitude",
        error_type=ErrorType.DESTINATION_CREDENTIALS,
        detail=f"{hold.detail}. Events wait until the key is mended; none is dropped.",
    )
