"""The same logs with Google Pub/Sub as the queue, between processes that share nothing else.

Two workers take from the subscription, so that copies of an event may meet in two of them.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.broker.stack import broker_stack
from tests.integration.test_real_logs import (
    log,
    test_totals_are_exact_when_a_log_is_sent_three_times,
)
from tests.support.segops import Segops
from tests.support.shared import SharedParts

__all__ = ["log", "test_totals_are_exact_when_a_log_is_sent_three_times"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    pubsub_emulator: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SharedParts]:
    """A gateway, two workers and a warehouse, set up by ``sluice setup``."""
    folder = tmp_path_factory.mktemp("pubsub")
    async with broker_stack(folder, pubsub_emulator, gateways=1, workers=2) as stack:
        yield SharedParts(stack.as_one)


@pytest.fixture
async def neighbour(shared: SharedParts) -> AsyncIterator[Segops]:
    """The client of another tenant."""
    async with shared.new_client() as client:
        yield client
