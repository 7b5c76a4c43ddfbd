"""Who may do what in the embedded warehouse, what goes on beside what, and what a kill leaves.

One process serves most tests of this file; each test has tables of its own names.
"""

# ruff: noqa: S608 - names of tables are made by the tests

import asyncio
import contextlib
import os
import pty
import signal
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient

from sluice.core.errors import ConfigError
from sluice.settings import load_settings
from sluice.warehouse.server import serve
from tests.support.poll import poll_until
from tests.support.warehouse import (
    reader_url,
    service_url,
    start_warehouse,
    stop_warehouse,
    warehouse_process,
)
from tests.support.warehouse_client import (
    Warehouse,
    bare,
    basic,
    client_of,
    login_of,
    make_table,
    send,
)

ENDLESS = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    data_dir = tmp_path_factory.mktemp("warehouse +%41")
    with warehouse_process(data_dir) as url:
        yield Warehouse(data_dir, url, reader_url(data_dir))


@pytest.fixture
async def client(warehouse: Warehouse) -> AsyncIterator[AsyncClient]:
    async with client_of(warehouse.service) as each:
        yield each


# A person with read access


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO {table} VALUES (1, 'x')",
        "DROP TABLE {table}",
        "ALTER TABLE {table} DELETE WHERE 1",
        "TRUNCATE TABLE {table}",
        "OPTIMIZE TABLE {table}",
        "CREATE TABLE other (a Int8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE other (a Int8) ENGINE = Memory",
        "KILL QUERY WHERE 1",
        "SYSTEM DROP MARK CACHE",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1; DROP TABLE {table}",
        "SELECT 1 INTO OUTFILE '/tmp/x'",
        "SELECT file('/etc/passwd')",
        "SELECT `fi\\x6ce`('/etc/passwd')",
        "SELECT * APPLY(file) FROM (SELECT '/etc/passwd')",
        "SELECT arrayMap(file, ['/etc/passwd'])",
        "DESCRIBE (SELECT file('/etc/passwd'))",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1', 'LineAsString')",
        "SELECT * FROM s3('http://127.0.0.1:1/x', 'CSV')",
        "SELECT * FROM remote('127.0.0.1', 'system.one')",
        "SELECT * FROM Python(x)",
        "SELECT * FROM `/etc/passwd`",
        "SELECT 1 SETTINGS max_memory_usage = 1000000000000",
        "SELECT 1 SETTINGS query_cache_tag = 'x'",
    ],
)
async def test_reader_is_refused_when_it_does_anything_but_read(
    warehouse: Warehouse, client: AsyncClient, query: str
) -> None:
    table = await make_table(client)
    reply = await send(warehouse.reader, query.replace("{table}", table))
    assert reply.status >= 400
    assert b"root:" not in reply.body
    assert (await client.query(f"EXISTS TABLE {table}")).result_rows == [(1,)]


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("SELECT 1 FORMAT Template", {"format_template_row": "{file}"}),
        ("SELECT 1 FORMAT CSV", {"format_template_row": "{file}"}),
        ("SELECT 1 FORMAT Template SETTINGS format_template_row = '{file}'", {}),
        ("SELECT 1 SETTINGS format_template_row = '{file}'", {"default_format": "Template"}),
        ("SELECT 1", {"default_format": "Template"}),
        ("SELECT * FROM format(Template, 'x') SETTINGS `format_template_row` = '{file}'", {}),
        (
            "SELECT * FROM (SELECT * FROM format(concat('Temp', 'late'), 'x String', 'x')"
            " SETTINGS max_threads = 1, /* */ format_template_row = '{file}')",
            {},
        ),
        ("SELECT * FROM format(Protobuf, 'x')", {"format_schema": "{file}:x"}),
        ("SELECT formatRow('CapnProto', 1) SETTINGS format_schema = '{file}:x'", {}),
        ("SELECT 1 FORMAT Protobuf SETTINGS output_format_schema = '{file}.proto'", {}),
        ("SELECT * FROM executable('cat', LineAsString, 'x String')", {}),
        ("SELECT * FROM fileCluster('default', '{file}', 'LineAsString')", {}),
        ("SELECT * FROM filesystem('/')", {}),
        ("SELECT * FROM eval('SELECT 1')", {}),
    ],
)
async def test_reader_sees_no_file_when_a_format_or_source_could_open_it(
    warehouse: Warehouse, query: str, params: dict[str, str]
) -> None:
    """Hole: ``format_template_row`` made the engine read any file and quote it in its error."""
    file = str(warehouse.data_dir / "warehouse.url")
    reply = await send(
        warehouse.reader,
        query.replace("{file}", file),
        params={name: value.replace("{file}", file) for name, value in params.items()},
    )
    assert (reply.status, reply.code) == (403, "497")
    assert (login_of(warehouse.service).password or "-").encode() not in reply.body


