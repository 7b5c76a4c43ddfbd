"""What a reader may name: the list of settings, limits that only go down, formats, functions."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.warehouse.server.errors import StatementError
from sluice.warehouse.server.person import (
    REFUSED_FUNCTIONS,
    check_format,
    check_structure,
    check_text,
    settings_of_person,
)

BOUNDS = {"max_execution_time": "30", "max_memory_usage": "1000"}


def looked_at(sql: str) -> int:
    return check_text(sql, BOUNDS, REFUSED_FUNCTIONS)


@pytest.mark.parametrize(
    ("name", "given", "in_force"),
    [
        ("max_execution_time", "60", "30"),
        ("max_execution_time", "0.5", "0.5"),
        ("max_memory_usage", "1000", "1000"),
        ("output_format_json_quote_64bit_integers", "0", "0"),
        ("session_timezone", "Europe/Berlin", "Europe/Berlin"),
    ],
)
def test_setting_is_held_to_its_bound_when_a_reader_sends_it(
    name: str, given: str, in_force: str
) -> None:
    """Hole: ``max_memory_usage=0`` in the URL lifted the limit."""
    assert settings_of_person({name: given}, BOUNDS) == {name: in_force}


def test_readonly_changes_nothing_when_a_reader_tightens_it() -> None:
    assert settings_of_person({"readonly": "1"}, BOUNDS) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("readonly", "0"),
        ("max_execution_time", "0"),
        ("max_execution_time", "0.0"),
        ("max_memory_usage", "0.9"),
        ("max_memory_usage", "1e3"),
        ("max_memory_usage", "-1"),
        ("max_memory_usage", "1G"),
        ("format_template_row", "/x"),
        ("format_schema", "/x"),
        ("output_format_schema", "/x"),
        ("send_logs_level", "trace"),
        ("profile", "default"),
        ("FORMAT_SCHEMA", "/x"),
    ],
)
def test_setting_is_refused_when_it_is_not_on_the_list_or_lifts_a_limit(
    name: str, value: str
) -> None:
    """Hole: every setting of a reader's URL was put in force, also those that name files."""
    with pytest.raises(StatementError):
        settings_of_person({name: value}, BOUNDS)


@pytest.mark.parametrize(
    ("sql", "sets"),
    [
        ("SELECT 1", 0),
        ("SELECT 1 SETTINGS final", 1),
        ("SELECT 1 SETTINGS max_threads = 1, max_memory_usage = '10' FORMAT JSON", 1),
        ("SELECT * FROM (SELECT 1 SETTINGS final = 1), t WHERE x = 1 SETTINGS extremes = 1", 2),
        ("SELECT 1 SETTINGS log_comment = 'SETTINGS x = 1' UNION ALL SELECT x, y", 1),
        ("SELECT settings, x FROM t", 0),
        ("SELECT Settings['a'], settings FROM t WHERE settings = 1", 0),
        ("SELECT 'SETTINGS format_schema = 1' -- SETTINGS format_schema = 1", 0),
        ("SELECT template, url, regexp FROM t WHERE a REGEXP 'b'", 0),
    ],
)
def test_text_passes_when_its_settings_are_allowed(sql: str, sets: int) -> None:
    assert looked_at(sql) == sets


@pytest.mark.parametrize("gap", [" ", "\n", " /* , */ ", " -- x\n"])
@pytest.mark.parametrize(
    "clause",
    [
        "SETTINGS_format_schema_=_'/x'",
        "settings_`format_schema`_=_'/x'",
        'SETTINGS_"format_sch\\x65ma"_=_1',
        "SETTINGS_final_,_format_schema_=_'/x'",
        "SETTINGS_final_=_1_,_format_schema_=_'/x'_FORMAT_JSON",
        "SETTINGS_log_comment_=_[_1_,_2_]_,_format_schema_=_1",
        "SETTINGS_send_logs_level_UNION_ALL_SELECT_1",
        "SETTINGS_max_memory_usage",
        "SETTINGS_max_memory_usage_=_0",
        "SETTINGS_max_memory_usage_=_1001",
        "SETTINGS_max_memory_usage_=_1e9",
        "SETTINGS_max_memory_usage_=_'1G'",
        "SETTINGS_max_memory_usage_=_{x:UInt64}",
        "SETTINGS_readonly_=_0",
        "SETTINGS_profile_=_'default'",
        "FORMAT_Template",
        "FORMAT_`Protobuf`",
        ",_format_(_Template_,_'x'_)",
        ",_formatRow_(_'CapnProto'_,_1_)",
        ",_executable_(_'cat'_)",
        ",_`fileCluster`_(_'x'_)",
    ],
)
def test_text_is_refused_when_it_names_what_readers_may_not(clause: str, gap: str) -> None:
    """Hole: SETTINGS, FORMAT and ``format()`` in the text could have the engine read any file."""
    spaced = clause.replace("_", gap)
    for name in ("format_schema", "log_comment", "send_logs_level", "max_memory_usage"):
        spaced = spaced.replace(name.replace("_", gap), name)
    spaced = spaced.replace(f"format{gap}sch", "format_sch")
    for sql in (f"SELECT 1 {spaced}", f"(SELECT 1 {spaced})"):
        with pytest.raises(StatementError):
            looked_at(sql)


@given(st.text(alphabet="setingSETING =,()'1`\n", max_size=60))
def test_text_raises_nothing_but_a_refusal_when_it_is_no_sql_at_all(text: str) -> None:
    with contextlib.suppress(StatementError):
        assert looked_at(f"SELECT 1 SETTINGS {text}") >= 0


@pytest.mark.parametrize("name", ["Template", "TEMPLATEIGNORESPACES", "ProtobufList", "CapnProto"])
def test_format_is_refused_when_it_reads_a_schema(name: str) -> None:
    """Hole: formats with a schema or template open files."""
    with pytest.raises(StatementError):
        check_format(name)


def test_structure_passes_when_it_is_names_and_types() -> None:
    check_structure("id UInt64, `a b` Map(String, Array(Nullable(DateTime64(6, 'UTC'))))")


@pytest.mark.parametrize(
    "structure",
    ["a String DEFAULT file('/x')", "a Int8) ENGINE = Log --", "a Int8; SELECT 1", "a ALIAS x(1)"],
)
def test_structure_is_refused_when_it_is_more_than_names_and_types(structure: str) -> None:
    """Hole: a DEFAULT in the structure of external data could call ``file()``."""
    with pytest.raises(StatementError):
        check_structure(structure)
