"""The embedded warehouse as its clients see it: clickhouse-connect, curl, JDBC.

One process serves all tests of this file; each test has tables of its own names.
"""

# ruff: noqa: S608 - names of tables are made by the tests

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import lz4.frame
import orjson
import pytest
import zstandard
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData

from sluice.warehouse.server.blocks import BlockDecoder, pack_block
from sluice.warehouse.server.codecs import decoder
from tests.support.warehouse import reader_url, warehouse_process
from tests.support.warehouse_client import (
    Login,
    Warehouse,
    bare,
    client_of,
    login_of,
    make_table,
    send,
)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    data_dir = tmp_path_factory.mktemp("warehouse +%41")
    with warehouse_process(data_dir) as url:
        yield Warehouse(data_dir, url, reader_url(data_dir))


@pytest.fixture
async def client(warehouse: Warehouse) -> AsyncIterator[AsyncClient]:
    async with client_of(warehouse.service) as each:
        yield each


# clickhouse-connect


async def test_client_reads_back_what_it_inserted_when_it_speaks_native(
    client: AsyncClient,
) -> None:
    table = await make_table(
        client, "a UInt64, b String, c DateTime64(6), d LowCardinality(String), e Nullable(Int8)"
    )
    rows = [[1, "é\x00\n", datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "x", None]]
    written = await client.insert(table, rows, column_names=["a", "b", "c", "d", "e"])
    assert written.written_rows == 1
    result = await client.query(
        f"SELECT a, b, c, d, e FROM {table} WHERE a = {{a:UInt64}}", parameters={"a": 1}
    )
    expected = (1, "é\x00\n", datetime(2024, 1, 2, 3, 4, 5, 6), "x", None)  # noqa: DTZ001 - naive UTC
    assert result.result_rows == [expected]


@pytest.mark.parametrize("compression", [None, "zstd", "lz4", "gzip"])
async def test_raw_insert_stores_every_row_when_frames_are_joined(
    client: AsyncClient, compression: str | None
) -> None:
    table = await make_table(client)
    lines = [orjson.dumps({"a": n, "b": "x" * 50, "more": 1}) + b"\n" for n in range(20_000)]
    halves = [b"".join(lines[:10_000]), b"".join(lines[10_000:])]
    pack = {
        None: bytes,
        "zstd": zstandard.compress,
        "lz4": lz4.frame.compress,
        "gzip": gzip.compress,
    }[compression]
    written = await client.raw_insert(
        table,
        ["a", "b"],
        insert_block=b"".join(map(pack, halves)),
        fmt="JSONEachRow",
        compression=compression,
        settings={"input_format_skip_unknown_fields": 1},
    )
    assert written.written_rows == 20_000
    count = await client.query(f"SELECT count(), sum(a) FROM {table}")
    assert count.result_rows == [(20_000, sum(range(20_000)))]


async def test_payload_text_is_kept_byte_for_byte_when_objects_are_read_as_strings(
    client: AsyncClient,
) -> None:
    table = await make_table(client, "payload String")
    payload = (
        '{"b": 1.0,  "a":"\\u00e9 ☃ \'; DROP TABLE x; --", "n": 12345678901234567890123, "a":[ ]}'
    )
    await client.raw_insert(
        table,
        insert_block=b'{"payload":' + payload.encode() + b"}\n",
        fmt="JSONEachRow",
        settings={"input_format_json_read_objects_as_strings": 1},
    )
    assert (await client.query(f"SELECT payload FROM {table}")).result_rows == [(payload,)]


async def test_external_data_finds_keys_when_fifty_thousand_are_sent(client: AsyncClient) -> None:
    table = await make_table(client)
    await client.command(f"INSERT INTO {table} SELECT number, 'x' FROM numbers(100000)")
    keys = b"\n".join(b"%d" % n for n in range(90_000, 140_000))
    data = ExternalData(file_name="keys", data=keys, structure="id UInt64", fmt="TSV")
    data.add_file(file_name="more", data=b"1\tx\n", types=["UInt64", "String"])
    started = time.monotonic()
    result = await client.query(
        f"SELECT count() FROM {table} WHERE a IN (SELECT id FROM keys) OR a IN "
        "(SELECT _1 FROM more) AND b = {b:String}",
        external_data=data,
        parameters={"b": "x"},
    )
    assert result.result_rows == [(10_001,)]
    assert time.monotonic() - started < 3


