"""What the server reads out of SQL text, and that quotes and comments do not fool it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.warehouse.server.lexer import tokens
from sluice.warehouse.server.statement import (
    Insert,
    content_type,
    find_insert,
    read_statement,
)


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT 1", "read"),
        ("-- why\n/* not */ select 1", "read"),
        ("(SELECT 1) UNION ALL SELECT 2", "read"),
        ("WITH 1 AS x SELECT x", "read"),
        ("SHOW TABLES", "read"),
        ("INSERT INTO t SELECT 1", "insert"),
        ("CREATE TABLE t (a Int8)", "write"),
        ("ALTER TABLE t DELETE WHERE 1", "write"),
        ("SET max_threads = 1", "session"),
        ("use sluice", "session"),
    ],
)
def test_statement_says_which_kind_it_is_when_comments_and_case_vary(sql: str, kind: str) -> None:
    assert read_statement(sql).kind == kind


@pytest.mark.parametrize(
    ("sql", "output_format"),
    [
        ("SELECT 1 FORMAT JSON", "JSON"),
        ("SELECT 1 format Native;", "Native"),
        ("SELECT 1 FORMAT CSV SETTINGS max_threads = 1", "CSV"),
        ("SELECT 1 FORMAT TSV -- FORMAT JSON", "TSV"),
        ("SELECT ' FORMAT JSON'", None),
        ("SELECT formatRow('CSV', 1)", None),
        ("SELECT * FROM (SELECT 1 FORMAT JSON)", None),
        ("SELECT format FROM t", None),
    ],
)
def test_statement_names_its_format_when_the_clause_stands_at_its_end(
    sql: str, output_format: str | None
) -> None:
    assert read_statement(sql).format == output_format


@pytest.mark.parametrize(
    ("text", "insert"),
    [
        ("INSERT INTO t FORMAT CSV\n1,2", Insert("INSERT INTO t ", "CSV", 25)),
        ("INSERT INTO t (a, b) FORMAT CSV \r\n1", Insert("INSERT INTO t (a, b) ", "CSV", 34)),
        ("INSERT INTO t FORMAT TSV\n\n1", Insert("INSERT INTO t ", "TSV", 25)),
        ("INSERT INTO t VALUES (1)", Insert("INSERT INTO t ", "Values", 20)),
        ("INSERT INTO `my FORMAT` VALUES (1)", Insert("INSERT INTO `my FORMAT` ", "Values", 30)),
        (
            "INSERT INTO t SETTINGS a = 1 FORMAT X y",
            Insert("INSERT INTO t SETTINGS a = 1 ", "X", 38),
        ),
        ("INSERT INTO t SELECT 1 FORMAT CSV", None),
        ("SELECT 1 FORMAT CSV", None),
    ],
)
def test_insert_is_parted_from_its_data_when_it_carries_some(
    text: str, insert: Insert | None
) -> None:
    assert find_insert(text, default_format=None, is_whole=True) == insert


def test_insert_waits_for_more_when_the_format_name_may_be_cut_off() -> None:
    assert find_insert("INSERT INTO t FORMAT JSONEach", default_format=None, is_whole=False) is None


def test_insert_without_format_takes_the_default_when_the_request_names_one() -> None:
    assert find_insert("INSERT INTO t", default_format="CSV", is_whole=True) == Insert(
        "INSERT INTO t", "CSV", 13
    )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT file('x')",
        "SELECT `file`('x')",
        'SELECT "file"(1)',
        "SELECT `fi\\x6ce`('x')",
        "SELECT * APPLY(file) FROM t",
        "SELECT '\\'' , file('x')",
        "SELECT '''' , file('x')",
        "SELECT $$'$$, file('x')",
        "SELECT /* ' */ file('x')",
        "SELECT 1 -- '\n, file('x')",
        "SELECT ‘'’, file('x')",  # noqa: RUF001 - the engine's lexer takes typographic quotes
    ],
)
def test_names_are_found_when_quotes_and_comments_try_to_hide_them(sql: str) -> None:
    assert "file" in {token.identifier for token in tokens(sql)}


@pytest.mark.parametrize("sql", ["SELECT 'file'", "SELECT 1 -- file", "SELECT 'it''s file'"])
def test_names_are_not_found_when_they_stand_in_text_or_comments(sql: str) -> None:
    assert "file" not in {token.identifier for token in tokens(sql)}


@given(st.text(alphabet="ab'`\"\\$- \n/*(“”‘’é;1", max_size=60))  # noqa: RUF001 - quotes
def test_tokens_cover_any_text_in_order_when_it_is_no_sql_at_all(text: str) -> None:
    end = 0
    for token in tokens(text):
        assert token.start >= end
        assert token.text == text[token.start : token.end] != ""
        end = token.end
    assert end <= len(text)


@given(st.binary(max_size=80))
def test_insert_data_is_byte_for_byte_what_was_sent_when_it_is_no_text(data: bytes) -> None:
    text = (b"INSERT INTO t FORMAT RowBinary\n" + data).decode("utf-8", "surrogateescape")
    insert = find_insert(text, default_format=None, is_whole=True)
    assert insert is not None
    assert text[insert.data_at :].encode("utf-8", "surrogateescape") == data


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("JSON", "application/json; charset=UTF-8"),
        ("TabSeparatedWithNames", "text/tab-separated-values; charset=UTF-8"),
        ("CSVWithNames", "text/csv; charset=UTF-8; header=present"),
        ("Native", "application/octet-stream"),
        ("Pretty", "text/plain; charset=UTF-8"),
    ],
)
def test_content_type_is_clickhouses_when_a_format_is_named(name: str, expected: str) -> None:
    assert content_type(name) == expected
