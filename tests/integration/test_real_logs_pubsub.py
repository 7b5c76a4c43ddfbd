"""The same logs with Google Pub/Sub as the queue, between processes that share nothing else."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from sluice.queue.pubsub_setup import ensure_topics
from sluice.queue.pubsub_wire import Names
from tests.integration.test_real_logs import (
    log,
    test_totals_are_exact_when_a_log_is_sent_three_times,
)
from tests.support.segops import Segops
from tests.support.shared import SharedParts
from tests.support.stack import running_stack

__all__ = ["log", "test_totals_are_exact_when_a_log_is_sent_three_times"]


@pytest.fixture(scope="module")
def shared(pubsub_emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedParts]:
    """A stack whose queue is the emulator, instead of the one with a file."""
    assert pubsub_emulator
    project = f"project-{uuid.uuid4().hex[:12]}"
    asyncio.run(ensure_topics(Names(project)))
    settings = {"QUEUE_URL": f"pubsub://{project}"}
    with running_stack(tmp_path_factory.mktemp("pubsub"), settings) as owned:
        yield SharedParts(owned.stack)


@pytest.fixture
async def neighbour(shared: SharedParts) -> AsyncIterator[Segops]:
    """The client of another tenant."""
    async with shared.new_client() as client:
        yield client
