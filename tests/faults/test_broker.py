"""In short what ``make faults`` does for long: a distributed Sluice on Pub/Sub when it hurts."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.broker.deliveries import disturb
from tests.faults.broker.kills import kill_at_random
from tests.faults.broker.outage import cut_off
from tests.faults.broker.spool import fill_its_disk, fill_to_its_bound
from tests.faults.broker.stack import BrokerStack, broker_stack
from tests.faults.broker.trial import Report

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(170)]

SEED = 20261121
RATE_PER_S = 500
"""Low, so that the tests beside this one have a machine, too."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def distributed(
    pubsub_emulator: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[BrokerStack]:
    """Two gateways and two workers, each a process of its own, and a warehouse."""
    async with broker_stack(tmp_path_factory.mktemp("broker"), pubsub_emulator) as stack:
        yield stack


@pytest.fixture
def report() -> Report:
    """What came out."""
    return Report()


async def test_every_202_is_stored_once_when_any_process_is_killed(
    distributed: BrokerStack, report: Report
) -> None:
    victims = ("spooling gateway", "all")
    await kill_at_random(
        distributed, report, victims=victims, rounds=2, seed=SEED, rate_per_s=RATE_PER_S
    )
    assert report.is_well, str(report)


@pytest.mark.parametrize("mode", ["hang", "drop-answers"])
async def test_nobody_is_refused_and_nothing_lost_when_the_broker_is_cut_off(
    distributed: BrokerStack, report: Report, mode: str
) -> None:
    await cut_off(
        distributed,
        report,
        mode=mode,
        seconds=2.0,
        seed=SEED,
        rate_per_s=RATE_PER_S,
        before_s=1.0,
        after_s=1.0,
        proxies=[distributed.gateway_proxy],
    )
    assert report.is_well, str(report)


async def test_totals_are_exact_when_leases_end_acks_are_lost_and_messages_come_thrice_or_reversed(
    distributed: BrokerStack, report: Report
) -> None:
    await disturb(distributed, report, seconds=0.5, seed=SEED, rate_per_s=RATE_PER_S)
    assert report.is_well, str(report)


async def test_spool_at_its_bound_or_on_a_full_disk_refuses_in_time_and_clears_by_itself(
    distributed: BrokerStack, report: Report
) -> None:
    await fill_to_its_bound(distributed, report, seed=SEED)
    await fill_its_disk(distributed, report, seed=SEED)
    assert report.is_well, str(report)
