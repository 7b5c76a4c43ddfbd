"""What ``sluice doctor`` says of shops: whose deliveries failed verification within the hour.

A wrong secret looks to Shopify like any failure: after some hours the subscription is gone
(reference/shopify.md, 5).
"""

import asyncio
from datetime import UTC, datetime
from typing import Final

from sluice.cli.findings import TIMEOUT_S, Finding
from sluice.core.errors import WarehouseError
from sluice.settings import Settings
from sluice.warehouse.client import Warehouse
from sluice.warehouse.queries import GOOD_DELIVERIES, Query

DAY_S: Final = 86_400
_UNVERIFIED: Final = Query(
    "doctor_unverified_deliveries",
    """
SELECT tenant, sum(occurrences) AS deliveries
FROM errors FINAL
WHERE source = 'shopify' AND error_type = 'shopify_signature_invalid'
    AND ts >= now64(6) - INTERVAL 1 HOUR
GROUP BY tenant
ORDER BY deliveries DESC
LIMIT 5
""",
)


async def check_shops(settings: Settings) -> list[Finding]:
    """Return a warning for each tenant with such deliveries; nothing where all is well."""
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            Warehouse(settings, makes_database=False) as warehouse,
        ):
            return [
                _finding(
                    slug, count, *await warehouse.fetch(GOOD_DELIVERIES, tenant=slug, seconds=DAY_S)
                )
                for slug, count in await warehouse.fetch(_UNVERIFIED)
            ]
    except (TimeoutError, WarehouseError):
        return []  # the check of the warehouse says why


def _finding(slug: str, failed: int, good: tuple[int, int, int]) -> Finding:
    count, last, _ = good
    when = datetime.fromtimestamp(last // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    said = f"the last good one came at {when}" if count else "no good one within 24 hours"
    return Finding(
        f"shopify of {slug}",
        "warn",
        f"{failed} deliveries failed verification within the hour; {said}",
        f"`sluice webhook doctor {slug}` names the cause",
    )
