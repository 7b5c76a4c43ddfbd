"""chDB: the engine of this process, and a connection of its own for each statement.

A connection runs one statement at a time but costs under a millisecond to open, so each statement
gets a fresh one: settings, temporary tables and the current database end with it, and statements on
different connections run side by side. Nothing here may run on the event loop.
"""

import contextlib
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote
from uuid import uuid4

from sluice.core.errors import ConfigError
from sluice.warehouse.server.config import budget_of_machine, write_config
from sluice.warehouse.server.errors import (
    StatementError,
    bad_argument,
    not_supported,
    parse_engine_error,
)
from sluice.warehouse.server.person import (
    ALLOWED_TABLE_FUNCTIONS,
    BOUNDED,
    DEFAULTS,
    REFUSED_FUNCTIONS,
    check_calls,
    check_external_format,
    check_format,
    check_names,
    check_structure,
    check_text,
    denied,
    read_only,
    settings_of_person,
)
from sluice.warehouse.server.statement import STREAMED_FORMATS

DATABASE: Final = "sluice"
TAG_SETTING: Final = "query_cache_tag"
"""A setting without effect here whose value marks a running statement, so that it can be killed."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_TREE_NAME: Final = re.compile(r"(Function|Identifier) (\S+)")
_TREE_SET: Final = re.compile(r"^ *Set\b", re.MULTILINE)
_POSITION: Final = re.compile(r"(failed at position )(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a statement runs under."""

    database: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Values of ``{name:Type}``, escaped as in TabSeparated."""
    is_readonly: bool = False
    is_person: bool = False
    """Whether the text comes from a person with read access only, and must be checked as such."""


@dataclass(frozen=True, slots=True)
class External:
    """A table sent along with a query."""

    name: str
    structure: str
    format: str
    data: bytes


@dataclass(slots=True)
class Progress:
    """What ``X-ClickHouse-Summary`` says."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    elapsed_s: float = 0.0


class _Result(Protocol):
    def bytes(self) -> bytes: ...
    def rows_read(self) -> int: ...
    def bytes_read(self) -> int: ...
    def storage_rows_read(self) -> int: ...
    def storage_bytes_read(self) -> int: ...
    def rows_written(self) -> int: ...
    def bytes_written(self) -> int: ...
    def elapsed(self) -> float: ...


@contextlib.contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise parse_engine_error(str(error)) from None
    except Exception as error:
        # chDB's own exception class derives from Exception and is not exported where it is raised.
        if type(error).__name__ != "ChdbError":
            raise
        raise parse_engine_error(str(error)) from None


def _check_names_of(settings: Mapping[str, str]) -> None:
    for name in settings:
        if _NAME.fullmatch(name) is None:
            raise bad_argument(f"{name!r} is not the name of a setting")


def quote_string(value: str) -> str:
    """Return a string literal; nothing in ``value`` can end it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_name(name: str) -> str:
    """Return a quoted identifier; nothing in ``name`` can end it."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


