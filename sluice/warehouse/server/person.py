"""What a person's request may name: settings, formats, functions.

A setting can name a file for the engine to read (``format_template_row``), send its log to
standard error or lift a limit, so people have a list of those they may set. Whatever is not on it
is refused, in the URL as in the ``SETTINGS`` clauses of the text. Functions that read outside the
warehouse, or run text that nobody has looked at, are refused by their names.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Final

from sluice.warehouse.server.errors import StatementError, bad_argument
from sluice.warehouse.server.lexer import Token, tokens

BOUNDED: Final = frozenset(
    ("max_threads", "max_execution_time", "max_memory_usage", "max_result_bytes")
)
"""Settings that may be lowered but not raised, nor switched off with 0."""

ALLOWED: Final = BOUNDED | frozenset(
    (
        "allow_experimental_dynamic_type",
        "allow_experimental_json_type",
        "allow_experimental_variant_type",
        "async_insert",
        "cast_string_to_dynamic_use_inference",
        "count_distinct_implementation",
        "distributed_product_mode",
        "enable_dynamic_type",
        "enable_json_type",
        "enable_variant_type",
        "empty_result_for_aggregation_by_empty_set",
        "enable_http_compression",
        "extremes",
        "final",
        "group_by_overflow_mode",
        "group_by_use_nulls",
        "http_headers_progress_interval_ms",
        "http_zlib_compression_level",
        "input_format_binary_read_json_as_string",
        "join_algorithm",
        "join_use_nulls",
        "limit",
        "log_comment",
        "log_queries",
        "low_cardinality_allow_in_native_format",
        "max_block_size",
        "max_bytes_to_read",
        "max_query_size",
        "max_result_rows",
        "max_rows_to_group_by",
        "max_rows_to_read",
        "max_rows_to_sort",
        "offset",
        "optimize_aggregation_in_order",
        "optimize_move_to_prewhere",
        "optimize_read_in_order",
        "prefer_column_name_to_alias",
        "preferred_block_size_bytes",
        "read_overflow_mode",
        "result_overflow_mode",
        "send_progress_in_http_headers",
        "session_timezone",
        "sort_overflow_mode",
        "transform_null_in",
        "union_default_mode",
        "use_uncompressed_cache",
        "use_variant_as_common_type",
        "wait_end_of_query",
        "wait_for_async_insert",
        "output_format_always_quote_identifiers",
        "output_format_enable_streaming",
        "output_format_parallel_formatting",
        "output_format_write_statistics",
    )
)
"""What clickhouse-connect, Grafana, DBeaver and JDBC send, and tuning that harms nobody else."""

ALLOWED_PREFIXES: Final = (
    "date_time_",
    "output_format_arrow_",
    "output_format_binary_",
    "output_format_csv_",
    "output_format_decimal_",
    "output_format_float_",
    "output_format_json_",
    "output_format_markdown_",
    "output_format_msgpack_",
    "output_format_native_",
    "output_format_orc_",
    "output_format_parquet_",
    "output_format_pretty_",
    "output_format_trim_",
    "output_format_tsv_",
    "output_format_values_",
)
"""Beginnings of allowed names; ``output_format_schema`` writes a file and is not among them."""

ALLOWED_TABLE_FUNCTIONS: Final = frozenset(
    [
        "generateseries",
        "generate_series",
        "null",
        "numbers",
        "numbers_mt",
        "primes",
        "sqlstandardvalues",
        "view",
        "viewifpermitted",
        "zeros",
        "zeros_mt",
    ]
)
"""Table functions that read nothing but the warehouse, in lower case. Those that take columns as
text (``values``, ``format``) are not among them: such a text may hold expressions."""

REFUSED_FUNCTIONS: Final = frozenset(
    [
        "catboostevaluate",
        "dictionary",
        "eval",
        "executable",
        "executablepool",
        "file",
        "filecluster",
        "filesystem",
        "fuzzquery",
        "library",
        "python",
        "url",
        "urlcluster",
        "viewexplain",
    ]
)
"""Refused in any case, in lower case; the engine's list of table functions adds to them."""

REFUSED_NAMES: Final = frozenset(("file", "python", "processes", "processlist", "query_log"))
"""Refused wherever they stand: functions that read outside the warehouse also work without
parentheses (``APPLY(file)``), and what others ask is nobody's business."""

