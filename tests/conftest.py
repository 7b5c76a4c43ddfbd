"""The one running stack that all tests share, their order and end, and what property tests take."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

from tests.support.failures import FailureLines
from tests.support.leftovers import Watcher
from tests.support.order import longest_first, marked_seconds
from tests.support.pubsub import MISSING, find_jar, shared_emulator
from tests.support.stack import Stack, shared_stack

# Tests run in parallel on a busy machine: how long an example takes says nothing about the code.
_ANY_PACE: Final[dict[str, Any]] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
}
settings.register_profile("sluice", max_examples=40, **_ANY_PACE)
settings.register_profile("fuzz", max_examples=1_000, **_ANY_PACE)  # ``make fuzz``
settings.load_profile("sluice")
_WATCHER: Final = pytest.StashKey[Watcher]()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Prepare the process that runs the tests, or that has workers of pytest-xdist run them."""
    if hasattr(config, "workerinput"):
        return
    config.stash[_WATCHER] = Watcher()
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        config.pluginmanager.register(FailureLines(terminal))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what tests left."""
    if _WATCHER in config.stash:
        config.stash[_WATCHER].close()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; pytest-randomly has mixed the rest before."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = longest_first(items, marked_seconds, processes)


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Warehouse, gateway and worker, started by ``sluice run``; give each test its own tenant."""
    with shared_stack(_common_folder(request, tmp_path_factory)) as running:
        yield running


def _common_folder(request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all processes of this test run know."""
    base = factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base


@pytest.fixture(scope="session")
def pubsub_emulator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Google's emulator, shared: take a project of your own. Where it is missing CI fails, and
    people are told.
    """
    jar = find_jar()
    if jar is None and os.environ.get("CI") != "true":
        pytest.skip(MISSING)
    assert jar is not None, MISSING
    with shared_emulator(jar, _common_folder(request, tmp_path_factory)) as host:
        os.environ["PUBSUB_EMULATOR_HOST"] = host
        yield host
        del os.environ["PUBSUB_EMULATOR_HOST"]