async def test_parameters_keep_their_bytes_when_they_are_sent_as_a_form(
    client: AsyncClient,
) -> None:
    value = "tab\t quote' back\\slash \n {x:String} é" + "y" * 20_000
    client.form_encode_query_params = True
    result = await client.query("SELECT {value:String}", parameters={"value": value})
    assert result.result_rows == [(value,)]


async def test_client_streams_all_rows_when_the_result_is_large(client: AsyncClient) -> None:
    query = "SELECT number, toString(number) FROM numbers(300000)"
    total = 0
    async with await client.query_row_block_stream(query) as stream:
        async for block in stream:
            total += len(block)
    assert total == 300_000


async def test_client_learns_the_columns_when_it_asks_for_no_rows(client: AsyncClient) -> None:
    result = await client.query("SELECT 1 AS a, 'x' AS b LIMIT 0")
    assert result.column_names == ("a", "b")


async def test_engine_knows_that_merges_give_way_when_it_has_started(client: AsyncClient) -> None:
    # A name that the engine does not know is passed over without a word.
    sql = (
        "SELECT value FROM system.server_settings WHERE name = 'os_threads_nice_value_merge_mutate'"
    )
    assert (await client.query(sql)).result_rows == [("10",)]


async def test_settings_are_in_force_when_a_client_sends_them(client: AsyncClient) -> None:
    result = await client.query(
        "SELECT getSetting('max_block_size')", settings={"max_block_size": 1234}
    )
    assert result.result_rows == [(1234,)]
    later = await client.query("SELECT getSetting('max_block_size')")
    assert later.result_rows != [(1234,)]


@pytest.mark.parametrize(
    ("query", "code", "status"),
    [
        ("SELECT nope", 47, 404),
        ("SELECT * FROM nope", 60, 404),
        ("SELEC 1 FROM", 62, 400),
        ("SELECT throwIf(1)", 395, 500),
        ("SELECT 1; SELECT 2", 62, 400),
        ("SELECT 1 FORMAT Nope", 73, 404),
        ("SELECT * FROM file('/etc/passwd', 'LineAsString')", 497, 403),
        ("SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", 497, 403),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 48, 501),
        ("SET max_threads = 1", 48, 501),
        ("", 62, 400),
    ],
)
async def test_statement_is_refused_as_clickhouse_does_when_it_is_wrong(
    warehouse: Warehouse, query: str, code: int, status: int
) -> None:
    reply = await send(warehouse.service, query)
    assert (reply.code, reply.status) == (str(code), status)
    assert reply.text.startswith(f"Code: {code}. DB::Exception: ")
    assert reply.text.count("DB::Exception") == 1


async def test_client_raises_the_engines_error_when_an_insert_is_malformed(
    client: AsyncClient,
) -> None:
    table = await make_table(client)
    with pytest.raises(DatabaseError, match="27"):
        await client.raw_insert(table, insert_block=b'{"a": 1}\n{"a": x}\n', fmt="JSONEachRow")
    assert (await client.query(f"SELECT count() FROM {table}")).result_rows == [(0,)]


# Plain HTTP


@pytest.mark.parametrize("path", ["/", "/ping", "/replicas_status"])
async def test_probe_is_answered_when_nobody_logs_in(warehouse: Warehouse, path: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(bare(warehouse.service).rstrip("/") + path) as answer,
    ):
        assert (answer.status, await answer.text()) == (200, "Ok.\n")


