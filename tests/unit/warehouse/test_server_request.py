"""How a request's parameters and headers are sorted, and which are refused."""

from base64 import b64encode

import pytest

from sluice.warehouse.server.errors import StatementError
from sluice.warehouse.server.request import (
    Credentials,
    external_structure,
    is_loopback,
    read_call,
    read_credentials,
)


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "params", "expected"),
    [
        (basic("sluice:a:b"), {}, Credentials("sluice", "a:b")),
        ({"X-ClickHouse-User": "u", "X-ClickHouse-Key": "k"}, {}, Credentials("u", "k")),
        ({}, {"user": "u", "password": "p"}, Credentials("u", "p")),
        ({}, {}, None),
    ],
)
def test_credentials_are_read_when_they_come_in_any_of_three_ways(
    headers: dict[str, str], params: dict[str, str], expected: Credentials | None
) -> None:
    assert read_credentials(headers, params) == expected


@pytest.mark.parametrize(
    ("headers", "params"),
    [
        (basic("u:p"), {"user": "u"}),
        ({"X-ClickHouse-User": "u", **basic("u:p")}, {}),
        ({"Authorization": "Bearer x"}, {}),
        ({"Authorization": "Basic !!!"}, {}),
        ({"Authorization": "Basic /w=="}, {}),
    ],
)
def test_credentials_are_refused_when_they_are_doubled_or_unreadable(
    headers: dict[str, str], params: dict[str, str]
) -> None:
    with pytest.raises(StatementError) as caught:
        read_credentials(headers, params)
    assert (caught.value.code, caught.value.status) == (516, 403)


def test_call_sorts_parameters_when_all_kinds_come_together() -> None:
    pairs = {
        "query": "SELECT 1",
        "database": "d",
        "param_x": "1",
        "max_threads": "2",
        "session_id": "s",
        "wait_end_of_query": "1",
        "compress": "1",
        "enable_http_compression": "1",
        "k_structure": "id UInt64",
        "query_id": "q",
    }
    call = read_call(pairs.items(), {"X-ClickHouse-Format": "JSON"}, tables=["k"])
    assert (call.query, call.database, call.query_id) == ("SELECT 1", "d", "q")
    assert call.parameters == {"x": "1"}
    assert call.settings == {"max_threads": "2"}
    assert call.default_format == "JSON"
    assert call.is_compressed
    assert not call.is_body_compressed
    assert call.wants_http_compression


@pytest.mark.parametrize(
    ("path", "params", "headers", "database"),
    [
        ("/d", {}, {}, "d"),
        ("/d", {"database": "e"}, {}, "e"),
        ("/d", {}, {"X-ClickHouse-Database": "f"}, "f"),
        ("/", {}, {}, ""),
        ("/d/e", {}, {}, ""),
        ("/d`", {}, {}, ""),
    ],
)
def test_call_takes_the_database_from_the_path_when_nothing_else_names_one(
    path: str, params: dict[str, str], headers: dict[str, str], database: str
) -> None:
    """Hole: ``curl $(cat warehouse.url)`` had its ``/sluice`` refused."""
    assert read_call(params.items(), headers, path=path).database == database


@pytest.mark.parametrize("name", ["session_check", "role"])
def test_call_is_refused_when_it_asks_for_what_is_left_out(name: str) -> None:
    with pytest.raises(StatementError) as caught:
        read_call([(name, "1")], {})
    assert caught.value.status == 501


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8123", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("[::1]:8123", True),
        ("evil.example:8123", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_host_is_loopback_when_it_names_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_external_table_has_columns_when_structure_or_types_are_given() -> None:
    assert external_structure("k", {"k_structure": "id UInt64"}) == "id UInt64"
    assert (
        external_structure("k", {"k_types": "UInt64,Tuple(UInt8, String)"})
        == "_1 UInt64, _2 Tuple(UInt8, String)"
    )
    with pytest.raises(StatementError):
        external_structure("k", {})
