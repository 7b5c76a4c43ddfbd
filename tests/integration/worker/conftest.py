"""One engine for all tests of the folder; each test gets a database and a queue of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.warehouse import warehouse_process
from tests.support.worker_rig import Place, Rig


@pytest.fixture(scope="session")
def engine_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running warehouse, with user and password."""
    with warehouse_process(tmp_path_factory.mktemp("engine")) as url:
        yield url


@pytest.fixture
def place(tmp_path: Path, engine_url: str) -> Place:
    """Where a test that wants settings of its own opens a rig."""
    return Place(tmp_path, engine_url)


@pytest.fixture
async def rig(place: Place) -> AsyncIterator[Rig]:
    """A rig with the default settings."""
    async with place.rig() as opened:
        yield opened