class Run:
    """One statement on a connection of its own. Used by one thread at a time; close it."""

    def __init__(self, connection: Any, session: Session, refused: Collection[str]) -> None:
        self._connection = connection
        self._session = session
        self._refused = refused
        self._bounds: dict[str, str] = {}
        self.tag = uuid4().hex
        self.progress = Progress()
        self._sent_bytes = 0
        self._max_result_bytes: float | None = None
        self._stream: Any = None
        self._inserter: Any = None

    def prepare(self, defaults: Mapping[str, str]) -> None:
        """Put the session's settings and database in force.

        Raises:
            StatementError: A setting or the database is unknown, or the setting not allowed.
        """
        self._bounds = {name: value for name, value in defaults.items() if name in BOUNDED}
        settings = {**defaults, TAG_SETTING: self.tag}
        if self._session.is_person:
            settings |= DEFAULTS
        if self._session.is_readonly:
            settings["readonly"] = "2"
        self._set(settings)
        if own := self._session.settings:
            _check_names_of(own)
            if TAG_SETTING in own:
                raise bad_argument(f"The setting {TAG_SETTING} is taken: it marks statements here")
            if self._session.is_person:
                own = settings_of_person(own, self._bounds)
        if self._session.is_person and (bound := {**defaults, **own}.get("max_result_bytes")):
            self._max_result_bytes = float(bound)
        if own:
            self._set(own)
        self._execute(f"USE {quote_name(self._session.database or DATABASE)}")

    def _set(self, settings: Mapping[str, str]) -> None:
        _check_names_of(settings)
        pairs = (f"{name} = {quote_string(value)}" for name, value in settings.items())
        self._execute(f"SET {', '.join(pairs)}")

    def _execute(self, sql: str, output_format: str = "TabSeparated") -> _Result:
        with _engine_errors():
            result: _Result = self._connection.query(
                sql, output_format, params=dict(self._session.parameters)
            )
        return result

    def check(self, sql: str, output_format: str) -> None:
        """Refuse what the engine would let through but a ClickHouse server would not.

        That is several statements in one text and INTO OUTFILE; for a person with read access also
        everything that is not reading. ``readonly`` and the grants stop most of it; left are KILL
        and the like, functions that read outside the warehouse, and settings that name files or
        lift limits. Names are looked for twice, in the text and in the tree that the engine's own
        parser makes of it: the one sees through ``APPLY(file)``, the other cannot be fooled by
        quotes. The text comes first, for its settings are in force when the tree is asked for.

        Raises:
            StatementError: The statement is refused.
        """
        with _engine_errors():
            verdict = self._connection._conn.classify_query(sql)  # noqa: SLF001 - no public name
        if verdict["statement_count"] > 1:
            raise StatementError(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
        kind = verdict["query_class"].name
        if kind == "CONTROL" and "OUTFILE" in sql.upper():
            raise not_supported("INTO OUTFILE is not allowed over HTTP")
        if not self._session.is_person:
            return
        if kind not in ("READ_ONLY", "UNKNOWN"):
            raise read_only()
        check_format(output_format)
        clauses = check_text(sql, self._bounds, self._refused)
        self._check_tree(sql, clauses)

    def _check_tree(self, sql: str, clauses: int) -> None:
        prefix = "EXPLAIN AST "
        try:
            tree = self._execute(prefix + sql, "TabSeparatedRaw").bytes().decode()
        except StatementError as error:
            # A position counts from the start of the text that the person wrote.
            message = _POSITION.sub(lambda at: f"{at[1]}{int(at[2]) - len(prefix)}", error.message)
            raise StatementError(error.code, error.name, message) from None
        for at in _TREE_NAME.finditer(tree):
            check_names(at[2].split("."))
            if at[1] == "Function":
                check_calls([at[2]], self._refused)
        if len(_TREE_SET.findall(tree)) > clauses:
            raise denied("hide a SETTINGS clause")

    def load(self, tables: Sequence[External]) -> None:
        """Create the tables that came with the request; they end with the connection."""
        for table in tables:
            if self._session.is_person:
                check_structure(table.structure)
                check_external_format(table.format)
            name = quote_name(table.name)
            self._execute(f"CREATE TEMPORARY TABLE {name} ({table.structure}) ENGINE = Memory")
            self.begin_insert(f"INSERT INTO {name}", table.format)
            self.append(table.data)
            self.finish_insert()
        self.progress = Progress()

    def read(self, sql: str, output_format: str) -> bytes:
        """Run a statement and return its whole result."""
        result = self._execute(sql, output_format)
        self._note(result)
        self.progress.written_rows = result.rows_written()
        self.progress.written_bytes = result.bytes_written()
        data = result.bytes()
        self._count(data)
        return data

    def open_stream(self, sql: str, output_format: str) -> None:
        """Begin a read whose result is fetched part by part."""
        with _engine_errors():
            self._stream = self._connection.send_query(
                sql, output_format, params=dict(self._session.parameters)
            )

    def fetch(self) -> bytes | None:
        """Return the next part of the result, or None behind the last."""
        with _engine_errors():
            result = self._stream.fetch()
        if result is None:
            self._stream = None
            return None
        self._note(result)
        data = bytes(result.bytes())
        self._count(data)
        return data

    def _count(self, data: bytes) -> None:
        # The engine looks at this bound only between blocks, and not at all for some formats.
        self._sent_bytes += len(data)
        bound = self._max_result_bytes
        if bound is not None and self._sent_bytes > bound:
            message = f"Limit for result exceeded, max bytes: {bound:.0f}"
            raise StatementError(396, "TOO_MANY_ROWS_OR_BYTES", message)

    def _note(self, result: _Result) -> None:
        progress = self.progress
        progress.read_rows += result.storage_rows_read()
        progress.read_bytes += result.storage_bytes_read()
        progress.result_rows += result.rows_read()
        progress.result_bytes += result.bytes_read()
        progress.elapsed_s += result.elapsed()

    def begin_insert(self, sql: str, input_format: str) -> None:
        """Begin an INSERT; ``sql`` has no FORMAT clause."""
        for name, value in self._session.parameters.items():
            self._set({f"param_{name}": value})
        with _engine_errors():
            self._inserter = self._connection.send_insert(sql, input_format)

    def append(self, data: bytes) -> None:
        """Hand bytes of the input format to the INSERT, in any portions."""
        with _engine_errors():
            self._inserter.append(data)

    def finish_insert(self) -> None:
        """Commit the INSERT: when this returns, the rows are in the table."""
        inserter, self._inserter = self._inserter, None
        with _engine_errors():
            result = inserter.finish()
        self.progress.written_rows += result.rows_written
        self.progress.written_bytes += result.bytes_written
        self.progress.elapsed_s += result.elapsed

    def close(self) -> None:
        """End what still runs, without a commit, and give the connection back."""
        with contextlib.suppress(Exception):
            if self._inserter is not None:
                self._inserter.cancel()
        with contextlib.suppress(Exception):
            if self._stream is not None:
                self._stream.cancel()
        self._connection.close()


def _connect(address: str) -> Any:
    """Open a connection; the library is loaded here, so that only a serving process pays for it."""
    from chdb.state.sqlitelike import Connection

    return Connection(address)


class Engine:
    """The chDB engine of this process, open on one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        if "?" in self._folder:
            message = f"The folder {folder} has a ? in its name, which chDB cannot open: rename it."
            raise ConfigError(message)
        self._control_lock = threading.Lock()
        config = write_config(folder, budget_of_machine())
        try:
            self._control = _connect(f"{folder}?config-file={quote(str(config))}")
            self._control.query(f"CREATE DATABASE IF NOT EXISTS {DATABASE}", "Null")
            self.version = self._ask("SELECT version()")
            sources = set(self._ask("SELECT lower(name) FROM system.table_functions").split())
            self._refused = (sources - ALLOWED_TABLE_FUNCTIONS) | REFUSED_FUNCTIONS
        except Exception as error:
            message = f"The warehouse in {folder} could not be opened: {error}"
            raise ConfigError(message) from error

    def _ask(self, sql: str) -> str:
        return str(self._control.query(sql, "TSV").bytes().decode()).strip()

    def open(self, session: Session) -> Run:
        """Return a run on a connection of its own."""
        with _engine_errors():
            return Run(_connect(self._folder), session, self._refused)

    def kill(self, run: Run) -> None:
        """Ask the engine to stop a run; it ends with an error of its own soon after."""
        with self._control_lock, contextlib.suppress(Exception):
            self._control.query(
                f"KILL QUERY WHERE Settings['{TAG_SETTING}'] = '{run.tag}' ASYNC", "Null"
            )

    def close(self) -> None:
        """Close the engine; nothing may run any more."""
        self._control.close()


def is_streamed(output_format: str) -> bool:
    """Return whether a result in this format may be sent part by part."""
    return output_format.upper() in STREAMED_FORMATS
