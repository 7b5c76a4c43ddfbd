"""The simulated Amplitude as a process, and one project of it for each test."""

import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import pytest

ROOT: Final = Path(__file__).parents[2]
STOPS_WITHIN_S: Final = 10
V2: Final = "/2/httpapi"


@contextmanager
def running_simulator(*options: str) -> Iterator[str]:
    """Run a simulator of one's own and yield its address."""
    command = [sys.executable, "-m", "tests.simulators.amplitude", "--until-eof", *options]
    with subprocess.Popen(  # noqa: S603 - our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready = process.stdout.readline().split()
        assert ready[:1] == ["ready"], ready
        yield ready[1]
        process.stdin.close()
        try:
            assert process.wait(STOPS_WITHIN_S) == 0
        finally:
            process.kill()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return orjson.loads(self.body)


class AmplitudeProject:
    """A key that only this test knows, and what its project took."""

    def __init__(self, url: str, session: aiohttp.ClientSession, api_key: str) -> None:
        self.url = url
        self.session = session
        self.api_key = api_key

    async def set(self, **members: object) -> None:
        """Set state of this project alone."""
        reply = await self.call("POST", "/_sim", data=self._body(members))
        assert reply.status == 200, reply

    async def upload(self, *events: object, path: str = V2, **members: object) -> Reply:
        """Send these events."""
        return await self.call("POST", path, data=self._body({"events": events, **members}))

    async def call(self, method: str, path: str, **options: Any) -> Reply:
        """Send one request; redirects are not followed."""
        async with self.session.request(
            method, self.url + path, allow_redirects=False, **options
        ) as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str, **query: str) -> Reply:
        """Read from the dashboard's half with the project's keys."""
        return await self.call("GET", path, params=query, headers=self.credentials)

    @property
    def credentials(self) -> Mapping[str, str]:
        """The header with the project's keys."""
        return {"Authorization": aiohttp.encode_basic_auth(self.api_key, "secret")}

    async def taken(self) -> Sequence[Mapping[str, Any]]:
        """Return the events taken, in the order taken."""
        reply = await self.call("GET", "/_sim/taken", params={"api_key": self.api_key})
        return [orjson.loads(line) for line in reply.body.splitlines()]

    async def users(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the properties of each user."""
        reply = await self.call("GET", "/_sim/users", params={"api_key": self.api_key})
        users: Mapping[str, Mapping[str, Any]] = reply.json
        return users

    async def counters(self) -> Mapping[str, Any]:
        """Return the counters of this project."""
        counters: Mapping[str, Any] = (await self.call("GET", "/_sim")).json
        shown: Mapping[str, Any] = counters["projects"][self.api_key]
        return shown

    def _body(self, members: Mapping[str, object]) -> bytes:
        return orjson.dumps({"api_key": self.api_key, **members})


@pytest.fixture(scope="session")
def simulator() -> Iterator[str]:
    """The address of a simulator that the tests of one process share."""
    with running_simulator() as url:
        yield url


@pytest.fixture
async def amplitude(simulator: str) -> AsyncIterator[AmplitudeProject]:
    """A project of its own for each test."""
    async with aiohttp.ClientSession() as session:
        project = AmplitudeProject(simulator, session, f"key-{uuid.uuid4().hex}")
        await project.set()
        yield project