ZERO_WIDTH = "\u200b"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT b FROM values('a String, b String ALIAS file(''{file}'')', ('x'))",
        "SELECT b FROM generateRandom('a UInt8, b String ALIAS file(''{file}'')') LIMIT 1",
        "SELECT * FROM format(Values, 'a String', '(file(''{file}''))')",
        "SELECT * APPLY(`fi\\Nle`) FROM (SELECT '{file}' AS x)",
        "SELECT 1 AS explain, getSetting('max_memory_usage') SETTINGS{gap}max_memory_usage=0",
        "SELECT 1 AS explain SETTINGS{gap}query_cache_tag='z'",
        "SELECT 1 AS explain, count() FROM numbers(1) SETTINGS{gap}"
        "additional_table_filters={'numbers':'throwIf(1,file(''{file}''))'}",
        "SELECT * FROM system.processes",
        "SHOW PROCESSLIST",
        "SELECT " + "1," * 40_000 + "1",
    ],
    ids=lambda query: query[:24],
)
async def test_reader_finds_no_way_around_the_look_at_its_text(
    warehouse: Warehouse, query: str
) -> None:
    """Holes: expressions in strings, white space that only the engine skips, endless texts."""
    file = str(warehouse.data_dir / "warehouse.url")
    reply = await send(warehouse.reader, query.replace("{file}", file).replace("{gap}", ZERO_WIDTH))
    assert reply.status >= 400
    assert (login_of(warehouse.service).password or "-").encode() not in reply.body


async def test_external_data_of_a_reader_is_never_run(warehouse: Warehouse) -> None:
    form = aiohttp.FormData()
    form.add_field("t", b"(file('/etc/hosts'))", filename="t")
    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            bare(warehouse.reader),
            params={"query": "SELECT * FROM t", "t_structure": "a String", "t_format": "Values"},
            headers=basic(login_of(warehouse.reader)),
            data=form,
        )
        assert answer.status == 403
        assert b"localhost" not in await answer.read()


@pytest.mark.parametrize("output", ["TabSeparated", "JSON"])
async def test_result_of_a_reader_ends_at_its_bound(warehouse: Warehouse, output: str) -> None:
    """Hole: the engine does not look at ``max_result_bytes`` for every format."""
    query = f"SELECT repeat('x', 1000) FROM numbers(20000) FORMAT {output}"
    reply = await send(warehouse.reader, query, params={"max_result_bytes": "1000000"})
    assert b"Limit for result exceeded" in reply.body
    assert len(reply.body) < 5_000_000


async def test_kernel_keeps_the_warehouse_in_its_folder(warehouse: Warehouse) -> None:
    """Not even the service's account gets at a file outside, whatever its SQL says."""
    for file in ("/etc/hosts", str(warehouse.data_dir / "warehouse.url")):
        reply = await send(warehouse.service, f"SELECT file('{file}')")
        assert reply.status >= 400
        assert b"Permission denied" in reply.body


async def test_files_stay_closed_when_even_the_service_names_one_in_a_setting(
    warehouse: Warehouse,
) -> None:
    """Hole: nothing but the server's own check stood between a setting and any file."""
    file = str(warehouse.data_dir / "warehouse.url")
    reply = await send(warehouse.service, "SELECT 1", params={"format_template_row": file})
    assert reply.code == "452"


@pytest.mark.parametrize(
    "structure", ["a String DEFAULT file('/etc/passwd')", "a String) ENGINE = Log; SELECT (1"]
)
async def test_reader_is_refused_when_external_data_has_more_than_types(
    warehouse: Warehouse, structure: str
) -> None:
    """Hole: a DEFAULT in the structure of external data could call ``file()``, unseen."""
    form = aiohttp.FormData()
    form.add_field("k", b"1\n", filename="k")
    params = {"query": "SELECT * FROM k", "k_structure": structure}
    async with (
        aiohttp.ClientSession(headers=basic(login_of(warehouse.reader))) as session,
        session.post(bare(warehouse.reader), data=form, params=params) as answer,
    ):
        assert (answer.status, "root:" in await answer.text()) == (403, False)