async def test_curl_shapes_work_when_data_is_in_the_body_and_the_query_anywhere(
    warehouse: Warehouse, client: AsyncClient
) -> None:
    table = await make_table(client)
    inserts = [
        ({"query": f"INSERT INTO {table} FORMAT CSV"}, b'1,"x"\n'),
        ({}, f"INSERT INTO {table} VALUES (2, 'y'), (3, 'z')".encode()),
        ({}, f"INSERT INTO {table} FORMAT TSV\n4\tw\n".encode()),
        ({"query": f"INSERT INTO {table} VALUES"}, b"(5, 'v')"),
    ]
    for params, data in inserts:
        reply = await send(warehouse.service, data, params=params)
        assert (reply.status, reply.body) == (200, b"")
    rows = await send(warehouse.service, f"SELECT a, b FROM {table} ORDER BY a")
    assert rows.body == b"1\tx\n2\ty\n3\tz\n4\tw\n5\tv\n"
    assert rows.headers["X-ClickHouse-Format"] == "TabSeparated"
    assert rows.headers["X-ClickHouse-Timezone"] == "UTC"
    assert orjson.loads(rows.headers["X-ClickHouse-Summary"])["read_rows"] == "5"


async def test_data_of_an_insert_is_found_when_it_begins_late_and_holds_any_text(
    warehouse: Warehouse, client: AsyncClient
) -> None:
    table = await make_table(client)
    text = "é€😀" * 20_000
    row = orjson.dumps({"a": 1, "b": text}) + b"\n"
    # Of a head of 64 KiB the whole statement, a part of it, and one that ends within a character.
    for number, comment in enumerate(("", "é" * 50_000, "x" + "€" * 80_000), start=1):
        statement = f"INSERT INTO {table} /*{comment}*/ FORMAT JSONEachRow\n".encode()
        reply = await send(warehouse.service, statement + row)
        assert (reply.status, reply.body) == (200, b"")
        stored = await send(
            warehouse.service,
            f"SELECT count(), countIf(b = repeat('é€😀', 20000)) FROM {table}",
        )
        assert stored.body == f"{number}\t{number}\n".encode()


@pytest.mark.parametrize("account", ["service", "reader"])
async def test_curl_reaches_the_database_when_it_is_given_the_whole_address(
    warehouse: Warehouse, account: str
) -> None:
    """Hole: the path of an address file's own URL, ``/sluice``, was answered with 404."""
    url = getattr(warehouse, account)  # as in: curl "$(cat warehouse.reader.url)" -d "select ..."
    sql = "SELECT currentDatabase()"
    async with aiohttp.ClientSession() as session:
        for address, database in ((url, "sluice"), (f"{url}?database=system", "system")):
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            async with session.post(address, data=sql, headers=form) as answer:
                assert (answer.status, await answer.text()) == (200, f"{database}\n")
        async with session.get(url, params={"query": sql}) as answer:
            assert await answer.text() == "sluice\n"
        async with session.head(url, params={"query": sql}) as answer:
            assert answer.status == 200
        for path in ("/nowhere", "/sluice/x", "/sluice/", "/a-b", ""):
            address = url.removesuffix("/sluice") + (path or "/sluice")
            async with session.get(address, params={"query": sql} if path else {}) as answer:
                assert answer.status == 404


async def test_get_reads_but_does_not_write_when_a_query_is_in_the_address(
    warehouse: Warehouse, client: AsyncClient
) -> None:
    table = await make_table(client)
    params = {"query": f"SELECT toUInt8(count()) c FROM {table}", "default_format": "JSON"}
    read = await send(warehouse.service, params=params)
    assert orjson.loads(read.body)["data"] == [{"c": 0}]
    assert read.headers["Content-Type"] == "application/json; charset=UTF-8"
    for query in (f"INSERT INTO {table} VALUES (1, 'x')", f"DROP TABLE {table}"):
        assert (await send(warehouse.service, params={"query": query})).code == "164"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "lz4"])
async def test_result_is_packed_when_the_client_accepts_it(
    warehouse: Warehouse, encoding: str
) -> None:
    reply = await send(
        warehouse.service,
        "SELECT number FROM numbers(200000)",
        params={"enable_http_compression": "1"},
        headers={"Accept-Encoding": encoding},
    )
    assert reply.headers["Content-Encoding"] == encoding
    assert decoder(encoding).feed(reply.body).count(b"\n") == 200_000


