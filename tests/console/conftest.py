"""A Sluice and a browser for the console's tests."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser

from tests.console.rig import Rig, running_rig
from tests.support.browser import MISSING, find_chromium, running_chromium


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A Sluice of these tests' own: they kill its gateway."""
    with running_rig(tmp_path_factory.mktemp("console") / "data") as running:
        yield running


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A real Chromium; where it is missing CI fails, and people are told."""
    path = find_chromium()
    if path is None and os.environ.get("CI") != "true":
        pytest.skip(MISSING)
    assert path is not None, MISSING
    async with running_chromium(path) as running:
        yield running