@pytest.mark.parametrize(
    ("setting", "bound"),
    [("max_memory_usage", "99999999999999"), ("max_execution_time", "600")],
)
async def test_reader_stays_under_its_limits_when_it_asks_for_more(
    warehouse: Warehouse, setting: str, bound: str
) -> None:
    """Hole: ``max_memory_usage=0&max_execution_time=0`` lifted a reader's own limits."""
    show = f"SELECT getSetting('{setting}')"
    usual = (await send(warehouse.reader, show)).text
    assert (await send(warehouse.reader, show, params={setting: bound})).text == usual
    assert (await send(warehouse.reader, show, params={setting: "2"})).text == "2\n"
    assert (await send(warehouse.reader, show, params={setting: "0"})).status == 403
    for value in ("0", bound, "0.0001", "1e15", "'1G'"):
        inner = f"SELECT * FROM ({show} SETTINGS {setting} = {value})"
        for query in (f"{show} SETTINGS {setting} = {value}", inner):
            assert (await send(warehouse.reader, query)).status in (400, 403)


async def test_reader_cannot_turn_on_the_log_when_it_sets_its_level(warehouse: Warehouse) -> None:
    """Hole: ``send_logs_level=trace`` made the engine write to the process's stderr."""
    reply = await send(warehouse.reader, "SELECT 1", params={"send_logs_level": "trace"})
    assert (reply.status, reply.code) == (403, "497")


@pytest.mark.parametrize("account", ["service", "reader"])
async def test_mark_of_a_statement_stays_when_a_request_brings_its_own(
    warehouse: Warehouse, account: str
) -> None:
    """Hole: ``query_cache_tag`` replaced the mark by which a running statement is killed."""
    url = getattr(warehouse, account)
    reply = await send(url, "SELECT 1", params={"query_cache_tag": "x"})
    assert (reply.status, reply.code) == (400, "36")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT name FROM system.tables LIMIT 1",
        "EXPLAIN indexes = 1 SELECT 1 SETTINGS max_threads = 1",
        "WITH a AS (SELECT 1 AS x SETTINGS max_threads = 1), b AS (SELECT 2 AS y)"
        " SELECT x, y FROM a, b ORDER BY x, y SETTINGS log_comment = 'a, b' FORMAT JSON",
        "SELECT 'a' REGEXP 'a' SETTINGS max_execution_time = 5 -- seconds",
        "SELECT * FROM numbers(3) AS a LEFT JOIN numbers(2) AS b USING number"
        " SETTINGS join_use_nulls = 1",
        "SELECT 'naïve — “quoted”' AS `größe`",
        "SHOW TABLES",
    ],
)
async def test_reader_is_served_when_settings_are_what_tools_send(
    warehouse: Warehouse, query: str
) -> None:
    """The other side of the list: what Grafana, DBeaver and JDBC send must pass."""
    params = {
        "max_execution_time": "60",
        "readonly": "1",
        "result_overflow_mode": "break",
        "output_format_json_quote_64bit_integers": "1",
        "date_time_input_format": "best_effort",
        "session_timezone": "UTC",
    }
    reply = await send(warehouse.reader, query, params=params)
    assert reply.status == 200, reply.text


async def test_reader_counts_exactly_when_duplicates_are_not_merged_yet(
    warehouse: Warehouse, client: AsyncClient
) -> None:
    table = f"t_{uuid4().hex}"
    await client.command(f"CREATE TABLE {table} (a UInt64) ENGINE = ReplacingMergeTree ORDER BY a")
    await client.command(f"SYSTEM STOP MERGES {table}")
    for _ in range(2):
        await client.command(f"INSERT INTO {table} SELECT number FROM numbers(10)")
    assert (await send(warehouse.reader, f"SELECT count() FROM {table}")).text == "10\n"
    assert (await send(warehouse.service, f"SELECT count() FROM {table}")).text == "20\n"


async def test_reader_works_when_it_uses_clickhouse_connect(warehouse: Warehouse) -> None:
    async with client_of(warehouse.reader) as reader:
        result = await reader.query(
            "SELECT {x:UInt8} AS a, getSetting('readonly')", parameters={"x": 7}
        )
        assert result.result_rows == [(7, 2)]
        tables = await reader.query("SHOW TABLES FROM system LIKE 'one'")
        assert tables.result_rows == [("one",)]


# Lanes


async def test_service_reads_and_inserts_go_on_when_people_run_heavy_queries(
    warehouse: Warehouse, client: AsyncClient
) -> None:
    table = await make_table(client)
    async with asyncio.TaskGroup() as tasks:
        # As many as the lane has threads; each would run until its limit of 20 s.
        heavy = [
            tasks.create_task(send(warehouse.reader, ENDLESS, params={"max_execution_time": "20"}))
            for _ in range(2)
        ]
        await poll_until(lambda: running(client, "max_execution_time"), what="a heavy query")
        for _ in range(5):
            await client.query("SELECT 1")
            await client.insert(table, [[1, "x"]], column_names=["a", "b"])
        assert not any(task.done() for task in heavy)
        for task in heavy:
            task.cancel()
    assert (await client.query(f"SELECT count() FROM {table}")).result_rows == [(5,)]


