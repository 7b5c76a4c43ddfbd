"""A run: durable work that somebody asked for, as a row of ``runs`` (design, decision 11).

What is asked for is queued like an event and stored as the first row of its run, ``pending``. Its
id is a function of the request, so that a request that is repeated is one run; the earliest row
counts, so that a repeat moves no deadline.
"""

from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from sluice.core.event import derive_event_id, format_ts

RunType = Literal["erase_user", "erase_shop", "export_user"]

PENDING: Final = "pending"
LEGAL_DAYS: Final = 30
"""Within which a privacy request must be done (Shopify, "Privacy law compliance")."""


class RunRequest(msgspec.Struct, frozen=True):
    """What a source makes of a request, before it is stamped."""

    request_id: str
    """The source's own id of the request."""
    type: RunType
    input: str
    """What the run needs, as the JSON text of an object. It may hold personal data."""


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``runs``, as it travels through the queue."""

    tenant: str
    run_id: str
    type: str
    state: str
    requested_at: str
    """UTC, ``YYYY-MM-DDTHH:MM:SS.ffffff``."""
    due_at: str
    source: str
    input: str


def pending_run(request: RunRequest, *, tenant: str, source: str, now: datetime) -> RunRow:
    """Return the first row of the run that a request asks for."""
    return RunRow(
        tenant=tenant,
        run_id=derive_event_id(tenant, f"run:{request.request_id}"),
        type=request.type,
        state=PENDING,
        requested_at=format_ts(now),
        due_at=format_ts(now + timedelta(days=LEGAL_DAYS)),
        source=source,
        input=request.input,
    )
