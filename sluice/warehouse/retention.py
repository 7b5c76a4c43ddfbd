"""Statements that remove what tenants keep no longer, by name. They concern all tenants at once.

One mutation a table and day, however many tenants there are: each has its own cut-off, the start of
a day in UTC, so that a second look at the same day finds nothing.
"""

from typing import Final

from sluice.warehouse.queries import Query

_TIMES: Final = {
    # The hours that are to be looked after first, so that none of them is counted once more.
    # Of what they are written from before what is written: else it would be written again.
    "touched_hours": "hour",
    "rollup_spans": "start",
    "rollups": "hour",
    "events": "received_at",
    "event_keys": "received_at",
    "event_duplicates": "hour",
    "outcomes": "received_at",
    "user_traits": "tupleElement(latest, 2)",
    "errors": "ts",
    "dead_letters": "dead_at",
    "accepted": "hour",
    "accepted_erased": "received_at",
}
"""What belongs to events, and the time by which each row goes."""

COUNTED: Final = ("touched_hours", "rollup_spans", "rollups")
"""What is made of events, and of such that come late, while they are removed: removed once more
behind them."""

_WHERE: Final = {
    table: "tenant IN {tenants:Array(String)} AND toUnixTimestamp(@time@) < transform("
    "toString(tenant), {tenants:Array(String)}, {cut_offs:Array(UInt32)}, toUInt32(0))".replace(
        "@time@", time
    )
    for table, time in _TIMES.items()
}

OUTLIVED: Final = {
    table: Query(
        f"retention_count_{table}",
        f"SELECT count() FROM {table} WHERE {where}",  # noqa: S608 - ours
    )
    for table, where in _WHERE.items()
}
"""How many rows are older than their tenant keeps them."""

REMOVALS: Final = {
    table: Query(f"retention_delete_{table}", f"ALTER TABLE {table} DELETE WHERE {where}")
    for table, where in _WHERE.items()
}
