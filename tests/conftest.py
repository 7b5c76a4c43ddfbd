"""The one running stack that all tests share."""

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack, shared_stack


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Warehouse, gateway and worker, started by ``sluice run``; give each test its own tenant."""
    base = tmp_path_factory.getbasetemp()
    is_xdist_worker = hasattr(request.config, "workerinput")
    with shared_stack(base.parent if is_xdist_worker else base) as running:
        yield running
