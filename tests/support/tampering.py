"""What nobody should do to a warehouse by hand."""

from typing import Final

from sluice.warehouse.queries import Query
from tests.support.worker_rig import Rig

COLUMNS: Final = (
    *("tenant", "event_id", "user_id", "anonymous_id", "event_type"),
    *("occurred_at", "received_at", "source", "payload"),
)


REMOVE: Final = Query("remove", "DELETE FROM events WHERE event_id = {event_id:UUID}")
COPY: Final = """
INSERT INTO events (@columns@)
SELECT @values@ FROM events FINAL WHERE event_id = {event_id:UUID}
"""


async def remove_event(rig: Rig, event_id: str) -> None:
    """Delete an event."""
    await rig.warehouse.run(REMOVE, event_id=event_id)


async def copy_event(rig: Rig, event_id: str, **changed: str) -> None:
    """Store an event again, with other expressions for some of its columns."""
    values = ", ".join(changed.get(name, name) for name in COLUMNS)
    sql = COPY.replace("@columns@", ", ".join(COLUMNS)).replace("@values@", values)
    await rig.warehouse.run(Query("copy", sql), event_id=event_id)