async def test_reader_is_stopped_when_its_query_takes_too_long(warehouse: Warehouse) -> None:
    reply = await send(warehouse.reader, ENDLESS, params={"max_execution_time": "1"})
    assert (reply.status, reply.code) == (408, "159")


async def running(client: AsyncClient, needle: str) -> bool:
    result = await client.query(
        "SELECT count() FROM system.processes WHERE query LIKE '%1000000000000%'"
        " AND query NOT LIKE '%system.processes%' AND mapContains(Settings, {needle:String})",
        parameters={"needle": needle},
    )
    return bool(result.result_rows[0][0])


async def test_query_is_stopped_when_its_client_hangs_up(
    warehouse: Warehouse, client: AsyncClient
) -> None:
    async def hang_up_once_it_runs() -> None:
        async with asyncio.TaskGroup() as tasks:
            query = tasks.create_task(
                send(warehouse.service, ENDLESS, params={"max_rows_to_group_by": "17"})
            )
            await poll_until(lambda: running(client, "max_rows_to_group_by"), what="the query")
            query.cancel()

    async def is_stopped() -> bool:
        return not await running(client, "max_rows_to_group_by")

    await hang_up_once_it_runs()
    await poll_until(is_stopped, what="the end of the query")


async def test_insert_leaves_nothing_when_its_client_hangs_up_in_the_middle(
    warehouse: Warehouse, client: AsyncClient
) -> None:
    table = await make_table(client)
    is_under_way = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"a":1,"b":"x"}\n' * 1000
        is_under_way.set()
        await asyncio.Event().wait()

    async with aiohttp.ClientSession(headers=basic(login_of(warehouse.service))) as session:

        async def insert() -> None:
            query = f"INSERT INTO {table} FORMAT JSONEachRow"
            url = bare(warehouse.service)
            async with session.post(url, params={"query": query}, data=body()):
                pass

        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(insert())
            await is_under_way.wait()
            task.cancel()
    assert (await client.query(f"SELECT count() FROM {table}")).result_rows == [(0,)]


# The process


def test_everything_acknowledged_is_there_when_the_process_is_killed(tmp_path: Path) -> None:
    async def write(url: str) -> int:
        async with client_of(url) as client:
            await client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
            for n in range(5):
                await client.insert("t", [[n]], column_names=["a"])
        return 5

    async def count(url: str) -> object:
        async with client_of(url) as client:
            return (await client.query("SELECT count() FROM t")).result_rows

    process = start_warehouse(tmp_path)
    first = service_url(tmp_path)
    written = asyncio.run(write(first))
    stop_warehouse(process, with_signal=signal.SIGKILL)
    with warehouse_process(tmp_path) as url:
        assert urlsplit(url).password == urlsplit(first).password
        assert (tmp_path / "warehouse.url").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "warehouse.reader.url").stat().st_mode & 0o777 == 0o600
        assert asyncio.run(count(url)) == [(written,)]


def test_engine_keeps_its_log_to_itself_when_stderr_is_a_terminal(tmp_path: Path) -> None:
    """Hole: on a terminal the engine turned its console log on and wrote hundreds of lines."""

    def drain() -> bytes:
        seen = b""
        with contextlib.suppress(OSError):  # how a terminal ends
            while part := os.read(ours, 65536):
                seen += part
        return seen

    ours, theirs = pty.openpty()
    with ThreadPoolExecutor(1) as reading:
        seen = reading.submit(drain)
        try:
            process = start_warehouse(tmp_path, stderr=theirs)
        finally:
            os.close(theirs)
        try:
            assert asyncio.run(send(service_url(tmp_path), "SELECT 1")).text == "1\n"
        finally:
            stop_warehouse(process)
    os.close(ours)
    assert b"Debug" not in seen.result()
    assert b"Trace" not in seen.result()


async def start_here(data_dir: Path, port: int) -> None:
    settings = load_settings(data_dir=data_dir, warehouse_port=port)
    await serve(settings, asyncio.Event(), lambda _: None)


async def test_start_says_who_is_in_the_way_when_the_folder_is_in_use(warehouse: Warehouse) -> None:
    with pytest.raises(ConfigError, match="open in another process"):
        await start_here(warehouse.data_dir, 0)


def test_start_names_port_and_variable_when_the_port_is_taken(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = urlsplit(warehouse.service).port
    monkeypatch.setenv("SLUICE_WAREHOUSE_PORT", str(port))
    with pytest.raises(RuntimeError, match=f"Port {port} .* SLUICE_WAREHOUSE_PORT"):
        start_warehouse(tmp_path)
