"""A warehouse's clients: clickhouse-connect, and requests by hand."""

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import clickhouse_connect
from clickhouse_connect.driver.asyncclient import AsyncClient


@dataclass(frozen=True)
class Warehouse:
    """A running warehouse: its folder, and the addresses of both accounts."""

    data_dir: Path
    service: str
    reader: str


@dataclass(frozen=True)
class Login:
    """A user and a password."""

    user: str
    password: str


@dataclass(frozen=True)
class Reply:
    """What came back over plain HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """ClickHouse's error number, empty for none."""
        return self.headers.get("X-ClickHouse-Exception-Code", "")

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


@asynccontextmanager
async def client_of(url: str, **options: Any) -> AsyncIterator[AsyncClient]:
    """Connect clickhouse-connect to an address with user, password and database."""
    parts = urlsplit(url)
    client = await clickhouse_connect.get_async_client(
        host=parts.hostname,
        port=parts.port or 0,
        username=parts.username,
        password=parts.password or "",
        database=parts.path.strip("/"),
        **options,
    )
    try:
        yield client
    finally:
        await client.close()


def bare(url: str) -> str:
    """Return an address without user, password and database."""
    return f"http://127.0.0.1:{urlsplit(url).port}/"


def basic(login: Login) -> dict[str, str]:
    """Return the header that logs in."""
    token = b64encode(f"{login.user}:{login.password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def login_of(url: str) -> Login:
    """Return the user and password of an address."""
    parts = urlsplit(url)
    return Login(parts.username or "", parts.password or "")


async def send(
    url: str,
    body: bytes | str | None = None,
    *,
    login: Login | None = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request by hand: POST with a body, GET without; nothing is unpacked."""
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(
            "GET" if body is None else "POST",
            bare(url),
            params=params,
            headers={**basic(login or login_of(url)), **(headers or {})},
            data=body.encode() if isinstance(body, str) else body,
        ) as answer,
    ):
        return Reply(answer.status, answer.headers, await answer.read())


async def make_table(client: AsyncClient, columns: str = "a UInt64, b String") -> str:
    """Create a table with a name of its own and return that."""
    name = f"t_{uuid4().hex}"
    await client.command(f"CREATE TABLE {name} ({columns}) ENGINE = MergeTree ORDER BY tuple()")
    return name
