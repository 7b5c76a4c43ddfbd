"""The one way to ClickHouse: inserts, reads and commands over HTTP.

Alone imports ``clickhouse_connect`` and translates its exceptions; it is imported in a thread, with
the first connection, because a gateway answers before it needs the warehouse. Inserts, reads and
long statements have a connection pool each, so that none waits for another. Nothing is retried
here: who calls decides. After a failure the address is read again, because the embedded warehouse
may have come back with another port or password.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from urllib.parse import unquote, urlsplit

from sluice.core.errors import WarehouseError, WarehouseUnavailableError
from sluice.no_answer import network_reason
from sluice.settings import Settings
from sluice.tracing.spans import calling
from sluice.warehouse.queries import Query
from sluice.warehouse.topology import (
    Topology,
    catching_up,
    insert_settings,
    is_mutation,
    mutation_settings,
    on_cluster,
    read_settings,
    topology_of,
)

if TYPE_CHECKING:
    from clickhouse_connect.driver.asyncclient import AsyncClient
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from clickhouse_connect.driver.external import ExternalData

Lane = Literal["insert", "read", "upkeep"]

CONNECT_TIMEOUT_S: Final = 3.0
TIMEOUTS_S: Final[Mapping[Lane, float]] = {"insert": 30.0, "read": 8.0, "upkeep": 120.0}
"""How long one statement of a lane may take in all."""

UNKNOWN_DATABASE: Final = 81
AWAY: Final = frozenset(
    {
        *(74, 75, 76, 88, 243),  # the server's disk: cannot read, write, open, create; full
        *(159, 160, 394),  # time-outs of the server, cancelled
        *(164, 242),  # read-only
        *(173, 241, 439),  # memory, threads
        *(198, 209, 210, 236, 279),  # network, aborted while shutting down
        *(201, 202, 252, 745),  # quota, too many queries or parts, overloaded
        *(225, 285, 286, 319, 999),  # replication
        *(192, 193, 194, 516),  # users: the embedded warehouse may have a new password
    }
)
"""Error codes of ClickHouse that say nothing against the statement: it may succeed later."""

INSERT_SETTINGS: Final[Mapping[str, Any]] = {
    "async_insert": 0,
    "wait_end_of_query": 1,
    "send_progress_in_http_headers": 0,
    "input_format_json_read_objects_as_strings": 1,
    "input_format_skip_unknown_fields": 0,
    "input_format_parallel_parsing": 0,
    "optimize_on_insert": 0,
    "date_time_input_format": "basic",
}
"""Measured: the three last save a third of an insert's processor time.

``wait_end_of_query``: an error that comes late must still be the status of the answer."""

_TRACED_INSERT: Final = {"db.system.name": "clickhouse", "db.operation.name": "INSERT"}


_ENGINE: Final = "SELECT engine FROM system.databases WHERE name = currentDatabase()"


@dataclass(frozen=True, slots=True, kw_only=True)
class External:
    """A table that travels with one query, in tab-separated form."""

    name: str
    structure: str
    """Such as ``tenant String, event_id UUID``."""
    data: bytes


def warehouse_url(settings: Settings) -> str:
    """Return the address with user and password; read it anew after a failure.

    Raises:
        WarehouseUnavailableError: The embedded warehouse has not written its address yet.
    """
    given = settings.warehouse_url.get_secret_value()
    if given:
        return given
    try:
        return Path(settings.warehouse_url_file).read_text().strip()
    except OSError as error:
        message = "the embedded warehouse has not started yet: it has not written its address"
        raise WarehouseUnavailableError(message) from error


def address_of(url: str) -> str:
    """Return the part of a warehouse's address that may be shown: without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port}"


