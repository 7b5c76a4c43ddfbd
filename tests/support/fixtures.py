"""The running stack as one tenant's client sees it: fixtures for the tests from outside."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.client_app import ClientApp
from tests.support.credentials import Credentials, TokenMaker
from tests.support.edge import Part, running
from tests.support.runs import Runs, running_runs
from tests.support.segops import EVENT, Segops, assert_counted, assert_queued
from tests.support.shared import SharedParts
from tests.support.stack import Stack
from tests.support.telemetry import server_errors


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


@pytest.fixture
async def app(api: Segops, credentials: Credentials) -> ClientApp:
    """A client app of a tenant that is this test's own, with a public key."""
    return await ClientApp.of(api, credentials)


@pytest.fixture
async def common_app(client: Segops, shared: SharedParts, credentials: Credentials) -> ClientApp:
    """A client app of the tenant that tests share which read nothing back and change no key."""
    if not shared.common_public_key:
        first = await ClientApp.of(client, credentials)
        shared.common_public_key = (first.key, first.secret)
    key, secret = shared.common_public_key
    return ClientApp(api=client, key=key, secret=secret, credentials=credentials)


@pytest.fixture(scope="session")
def sign(shared: SharedParts) -> TokenMaker:
    """Signs any claims with the stack's secret."""
    return TokenMaker(shared.jwt_secret)


@pytest.fixture
async def runs(shared: SharedParts, tmp_path: Path) -> AsyncIterator[Runs]:
    """The runs API of a tenant that is this test's own, without a worker."""
    async with running_runs(tmp_path, shared.warehouse_url) as running_ones:
        yield running_ones


@pytest.fixture(scope="session")
def slow_edge(shared: SharedParts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    """A gateway of the session's own, which waits a second for a body."""
    settings = {**shared.settings, "BODY_TIMEOUT_S": "1"}
    data_dir = tmp_path_factory.mktemp("edge")
    with running("gateway", data_dir=data_dir, settings=settings) as edge:
        yield edge


@pytest.fixture
async def gateway(slow_edge: Part, shared: SharedParts) -> AsyncIterator[Segops]:
    """The client of a gateway with short time-outs; the good event follows each test."""
    async with shared.common_client(slow_edge.url) as there:
        before = server_errors(await there.metrics())
        yield there
        assert_queued(await there.track(EVENT))
        assert_counted(await there.batch([EVENT, EVENT]), queued=2, skipped=0)
        assert server_errors(await there.metrics()) == before
