"""Drills in which everything meets in Pub/Sub."""

from collections.abc import AsyncGenerator
from typing import Final

from tests.drills.on_one_machine import FILLER
from tests.drills.site import ManyMachines

DRAINED_WITHIN_S: Final = 60


async def broker_refuses(site: ManyMachines) -> AsyncGenerator[str, None]:
    """Gateways do not reach Pub/Sub."""
    await site.broker.gateway_proxy.use("refuse")
    yield "the way from the gateways to Pub/Sub is cut"
    await site.broker.gateway_proxy.use("pass")
    yield "the way is mended"
    await site.broker.wait_until_drained(within_s=DRAINED_WITHIN_S)


async def spool_fills(site: ManyMachines) -> AsyncGenerator[str, None]:
    """Gateways do not reach Pub/Sub, and what they spool is much for their disks."""
    site.sender.filler = FILLER
    await site.broker.gateway_proxy.use("hang")
    yield "Pub/Sub does not answer, with a spool of 1 MiB"
    await site.broker.gateway_proxy.use("pass")
    yield "the way is mended"
    await site.broker.wait_until_drained(within_s=DRAINED_WITHIN_S)


async def one_gateway_down(site: ManyMachines) -> AsyncGenerator[str, None]:
    """One of two gateways dies."""
    site.broker.gateways[0].part.kill()
    yield "kill -9 of one of two gateways"
    await site.broker.gateways[0].part.restart()
    yield "started again"
