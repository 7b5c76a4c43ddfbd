"""The one running stack that all tests share, and what holds for every property test."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.pubsub import MISSING, find_jar, running_emulator
from tests.support.stack import Stack, shared_stack

# Tests run in parallel on a busy machine: how long an example takes says nothing about the code.
settings.register_profile("sluice", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sluice")


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Warehouse, gateway and worker, started by ``sluice run``; give each test its own tenant."""
    base = tmp_path_factory.getbasetemp()
    is_xdist_worker = hasattr(request.config, "workerinput")
    with shared_stack(base.parent if is_xdist_worker else base) as running:
        yield running


@pytest.fixture(scope="session")
def pubsub_emulator() -> Iterator[str]:
    """Google's emulator for this process; where it is missing CI fails, and people are told."""
    jar = find_jar()
    if jar is None and os.environ.get("CI") != "true":
        pytest.skip(MISSING)
    assert jar is not None, MISSING
    with running_emulator(jar) as host:
        os.environ["PUBSUB_EMULATOR_HOST"] = host
        yield host
        del os.environ["PUBSUB_EMULATOR_HOST"]
