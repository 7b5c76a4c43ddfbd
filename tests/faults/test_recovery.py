"""In short what ``make faults-recovery`` does for long: a lost ClickHouse comes back, exactly."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.broker.stack import BrokerStack, broker_stack
from tests.faults.broker.trial import Report
from tests.faults.recovery.home import back_up_and_restore
from tests.faults.recovery.warehouse import rebuild_from_backup, rebuild_from_nothing

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(170)]

SEED = 20261122
RATE_PER_S = 200
"""Low, so that the tests beside this one have a machine, too."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keeping(
    pubsub_emulator: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[BrokerStack]:
    """A gateway, a worker and a warehouse, on a Pub/Sub that keeps what is stored."""
    folder = tmp_path_factory.mktemp("recovery")
    settings = {"PUBSUB_KEEP_DAYS": "7"}
    async with broker_stack(
        folder, pubsub_emulator, gateways=1, workers=1, settings=settings
    ) as stack:
        yield stack


async def test_totals_are_exact_when_clickhouse_is_rebuilt_from_pubsub_alone(
    keeping: BrokerStack,
) -> None:
    report = Report()
    await rebuild_from_nothing(keeping, report, seconds=1.5, seed=SEED, rate_per_s=RATE_PER_S)
    assert report.is_well, str(report)


async def test_totals_are_exact_when_clickhouse_is_rebuilt_from_a_backup_and_what_came_since(
    keeping: BrokerStack,
) -> None:
    report = Report()
    await rebuild_from_backup(keeping, report, seconds=1.5, seed=SEED + 1, rate_per_s=RATE_PER_S)
    assert report.is_well, str(report)


async def test_what_was_accepted_before_a_backup_is_there_when_all_of_home_is_lost(
    tmp_path: Path,
) -> None:
    report = Report()
    await back_up_and_restore(tmp_path, report, seconds=2.0, seed=SEED, rate_per_s=RATE_PER_S)
    assert report.is_well, str(report)
