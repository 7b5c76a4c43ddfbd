"""Drills in which everything meets in Pub/Sub."""

from collections.abc import AsyncIterator

from tests.drills.site import ManyMachines


async def broker_refuses(site: ManyMachines) -> AsyncIterator[str]:
    """Gateways do not reach Pub/Sub."""
    await site.broker.gateway_proxy.use("refuse")
    yield "the way from the gateways to Pub/Sub is cut"
    await site.broker.gateway_proxy.use("pass")
    yield "the way is mended"
    await site.broker.wait_until_drained(within_s=60)
