"""The operations that the console reads beside stats, errors, receipts and runs."""

from typing import Final

from gateway.operation import Operation
from gateway.operation_errors import ALWAYS, READ_AUTH, STOPPING
from gateway.schemas import json_answer, ref_to

CONSOLE_OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(
        path="/api/ingestion/status/",
        method="get",
        name="status",
        summary="How health, destinations and queue are",
        description="200 however bad it is. Backlogs are of all tenants, as a subscription is "
        "shared; `parked_events` and `troubles` are this tenant's own. Freshness is the age of "
        "events when they became visible, of the last minute, as that worker measured it.",
        security=("readToken",),
        answers={200: json_answer("How they are.", ref_to("StatusAnswer"))},
        errors=(*ALWAYS, *STOPPING, *READ_AUTH),
    ),
)