REFUSED_FORMATS: Final = frozenset(
    [
        "template",
        "templateignorespaces",
        "protobuf",
        "protobufsingle",
        "protobuflist",
        "capnproto",
        "regexp",
        "avroconfluent",
        "dwarf",
    ]
)
"""Formats that need a schema or template from a file or another server, in lower case."""

EXTERNAL_FORMATS: Final = (
    "arrow",
    "csv",
    "json",
    "native",
    "ndjson",
    "parquet",
    "rowbinary",
    "tabseparated",
    "tsv",
)
"""How the formats begin that external data may have, in lower case: no expression is read there."""
DEFAULTS: Final = {"input_format_values_interpret_expressions": "0"}
"""In force for people beside the lane's own."""
MAX_TEXT_CHARS: Final = 65_536
"""Longer statements of people are refused before anybody looks into them."""

_FORMAT_FUNCTIONS: Final = frozenset(("format", "formatrow", "formatrownonewline"))
_READONLY_VALUES: Final = frozenset(("1", "2"))
_NUMBER: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,9})?")
_GIVEN: Final = re.compile(
    rf"\s*=\s*(?P<quote>'?)(?P<number>{_NUMBER.pattern})(?P=quote)(?![\w.])\s*"
    r"(?=[,;)#]|--|/\*|\Z|[A-Za-z])"
)
_AFTER_BARE_NAME: Final = frozenset(
    ("=", ",", ")", ";", ".", "FORMAT", "INTO", "UNION", "EXCEPT", "INTERSECT", "SETTINGS")
)
_CLAUSE_ENDS: Final = frozenset((";", "FORMAT", "INTO", "UNION", "EXCEPT", "INTERSECT", "SETTINGS"))
_NOT_IN_STRUCTURE: Final = frozenset(
    [
        "DEFAULT",
        "MATERIALIZED",
        "ALIAS",
        "EPHEMERAL",
        "ENGINE",
        "SETTINGS",
        "TTL",
        "CONSTRAINT",
        "INDEX",
        "PROJECTION",
        "AS",
        "SELECT",
    ]
)


def denied(what: str) -> StatementError:
    """Return ClickHouse's ACCESS_DENIED for something that a reader may not do."""
    return StatementError(497, "ACCESS_DENIED", f"reader: Not enough privileges to {what}")


def read_only() -> StatementError:
    """Return ClickHouse's READONLY for a statement of a reader that does not read."""
    return StatementError(164, "READONLY", "reader: Cannot execute query in readonly mode")


def settings_of_person(settings: Mapping[str, str], bounds: Mapping[str, str]) -> dict[str, str]:
    """Return a request's settings as they may be put in force, limits held to ``bounds``.

    Raises:
        StatementError: A setting is not allowed, or a limit is switched off or no number.
    """
    allowed: dict[str, str] = {}
    for name, value in settings.items():
        if name == "readonly":
            if value not in _READONLY_VALUES:
                raise denied("lift the setting readonly")
            continue  # it is in force already
        _check_name(name)
        if name in BOUNDED:
            allowed[name] = _clamped(name, value, bounds.get(name))
        else:
            allowed[name] = value
    return allowed


def _check_name(name: str) -> None:
    if name not in ALLOWED and not name.startswith(ALLOWED_PREFIXES):
        raise denied(f"set {name}: people may set only what tunes or formats their own query")


def _clamped(name: str, value: str, bound: str | None) -> str:
    if _NUMBER.fullmatch(value) is None:
        raise bad_argument(f"The setting {name} must be a plain number")
    # The engine would cut off what is below, and take the 0 that is left for no limit at all.
    if float(value) < (0.001 if name == "max_execution_time" else 1):
        raise denied(f"switch off the limit {name}")
    return value if bound is None or float(value) <= float(bound) else bound