class Warehouse:
    """ClickHouse, wherever it is; connects when first used.

    Args:
        settings: Where it is.
        makes_database: False for who only looks: a missing database is then a ``WarehouseError``.
        sees_all: Whether reads see all that was confirmed before, also where ClickHouse has several
            servers. False for who can bear to be a moment late, and may only read.
    """

    def __init__(
        self, settings: Settings, *, makes_database: bool = True, sees_all: bool = True
    ) -> None:
        self._settings = settings
        self._makes_database = makes_database
        self._sees_all = sees_all
        self._topology: Topology | None = None
        self._clients: dict[Lane, AsyncClient] = {}
        self._url = ""
        self._is_doubtful = True
        self._lock = asyncio.Lock()

    @property
    def is_embedded(self) -> bool:
        """Whether the warehouse is our own process, whose tables must fsync."""
        return not self._settings.warehouse_url.get_secret_value()

    @property
    def cluster(self) -> str:
        """The cluster on which tables are made; empty where there is none."""
        return self._settings.warehouse_cluster

    async def topology(self) -> Topology:
        """Return how many servers ClickHouse has; asked once.

        Raises:
            WarehouseError, WarehouseUnavailableError: As ``insert_rows``.
        """
        async with self._use("read") as client:
            return await self._topology_of(client)

    async def __aenter__(self) -> Self:
        """Connect to nothing yet."""
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Close all connections."""
        await self._close()

    async def insert_rows(
        self,
        table: str,
        frames: bytes,
        *,
        columns: Sequence[str] | None = None,
    ) -> None:
        """Insert rows, all or none.

        Args:
            table: A table of ours, never text from outside.
            frames: NDJSON as one or more zstd frames.
            columns: The columns that the rows have; None means all.

        Raises:
            WarehouseError: ClickHouse refused it; ``code`` says why.
            WarehouseUnavailableError: It did not answer; the rows may or may not be there.
        """
        said = {**_TRACED_INSERT, "db.collection.name": table}
        with calling(f"INSERT {table}", said) as call:
            async with self._use("insert") as client:
                settings = {**INSERT_SETTINGS, **insert_settings(await self._topology_of(client))}
                await client.raw_insert(
                    table,
                    column_names=columns,
                    insert_block=frames,
                    settings=settings,
                    fmt="JSONEachRow",
                    compression="zstd",
                    transport_settings=dict(call.headers),
                )

    async def fetch(
        self, query: Query, *, external: External | None = None, **params: object
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT; parameters are bound by ClickHouse.

        Raises:
            WarehouseError, WarehouseUnavailableError: As ``insert_rows``.
        """
        async with self._use("read") as client:
            settings = await self._see_all(client, query.sql)
            result = await client.query(
                query.sql,
                parameters=params,
                settings=settings,
                external_data=_sent(external) if external else None,
            )
            return [tuple(row) for row in result.result_rows]

    async def stream(
        self, query: Query, *, fmt: str, **params: object
    ) -> AsyncGenerator[bytes, None]:
        """Yield the answer of a SELECT in pieces as they come.

        Raises:
            WarehouseError, WarehouseUnavailableError: As ``insert_rows``; also in the middle.
        """
        async with self._use("upkeep") as client:
            settings = await self._see_all(client, query.sql)
            async with await client.raw_stream(
                query.sql, parameters=params or None, settings=settings, fmt=fmt
            ) as pieces:
                async for piece in pieces:
                    yield piece

    async def run(self, query: Query, **params: object) -> None:
        """Run a long statement that answers nothing.

        Raises:
            WarehouseError, WarehouseUnavailableError: As ``insert_rows``.
        """
        async with self._use("upkeep") as client:
            topology = await self._topology_of(client)
            more = mutation_settings if is_mutation(query.sql) else insert_settings
            settings = {
                "wait_end_of_query": 1,
                **more(topology),
                **await self._see_all(client, query.sql),
            }
            await client.command(query.sql, parameters=params, settings=settings)

    async def command(self, sql: str) -> None:
        """Run a statement of ours that answers nothing, such as CREATE TABLE.

        Raises:
            WarehouseError, WarehouseUnavailableError: As ``insert_rows``.
        """
        async with self._use("upkeep") as client:
            await client.command(sql, settings={"wait_end_of_query": 1})

    async def ping(self) -> None:
        """Ask for an answer.

        Raises:
            WarehouseError, WarehouseUnavailableError: As ``insert_rows``.
        """
        async with self._use("read") as client:
            await client.command("SELECT 1")

    async def _see_all(self, client: "AsyncClient", sql: str) -> dict[str, Any]:
        """Let the server catch up with the others, and return the settings of a read."""
        if not self._sees_all:
            return {}
        topology = await self._topology_of(client)
        for statement in catching_up(sql, topology, self.cluster):
            await client.command(statement)
        return dict(read_settings(topology))

    async def _topology_of(self, client: "AsyncClient") -> Topology:
        if self._topology is None:
            engine = "" if self.is_embedded or self.cluster else await client.command(_ENGINE)
            self._topology = topology_of(str(engine), self.cluster)
        return self._topology

    @asynccontextmanager
    async def _use(self, lane: Lane) -> AsyncIterator["AsyncClient"]:
        try:
            async with asyncio.timeout(TIMEOUTS_S[lane]):
                yield await self._client(lane)
        except _failed() as error:
            self._is_doubtful = True
            raise _translated(error, self._url) from error
        except (TimeoutError, OSError) as error:
            self._is_doubtful = True
            raise WarehouseUnavailableError(_unanswered(error, self._url)) from error

    async def _client(self, lane: Lane) -> "AsyncClient":
        async with self._lock:
            if self._is_doubtful:
                url = warehouse_url(self._settings)
                if url != self._url:
                    await self._close()
                    self._url = url
                    self._topology = None
                self._is_doubtful = False
            client = self._clients.get(lane)
            if client is None:
                client = self._clients[lane] = await self._connected(lane)
            return client

    async def _connected(self, lane: Lane) -> "AsyncClient":
        database = urlsplit(self._url).path.strip("/") or "default"
        try:
            return await self._connect(lane, database)
        except _failed() as error:
            if getattr(error, "code", None) != UNKNOWN_DATABASE or not self._makes_database:
                raise
        # The first process that comes makes the database.
        client = await self._connect(lane, None)
        try:
            everywhere = on_cluster(self.cluster)
            await client.command(f"CREATE DATABASE IF NOT EXISTS `{database}`{everywhere}")
        finally:
            await client.close()
        return await self._connect(lane, database)

    async def _connect(self, lane: Lane, database: str | None) -> "AsyncClient":
        parts = urlsplit(self._url)
        driver = await asyncio.to_thread(import_module, "clickhouse_connect")
        client: AsyncClient = await driver.get_async_client(
            host=parts.hostname,
            port=parts.port,
            username=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            database=database,
            secure=parts.scheme == "https",
            **_tls(self._settings, has_password=bool(parts.password)),
            compress=not self.is_embedded,
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=TIMEOUTS_S[lane],
            query_retries=0,
            client_name=f"sluice-{lane}",
            connector_limit=4,
        )
        return client

    async def _close(self) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()