async def test_jdbc_blocks_work_both_ways_when_it_asks_for_them(
    warehouse: Warehouse, client: AsyncClient
) -> None:
    table = await make_table(client)
    written = await send(
        warehouse.service,
        pack_block(b"10\tq\n") + pack_block(b"11\tr\n"),
        params={"decompress": "1", "query": f"INSERT INTO {table} FORMAT TSV"},
    )
    assert written.status == 200
    read = await send(
        warehouse.service, f"SELECT a FROM {table} ORDER BY a", params={"compress": "1"}
    )
    assert BlockDecoder().feed(read.body) == b"10\n11\n"
    wrong = await send(warehouse.service, "SELECT nope", params={"compress": "1"})
    assert BlockDecoder().feed(wrong.body).startswith(b"Code: 47.")


async def test_blocks_have_the_engines_checksum_when_the_engine_wrote_them(
    warehouse: Warehouse, client: AsyncClient
) -> None:
    table = await make_table(client)
    await client.command(
        f"INSERT INTO {table} SELECT number, randomPrintableASCII(30) FROM numbers(5000)"
    )
    path = await client.command(
        f"SELECT path FROM system.parts WHERE active AND table = '{table}' LIMIT 1"
    )

    def read_files() -> list[bytes]:
        return [file.read_bytes() for file in Path(str(path)).glob("*.bin")]

    files = await asyncio.to_thread(read_files)
    assert files
    for data in files:
        assert BlockDecoder().feed(data)


async def test_error_is_appended_when_it_comes_in_the_middle_of_a_result(
    warehouse: Warehouse,
) -> None:
    reply = await send(
        warehouse.service,
        "SELECT throwIf(number = 900000) FROM numbers(1000000) SETTINGS max_block_size = 1000",
    )
    assert reply.status == 200
    assert reply.body.startswith(b"0\n0\n")
    assert reply.body.endswith(b"(version " + reply.body.rsplit(b"(version ", 1)[1])
    assert b"Code: 395. DB::Exception: " in reply.body[-600:]


@pytest.mark.parametrize(
    "params",
    [
        {"max_threads = 1, readonly": "0"},
        {"a'b": "1"},
        {"max_threads`": "1"},
        {"no_such_setting": "1"},
        {"max_threads": "1' , readonly = '0"},
    ],
)
async def test_setting_is_refused_when_its_name_or_value_is_an_attack(
    warehouse: Warehouse, params: dict[str, str]
) -> None:
    reply = await send(warehouse.reader, "SELECT getSetting('readonly')", params=params)
    assert reply.status in (400, 403, 404)


async def test_setting_text_stays_text_when_it_has_quotes_in_it(warehouse: Warehouse) -> None:
    value = "a', readonly = '0' -- \\"
    reply = await send(
        warehouse.service,
        "SELECT getSetting('log_comment') FORMAT TSVRaw",
        params={"log_comment": value},
    )
    assert reply.text == value + "\n"


async def test_login_fails_as_in_clickhouse_when_the_password_is_wrong(
    warehouse: Warehouse,
) -> None:
    for user in ("sluice", "reader", "default", "nobody"):
        login = Login(user, "wrong")
        reply = await send(warehouse.service, "SELECT 1", login=login)
        assert (reply.status, reply.code) == (403, "516")
        assert "(AUTHENTICATION_FAILED)" in reply.text
    async with (
        aiohttp.ClientSession() as session,
        session.get(bare(warehouse.service), params={"query": "SELECT 1"}) as answer,
    ):
        assert answer.status == 401


async def test_login_works_in_every_way_when_the_password_is_right(warehouse: Warehouse) -> None:
    login = login_of(warehouse.service)
    ways: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"user": login.user, "password": login.password}, {}),
        ({}, {"X-ClickHouse-User": login.user, "X-ClickHouse-Key": login.password}),
    ]
    async with aiohttp.ClientSession() as session:
        for params, headers in ways:
            async with session.post(
                bare(warehouse.service), data=b"SELECT 1", params=params, headers=headers
            ) as answer:
                assert await answer.text() == "1\n"


async def test_request_is_misdirected_when_its_host_is_another_machine(
    warehouse: Warehouse,
) -> None:
    reply = await send(warehouse.service, "SELECT 1", headers={"Host": "evil.example"})
    assert reply.status == 421