def check_text(sql: str, bounds: Mapping[str, str], functions: Collection[str]) -> int:
    """Look at the names in a person's statement before the engine sees any of it.

    Args:
        sql: One statement.
        bounds: The most that limits may be set to.
        functions: Functions that people may not call, in lower case.

    Returns:
        How many sets of settings the engine's parser may find: the ``SETTINGS`` clauses, all of
        them looked at, and the options that ``EXPLAIN`` takes.

    Raises:
        StatementError: A setting, a format or a function is not allowed.
    """
    check_size(sql)
    found = list(tokens(sql))
    for token in found:
        _check_plain(token)
    check_names(token.identifier for token in found)
    for token, follower in pairwise(found):
        if follower.text == "(":
            check_calls([token.identifier], functions)
    _check_formats(found)
    clauses = [index + 1 for index in range(len(found)) if _is_clause(found, index)]
    for begin in clauses:
        for name in _set_names(found, begin):
            _check_name(name.identifier)
            if name.identifier in BOUNDED:
                _check_bound(sql, name, bounds)
    explained = [
        token
        for token, before in zip(found, [None, *found], strict=False)
        if token.upper == "EXPLAIN" and (before is None or before.text == "(")
    ]
    return len(clauses) + len(explained)


def check_size(sql: str) -> None:
    """Refuse a text that is too long to be looked through."""
    if len(sql) > MAX_TEXT_CHARS:
        message = f"The query has {len(sql)} characters; people may send {MAX_TEXT_CHARS}"
        raise StatementError(66, "QUERY_IS_TOO_LARGE", message)


def _check_plain(token: Token) -> None:
    """Refuse what the engine may read in another way than the lexer here."""
    if token.kind in ("word", "other") and not token.text.isascii():
        raise denied("use characters outside of ASCII but in quotes")
    if token.kind == "quoted" and "\\" in token.text:
        raise denied("escape characters in a name")


def check_names(names: Iterable[str]) -> None:
    """Refuse names that people may use nowhere."""
    for name in names:
        if name.lower() in REFUSED_NAMES:
            raise denied(f"use the name {name}")


def check_calls(names: Iterable[str], functions: Collection[str]) -> None:
    """Refuse calls of functions that reach outside the warehouse."""
    for name in names:
        if name.lower() in functions:
            raise denied(f"use the name {name}: people may not call it")


def check_format(name: str | None) -> None:
    """Refuse formats that read files or ask other servers."""
    if name is not None and name.lower() in REFUSED_FORMATS:
        raise denied(f"use the format {name}: it reads a schema from a file")


def check_external_format(name: str) -> None:
    """Refuse formats of external data in which the engine would run expressions."""
    if not name.lower().startswith(EXTERNAL_FORMATS):
        raise denied(f"send external data as {name}: use CSV, TabSeparated, JSONEachRow or Parquet")


def check_structure(structure: str) -> None:
    """Refuse columns of an external table that are more than names and types."""
    depth = 0
    for token in tokens(structure):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth < 0 or token.text == ";" or token.upper in _NOT_IN_STRUCTURE:
            raise denied("send external data with more than names and types of columns")


def _check_formats(found: list[Token]) -> None:
    for index, token in enumerate(found[:-1]):
        name = token.identifier.lower()
        follower = found[index + 1]
        if name == "format":
            check_format(follower.identifier)
        if name in _FORMAT_FUNCTIONS and follower.text == "(" and index + 2 < len(found):
            argument = found[index + 2]
            is_text = argument.kind == "string"
            check_format(argument.text.strip("'") if is_text else argument.identifier)


def _is_clause(found: list[Token], index: int) -> bool:
    """Return whether the word SETTINGS here is the clause and not somebody's column."""
    if found[index].upper != "SETTINGS" or index + 1 >= len(found):
        return False
    if not found[index + 1].identifier:
        return False
    return index + 2 >= len(found) or _mark(found[index + 2]) in _AFTER_BARE_NAME


def _mark(token: Token) -> str:
    return token.upper or token.text


def _set_names(found: list[Token], begin: int) -> Iterator[Token]:
    depth, is_next = 0, True
    for token in found[begin:]:
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token.text, 0)
        if depth < 0 or (depth == 0 and not is_next and _mark(token) in _CLAUSE_ENDS):
            return
        if is_next:
            yield token
        is_next = depth == 0 and token.text == ","


def _check_bound(sql: str, name: Token, bounds: Mapping[str, str]) -> None:
    given = _GIVEN.match(sql, name.end)
    if given is None:
        raise bad_argument(f"The setting {name.identifier} must be a plain number")
    bound = bounds.get(name.identifier)
    if _clamped(name.identifier, given["number"], bound) != given["number"]:
        raise denied(f"set {name.identifier} above {bound}")
