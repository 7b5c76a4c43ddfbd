"""The running stack as one tenant's client sees it: fixtures for the tests from outside."""

from collections.abc import AsyncIterator

import pytest

from tests.support.credentials import Credentials, TokenMaker
from tests.support.segops import Segops
from tests.support.shared import SharedParts
from tests.support.stack import Stack


@pytest.fixture(scope="session")
def shared(stack: Stack) -> SharedParts:
    """The stack that all tests of the session share."""
    return SharedParts(stack)


@pytest.fixture
async def api(shared: SharedParts) -> AsyncIterator[Segops]:
    """The client of a tenant that is this test's own."""
    async with shared.new_client() as client:
        yield client


@pytest.fixture
async def client(shared: SharedParts) -> AsyncIterator[Segops]:
    """The client of a tenant that all tests share which read nothing back: quicker to have."""
    async with shared.common_client() as common:
        yield common


@pytest.fixture(scope="session")
def credentials(shared: SharedParts) -> Credentials:
    """Edits the keys of tenants."""
    return Credentials(shared.files.tenants_path)


@pytest.fixture(scope="session")
def sign(shared: SharedParts) -> TokenMaker:
    """Signs any claims with the stack's secret."""
    return TokenMaker(shared.jwt_secret)