def _tls(settings: Settings, *, has_password: bool) -> dict[str, Any]:
    """Return how the connection is secured; a server is always verified."""
    files = {
        "ca_cert": settings.warehouse_ca_file,
        "client_cert": settings.warehouse_cert_file,
        "client_cert_key": settings.warehouse_key_file,
    }
    given: dict[str, Any] = {name: str(path) for name, path in files.items() if path is not None}
    if "client_cert" in given:  # as what logs in, or only as what the server asks to see
        given["tls_mode"] = "strict" if has_password else "mutual"
    return given


def _failed() -> "type[ClickHouseError]":
    """Return what the driver raises; asked only where something was raised."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    return ClickHouseError


def _sent(external: External) -> "ExternalData":
    from clickhouse_connect.driver.external import ExternalData

    return ExternalData(
        file_name=external.name, data=external.data, fmt="TSV", structure=external.structure
    )


def _translated(error: "ClickHouseError", url: str) -> WarehouseError:
    from clickhouse_connect.driver.exceptions import OperationalError

    code = getattr(error, "code", None) or 0
    if code in AWAY or isinstance(error, OperationalError) or not code:
        return WarehouseUnavailableError(_unanswered(error, url, code=code), code=code)
    return WarehouseError(f"the warehouse refused the statement: {error}", code=code)


def _unanswered(error: Exception, url: str, *, code: int = 0) -> str:
    """Return where the warehouse was asked and why it did not answer; without library's words."""
    reason = "" if code else network_reason(error)
    if reason and url:
        return f"the warehouse did not answer at {address_of(url)} ({reason})"
    return f"the warehouse did not answer: {reason or str(error) or type(error).__name__}"
